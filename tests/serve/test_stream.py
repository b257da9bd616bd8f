"""The event stream: the list at once and whenever it changes, trouble told once, clients that come, go, or do not read."""
import contextlib
import json
import socket
import statistics
import time
from itertools import pairwise

import pytest
import web
from harness.clock import HOUR
from harness.wait import wait_until
from serving import calls


def add(database, video, views, seconds=0):
    database.feed.flush({(database.hour, video): views}, watermark=database.hour + seconds * HOUR / 3600)


def wait_gone(database, serve):
    """Who left is noticed when there is something to send, at the latest with the next sign of life."""
    def gone():
        add(database, "vid_000", 1)
        return not serve.connections()
    wait_until(gone, 10, "all connections are closed")


def views_of(found):
    return [(one["videoId"], one["views"]) for one in found["views"]]


@pytest.mark.parametrize("window", ["hour", "day", "month", "all_time", "24 hours"])
def test_the_list_comes_at_once(database, start_serve, window):
    serve = start_serve(database)
    with web.Stream(serve.address, window=window, k=5) as stream:
        assert stream.response.status == 200
        assert stream.response.getheader("content-type").split(";")[0] == "text/event-stream"
        identifier, found = stream.next_list()
        assert stream.retry == 1000
    answer = serve.top(window=window, k=5)
    assert list(found) == ["window", "windowStart", "windowEnd", "watermark", "sealed", "views"]
    assert found["window"] == window and found["sealed"] is False
    assert views_of(found) == answer.list()
    assert answer.headers["etag"] == f'"{identifier}"'
    for member, header in (("windowStart", "x-topk-window-start"), ("windowEnd", "x-topk-window-end"), ("watermark", "x-topk-watermark")):
        assert found[member] == answer.headers.get(header)


def test_changes_come_and_nothing_else(database, start_serve):
    serve = start_serve(database, "--cache", "100ms", "--stream-interval", "100ms")
    with web.Stream(serve.address, window="hour", k=3) as stream:
        identifier, _ = stream.next_list()
        took = []
        for turn in range(5):
            add(database, "vid_003", 1000 * (turn + 1))
            written = time.monotonic()
            newer, found = stream.next_list()
            took.append(time.monotonic() - written)
            assert newer != identifier and views_of(found)[0][0] == "vid_003"
            identifier = newer
        assert statistics.median(took) < 1, took
        # The watermark moves: news as well, of the same list
        add(database, "of_no_interest", 1, seconds=1.5)
        same, found = stream.next_list()
        assert same == identifier and found["watermark"].endswith(":01.500Z")
        stream.socket.settimeout(1.2)
        with pytest.raises(TimeoutError):
            stream.next_list()


def test_streams_of_one_list_share_a_query(database, start_serve):
    serve = start_serve(database, "--cache", "200ms", "--stream-interval", "200ms")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(web.Stream(serve.address, window="hour", k=5)) for _ in range(60)]
        for stream in streams:
            stream.next_list()
        before, begun = calls(database), time.monotonic()
        add(database, "vid_007", 5000)
        for stream in streams:
            assert views_of(stream.next_list()[1])[0] == ("vid_007", 5993)
        wait_until(lambda: time.monotonic() - begun > 2, 5, "two seconds")
        assert calls(database) - before <= (time.monotonic() - begun) / 0.2 + 2
    wait_gone(database, serve)
    add(database, "vid_000", 1)  # told to nobody: so they are known to be gone
    # Whose end the server learns of only now is written to again at the next sign of life, 15 s later
    wait_until(lambda: no_more_calls(database), 45, "nobody follows: nobody asks")


def no_more_calls(database):
    """In half a second, in which a stream would have asked twice."""
    before = calls(database)
    time.sleep(0.5)
    return calls(database) == before


@pytest.mark.parametrize("query, status", [("window=hour&at=2026-01-01T00:00:00Z", 400), ("window=minute", 400), ("k=5", 400), ("window=hour&k=0", 400),
                                           ("window=hour&counter=none", 404), ("window=hour&window=day", 400), ("window=%ff", 400)])
def test_what_cannot_be_followed_is_a_problem(database, start_serve, query, status):
    start_serve(database).get(f"{web.TOP}/stream?{query}").problem(status)


