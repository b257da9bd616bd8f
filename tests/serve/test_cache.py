"""The micro-cache: concurrent misses are one query, a short list is cut from a long one, nothing older than --cache is served, errors are
not kept. Queries are counted by the server (pg_stat_statements).
"""
import threading
import time

import pytest
import web
from feed import Feed
from harness.clock import HOUR
from harness.wait import wait_until
from serving import Asked, Crowd, calls, make_reader, queries_held, waiting_queries

LONG = "60s"


def asked(database, **more):
    return {"window": "hour", "at": database.hour.isoformat(), **more}


def test_concurrent_misses_are_one_query(database, start_serve):
    serve = start_serve(database, "--cache", LONG)
    serve.top(window="day")  # connections and statements are there
    before = calls(database)
    with queries_held(database):
        crowd = Asked(serve, [web.target(**asked(database, k=20))] * 100)
        wait_until(lambda: waiting_queries(database) == 1, 10, "the query waits")
    answers = crowd.answers()
    assert calls(database) - before == 1
    assert len({(answer.status, answer.body, answer.headers["etag"]) for answer in answers}) == 1 and len(answers[0].list()) == 20


def test_waiters_for_shorter_lists_share_the_query_too(database, start_serve):
    serve = start_serve(database, "--cache", LONG)
    serve.top(window="day")
    before = calls(database)
    with queries_held(database):
        longest = Asked(serve, [web.target(**asked(database, k=200))])
        wait_until(lambda: waiting_queries(database) == 1, 10, "the query of the longest list")
        crowd = Asked(serve, [web.target(**asked(database, k=k)) for k in (1, 7, 50, 199, 200) * 5])
    full, *lists = [answer.list() for asked_for in (longest, crowd) for answer in asked_for.answers()]
    assert all(one == full[:len(one)] for one in lists)
    assert {len(one) for one in lists} == {1, 7, 50, 199, 200}
    assert calls(database) - before == 1


def test_a_short_list_is_cut_from_a_long_one(database, start_serve):
    serve = start_serve(database, "--cache", LONG)
    before = calls(database)
    long = serve.top(**asked(database, k=100)).list()
    tags = set()
    for k in (1, 10, 99, 100, 10):
        answer = serve.top(**asked(database, k=k))
        assert answer.list() == long[:k]
        tags.add(answer.headers["etag"])
    assert len(tags) == 4
    assert calls(database) - before == 1
    assert serve.top(**asked(database, k=101)).list()[:100] == long
    assert calls(database) - before == 2
    serve.top(**asked(database, k=50))
    assert calls(database) - before == 2


def test_a_list_that_ended_is_long_enough_for_any_k(database, start_serve):
    """300 videos: who asks for 400 has all there are."""
    serve = start_serve(database, "--cache", LONG)
    before = calls(database)
    assert len(serve.top(**asked(database, k=400)).list()) == 300
    assert len(serve.top(**asked(database, k=1000)).list()) == 300
    assert calls(database) - before <= 2


def test_the_longest_of_the_last_period_is_asked_for(database, start_serve):
    """Clients of a long list and of a short one: a query a period, not two."""
    serve = start_serve(database, "--cache", "400ms")
    ends = time.monotonic() + 2
    before = calls(database)
    with web.Client(serve.address) as client:
        while time.monotonic() < ends:
            for k in (10, 100):
                assert len(client.top(**asked(database, k=k)).list()) == k
            time.sleep(0.02)
    assert calls(database) - before <= 2 / 0.4 + 3


def test_what_differs_is_not_shared(database, start_serve):
    database.execute("SELECT topk.create_counter('other')")
    make_reader(database, "other")
    Feed(database, "other").flush({(database.hour, "a"): 1}, watermark=database.hour)
    serve = start_serve(database, "--cache", LONG)
    before = calls(database)
    lists = [serve.top(window=window, counter=counter, at=at).list() for window in ("hour", "day") for counter in ("video_views", "other")
             for at in (None, database.hour.isoformat(), (database.hour - HOUR).isoformat())]
    assert calls(database) - before == 12
    assert lists[3][:1] == [("a", 1)] and lists[0][:1] == [("vid_000", 1000)] and lists[2] == []
    # One instant, written otherwise, may be one key or two; the answer is the same
    assert serve.top(window="hour", at=database.hour.isoformat().replace("+00:00", "Z")).list() == lists[1]


