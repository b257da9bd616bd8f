"""PostgreSQL restarts under load: 503 with Retry-After while it is away, then answers again by the same process, and never a wrong list.

Writers only add, and note every number before and after its commit: so every body has bounds, below from what was committed before the question
(less the time of the cache), above from what was begun before the answer.
"""
import json
import os
import threading
import time
from collections import Counter

import psycopg2
import pytest
import web
from feed import Feed
from harness.clock import running_hour
from harness.wait import wait_until
from serving import READER, Asked, Crowd, queries_held, waiting_queries

VIDEOS = [f"vid_{n:02}" for n in range(40)]
CACHE = 0.25
OUTAGES = int(os.environ.get("SERVE_OUTAGES") or 2)


class Writer:
    """Adds to videos in turn until told to stop, through outages. A flush whose outcome is unknown may or may not have counted."""

    def __init__(self, database, hour):
        self.database, self.hour = database, hour
        self.lock = threading.Lock()
        self.begun, self.committed, self.history = Counter(), Counter(), []
        self.stopping, self.flushes, self.lost = False, 0, 0
        self.feed = Feed(database, "video_views")
        self._flush({video: 100 - n for n, video in enumerate(VIDEOS)})
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _flush(self, views):
        with self.lock:
            self.begun.update(views)
        self.feed.flush({(self.hour, video): count for video, count in views.items()}, watermark=self.hour)
        with self.lock:
            self.committed.update(views)
            self.history.append((time.monotonic(), dict(self.committed)))
            self.flushes += 1

    def _run(self):
        number = 0
        while not self.stopping:
            number += 1
            views = {VIDEOS[(number * 7 + n) % len(VIDEOS)]: (number * n) % 5 + 1 for n in range(8)}
            try:
                self._flush(views)
            except (psycopg2.Error, AssertionError):
                self.lost += 1
                self._again()

    def _again(self):
        """As a consumer would: what counted is in the database; what is not known to have, may have."""
        while not self.stopping:
            try:
                self.database.close()
                self.feed = Feed(self.database, "video_views")
                rows = dict(self.database.query("SELECT video_id, views FROM video_views_hour"))
            except (psycopg2.Error, AssertionError):
                time.sleep(0.05)
                continue
            with self.lock:
                self.committed, self.begun = Counter(rows), Counter({video: max(views, self.begun[video]) for video, views in rows.items()})
                self.history.append((time.monotonic(), dict(self.committed)))
            return

    def least(self, when):
        """What had been committed then."""
        with self.lock:
            return next((state for told, state in reversed(self.history) if told <= when), {})

    def most(self):
        with self.lock:
            return dict(self.begun)


def assert_true(rows, k, least, most):
    """The list may have been true at a moment between the two."""
    assert len(rows) == min(k, len(VIDEOS)), rows
    assert rows == sorted(rows, key=lambda row: (-row[1], row[0]))
    assert len({video for video, _ in rows}) == len(rows)
    for video, views in rows:
        assert least.get(video, 0) <= views <= most[video], (video, least.get(video), views, most[video])
    last = rows[-1][1]
    listed = {video for video, _ in rows}
    for video in VIDEOS:
        assert video in listed or least.get(video, 0) <= last, f"{video} has {least.get(video)} views, the last of the list {last}"


def read(serve, writer, k, window, ends, seen):
    """Asks until told to end; every answer is right, or a 503 that says when to come again."""
    with web.Client(serve.address) as client:
        while not ends.is_set():
            before = time.monotonic()
            answer = client.top(window=window, k=k)
            if answer.status == 200:
                least = writer.least(before - CACHE)
                assert_true(answer.list(), k, least, writer.most())
                seen.append((answer.times[1], 200))
            else:
                assert answer.problem(503)["detail"] and answer.headers["retry-after"].isdigit(), answer
                seen.append((answer.times[1], 503))
                time.sleep(0.02)


def follow(serve, writer, ends, seen):
    """A stream through it all: lists that were true, and trouble told once an outage."""
    with web.Stream(serve.address, window="hour", k=10, limit=30) as stream:
        while not ends.is_set():
            event = stream.event()
            if event is None:
                raise AssertionError("the stream ended")
            name, _, data = event
            if name == "list":
                rows = [(one["videoId"], one["views"]) for one in json.loads(data)["views"]]
                assert_true(rows, 10, {}, writer.most())
            seen.append(name)