def test_head_of_a_stream_ends(database, start_serve):
    serve = start_serve(database)
    with web.Client(serve.address) as client:
        answer = client.request("HEAD", f"{web.TOP}/stream?window=hour")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")


def test_lists_go_by_their_windows(database, start_serve):
    serve = start_serve(database)
    with web.Stream(serve.address, window="hour", k=1) as hour, web.Stream(serve.address, window="all_time", k=2) as all_time:
        hour.next_list(), all_time.next_list()
        database.feed.flush({(database.hour - HOUR, "vid_020"): 9000}, watermark=database.hour)
        assert views_of(all_time.next_list()[1]) == [("vid_020", 9980), ("vid_000", 1000)]
        add(database, "vid_001", 500)
        assert views_of(hour.next_list()[1]) == [("vid_001", 1499)]


def test_who_does_not_read_gets_the_newest(database, start_serve, count_up):
    """The server keeps the newest list for a slow client, not all of them, and serves others meanwhile."""
    names = {(database.hour, f"{n:03}" + "x" * 200): 500 for n in range(1000)}
    database.feed.flush(names, watermark=database.hour)
    serve = start_serve(database, "--cache", "0", "--stream-interval", "20ms")
    with web.Stream(serve.address, receive_buffer=4096, window="hour", k=1000) as slow, web.Stream(serve.address, window="hour", k=1000) as quick:
        slow.next_list(), quick.next_list()
        before = serve.memory("VmRSS")
        for turn in range(60):
            add(database, "vid_000", 100)
            assert views_of(quick.next_list()[1])[0] == ("vid_000", 1100 + 100 * turn)
        grown = serve.memory("VmRSS") - before
        count_up(f"{grown / 2**20:.1f} MiB more for a client 60 lists of 170 kB behind")
        assert grown < 8 * 2**20
        read = []
        while not read or read[-1] != 7000:
            read.append(views_of(slow.next_list()[1])[0][1])
        assert read == sorted(read) and len(read) < 20


def test_a_client_that_resets_is_forgotten(database, start_serve):
    serve = start_serve(database, "--stream-interval", "50ms", "--cache", "50ms")
    files = serve.files()
    for turn in range(30):
        stream = web.Stream(serve.address, window="hour", k=20)
        stream.next_list()
        if turn % 2:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
        add(database, "vid_001", 1)
    wait_gone(database, serve)
    # The pool's may have come meanwhile. A connection that was reset is in no list of the system: it shows by its file until the next sign of life.
    wait_until(lambda: serve.files() <= files + 8, 25, "their files are closed")
    with web.Stream(serve.address, window="hour", k=20) as stream:
        stream.next_list()


def test_a_dropped_counter_is_told(database, start_serve):
    serve = start_serve(database, "--cache", "50ms", "--stream-interval", "50ms")
    with web.Stream(serve.address, window="hour") as stream:
        stream.next_list()
        database.execute("SELECT topk.drop_counter('video_views')")
        status = 500  # told first if a look at the list was under way: it finds the table gone
        while status == 500:
            name, _, data = stream.event()
            assert name == "trouble"
            status = json.loads(data)["status"]
        assert status in (404, 403)


def test_every_list_of_a_stream_was_true(database, start_serve):
    """A writer counts up by ones; what a stream tells never goes back, and ends with the last."""
    serve = start_serve(database, "--cache", "30ms", "--stream-interval", "30ms")
    with web.Stream(serve.address, window="hour", k=1) as stream:
        stream.next_list()
        for _ in range(100):
            add(database, "vid_000", 1)
        seen = [views_of(stream.next_list()[1])[0][1]]
        while seen[-1] != 1100:
            seen.append(views_of(stream.next_list()[1])[0][1])
    assert seen == sorted(seen) and len(seen) == len(set(seen))


def test_a_quiet_stream_shows_signs_of_life(quiet_stream):
    wait_until(lambda: quiet_stream.comments, 25, "a comment")
    times = [quiet_stream.begun, *quiet_stream.comments, time.monotonic()]
    # Every 15 s, on a machine that has other things to do: 30 if one were missing
    assert all(later - earlier < 25 for earlier, later in pairwise(times)), times