def test_without_a_cache_every_request_is_a_query(database, start_serve):
    serve = start_serve(database, "--cache", "0", "--pool", "4")
    serve.top(**asked(database))
    before = calls(database)
    Crowd([lambda: [serve.top(**asked(database)).list() for _ in range(5)]] * 8).results()
    assert calls(database) - before == 40


@pytest.mark.parametrize("cache", ["0", "100ms", "250ms"])
def test_nothing_is_older_than_the_cache(database, start_serve, cache):
    """A writer counts up, and notes when a number was committed: who asks gets at least what was committed a cache's time before."""
    serve = start_serve(database, "--cache", cache)
    allowed = {"0": 0, "100ms": 0.1, "250ms": 0.25}[cache]
    committed, ends = [(time.monotonic(), 1000)], time.monotonic() + 2

    def write():
        views = 1000
        while time.monotonic() < ends:
            views += 1
            database.feed.flush({(database.hour, "vid_000"): 1}, watermark=database.hour)
            committed.append((time.monotonic(), views))

    def read(k):
        seen = []
        with web.Client(serve.address) as client:
            while time.monotonic() < ends:
                answer = client.top(**asked(database, k=k))
                seen.append((*answer.times, answer.list()[0][1]))
        return seen

    writer = threading.Thread(target=write)
    writer.start()
    readers = Crowd([lambda k=k: read(k) for k in (1, 10, 10, 100)])
    writer.join()
    observed = [one for seen in readers.results() for one in seen]
    assert len(observed) > 100 and len(committed) > 20
    for sent, received, views in observed:
        least = max(number for when, number in committed if when <= max(sent - allowed, committed[0][0]))
        begun = 1 + max(number for when, number in committed if when <= received)  # one more may be under way
        assert least <= views <= begun, f"{views} views, but {least} were committed {allowed} s before the question"


def test_errors_are_not_kept(database, start_serve):
    serve = start_serve(database, "--cache", LONG)
    serve.top(window="hour", counter="later").problem(404)
    database.execute("SELECT topk.create_counter('later')")
    serve.top(window="hour", counter="later").problem(403)
    make_reader(database, "later")
    assert serve.top(window="hour", counter="later").list() == []


def test_waiters_share_an_error(database, start_serve):
    serve = start_serve(database, "--cache", LONG, "--query-timeout", "500ms")
    serve.top(window="day")
    with queries_held(database):
        answers = Crowd([lambda: serve.top(**asked(database))] * 20).results()
    for answer in answers:
        assert answer.problem(503)["sqlstate"] == "57014"
        assert answer.headers["retry-after"] == "1"
    assert len(serve.top(**asked(database)).list()) == 10


def test_a_stampede_of_different_keys_is_bounded(database, start_serve):
    """The database is stuck and everybody asks for something else: 503 soon, the rest is served as before."""
    serve = start_serve(database, "--cache", LONG, "--pool", "2", "--query-timeout", "700ms")
    serve.top(window="day")
    with queries_held(database):
        before = time.monotonic()
        answers = Crowd([lambda n=n: serve.top(window="hour", at=(database.hour - n * HOUR).isoformat()) for n in range(150)]).results()
        took = time.monotonic() - before
        assert {answer.status for answer in answers} == {503}
        assert serve.top(window="day").status == 200  # from the cache
    assert took < 10
    assert serve.top(**asked(database)).status == 200


def test_the_memory_of_the_cache_is_bounded(database, start_serve, count_up):
    """Hundreds of keys, each of a list as long as lists get."""
    names = {(database.hour, f"{n:03}" + "x" * 250): 5000 - n for n in range(1000)}
    database.feed.flush(names, watermark=database.hour)
    serve = start_serve(database, "--cache", LONG)
    before = calls(database)
    with web.Client(serve.address) as client:
        for n in range(600):
            at = database.hour + n * HOUR / 3600
            assert client.top(window="hour", k=1000, at=at.isoformat()).status == 200
        resident = serve.memory("VmRSS")
        count_up(f"{resident / 2**20:.0f} MiB resident after 600 keys with lists of 270 kB")
        assert resident < 400 * 2**20
        assert calls(database) - before == 600
        # The newest are kept
        client.top(window="hour", k=1000, at=(database.hour + 599 * HOUR / 3600).isoformat())
    assert calls(database) - before == 600


def test_hits_and_misses_are_counted(database, start_serve):
    serve = start_serve(database, "--cache", LONG)
    for _ in range(5):
        serve.top(**asked(database))
    serve.top(window="day")
    assert web.metric(serve.address, "topkd_cache_hits_total") == 4
    assert web.metric(serve.address, "topkd_cache_misses_total") == 2