@pytest.fixture(scope="module")
def away(make_server):
    return make_server("away", max_connections=60)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_under_load(away, start_serve, new_database, mode, count_up):
    database = new_database("video_views", on=away)
    writer = Writer(database, running_hour())
    serve = start_serve(database, "--cache", "250ms", "--pool", "4", "--stream-interval", "100ms")
    ends, seen, events = threading.Event(), [], []
    writer.thread.start()
    crowd = Crowd([*[lambda k=k, window=window: read(serve, writer, k, window, ends, seen) for k, window in ((10, "hour"), (40, "hour"), (1, "day"), (10, "all_time"), (25, "3 hours"))],
                   lambda: follow(serve, writer, ends, events)])
    outages, recoveries = OUTAGES, []
    for _ in range(outages):
        wait_until(lambda count=writer.flushes: writer.flushes > count + 20, 30, "writes")
        wait_until(lambda: seen and seen[-1][1] == 200, 30, "answers")
        stopped = time.monotonic()
        away.stop(mode)
        wait_until(lambda: any(when > stopped and status == 503 for when, status in seen), 10, "503")
        gone = time.monotonic()
        wait_until(lambda: serve.get("/readyz").status == 503, 5, "not ready")
        assert serve.get("/healthz").status == 200
        wait_until(lambda: sum(when > gone for when, _ in seen) > 10, 10, "more answers")
        # Away for good: nothing older than the cache is given out
        assert all(status == 503 for when, status in seen if when > gone + CACHE)
        away.start()
        up = time.monotonic()
        wait_until(lambda: any(when > up and status == 200 for when, status in seen), 15, "answers again")
        recoveries.append(next(when for when, status in seen if when > up and status == 200) - up)
        wait_until(lambda: serve.get("/readyz").status == 200, 10, "ready")
    wait_until(lambda count=writer.flushes: writer.flushes > count + 10, 30, "writes")
    wait_until(lambda: events[-1] == "list", 10, "the stream goes on")
    ends.set()
    writer.stopping = True
    crowd.results()
    writer.thread.join()
    assert serve.alive() and serve.log_text().count("listening") == 1
    assert events.count("trouble") == outages, events
    wait_until(lambda: serve.top(window="hour", k=40).list() == database.query("SELECT video_id, views FROM topk.top('hour', 40)"), 5, "the same as SQL")
    states = Counter(status for _, status in seen)
    count_up(f"{states[200]} answers, {states[503]} times 503, {writer.flushes} flushes, {writer.lost} lost; answers again {max(recoveries) * 1000:.0f} ms after the server")


def test_sessions_that_are_ended_are_replaced(away, start_serve, new_database):
    """An administrator ends them, all at once, again and again: whoever asks is answered."""
    database = new_database("video_views", on=away)
    hour = running_hour()
    Feed(database, "video_views").flush({(hour, "a"): 3}, watermark=hour)
    serve = start_serve(database, "--cache", "0", "--pool", "3")
    for _ in range(20):
        assert serve.top(window="hour").list() == [("a", 3)]
        database.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s AND datname = current_database()", READER)
    assert serve.top(window="hour").list() == [("a", 3)]


def test_a_query_that_is_cancelled_is_503(away, start_serve, new_database):

    database = new_database("video_views", on=away)
    serve = start_serve(database, "--cache", "0")
    serve.top(window="hour")
    with queries_held(database):
        asked = Asked(serve, [web.target(window="hour")])
        wait_until(lambda: waiting_queries(database) == 1, 10, "the query waits")
        database.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = %s AND datname = current_database() AND wait_event_type = 'Lock'", READER)
        answer, = asked.answers()
        assert answer.problem(503) and answer.headers["retry-after"].isdigit()
    assert serve.top(window="hour").list() == []


def test_no_connections_left_is_503(away, start_serve, new_database):
    database = new_database("video_views", on=away)
    away_limit = database.value("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", READER)
    database.execute(f"ALTER ROLE {READER} CONNECTION LIMIT {away_limit}")
    try:
        serve = start_serve(database, "--cache", "0")
        assert serve.top(window="hour").problem(503)
    finally:
        database.execute(f"ALTER ROLE {READER} CONNECTION LIMIT -1")
    wait_until(lambda: serve.top(window="hour").status == 200, 15, "it answers")
