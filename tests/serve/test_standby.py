"""On a hot standby: the same answers as the primary's at the same LSN, while the primary is written to, vacuumed, rolled up; conflicts with
replay are 503 at the worst; several hosts in the connection string.

A witness on the primary writes, in the transaction of each flush, which lists were true right after it: what the standby answers with replay paused
must be the lists of the last flush that it has replayed.
"""
import contextlib
import os
import random
import threading
import time

import pytest
import web
from database import Database
from feed import FLUSH, Feed, encode
from harness.wait import wait_until
from harness.clock import HOUR, hour_of, now, running_hour

PATIENT = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "-1"}
HASTY = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "0"}
MOMENTS = int(os.environ.get("SERVE_MOMENTS") or 12)
WINDOWS = ["hour", "day", "month", "all_time", "24 hours", "50 hours"]
SAME_HEADERS = ("etag", "cache-control", "x-topk-watermark", "x-topk-sealed", "x-topk-window-start", "x-topk-window-end", "x-topk-revision", "content-length")


@pytest.fixture(scope="module")
def primary(make_server):
    return make_server("primary", autovacuum_naptime="1s", wal_consistency_checking="generic")


@pytest.fixture
def standby(primary, run_directory, test_name):
    @contextlib.contextmanager
    def make(settings):
        with primary.standby(run_directory / f"{test_name}_standby", {**settings}) as one:
            yield one
    return make


def there(database, server):
    """The same database on another server."""
    return Database(server, database.name)


class Load:
    """Flushes with witnesses, VACUUM and maintenance on the primary until it is closed."""

    def __init__(self, database):
        self.database = database
        self.hour = hour_of(now())
        self.starts = [self.hour - n * HOUR for n in range(60, -1, -1)]
        database.execute("CREATE TABLE witness (number bigint, window_name text, list text, PRIMARY KEY (number, window_name)); GRANT SELECT ON witness TO reader")
        self.feed = Feed(database, "video_views")
        self.stopping, self.number, self.errors, self.vacuums = threading.Event(), 0, [], 0
        self.rng = random.Random("standby")
        for start in self.starts[:-3]:
            self.feed.flush({(start, f"vid_{self.rng.randrange(300):03}"): self.rng.randint(1, 30) for _ in range(80)}, watermark=start)
        self.threads = [threading.Thread(target=self._guard, args=(part,), daemon=True) for part in (self._write, self._maintain)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_until(lambda: self.number > 5 or self.errors, 30, "writes")
        return self

    def __exit__(self, kind, error, trace):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        if kind is None:
            assert not self.errors, self.errors

    def _guard(self, part):
        try:
            with contextlib.closing(self.database.connect()) as session, session.cursor() as cursor:
                part(cursor)
        except Exception as error:  # noqa: B902: told at the end
            self.errors.append(error)

    def _write(self, cursor):
        cursor.execute("SELECT epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000000}')")
        epoch, = cursor.fetchone()
        watermark = self.starts[-4]
        while not self.stopping.is_set():
            deltas = {(self.rng.choice(self.starts[-2:]), f"vid_{self.rng.randrange(300):03}"): self.rng.randint(1, 30) for _ in range(50)}
            start, self.feed.next = self.feed.next, self.feed.next + len(deltas)
            watermark = min(watermark + HOUR / 100, self.hour)  # so that hours are sealed meanwhile
            cursor.execute("BEGIN")
            cursor.execute(FLUSH, ("video_views", "events", encode(deltas), [], [], [], [], epoch, start, self.feed.next, self.feed.next - 1, watermark, len(deltas), 0, 0))
            cursor.execute("INSERT INTO witness SELECT %s, w, (SELECT string_agg(video_id || ' ' || views, ',' ORDER BY rank) FROM topk.top(w, 50, %s, 'video_views'))"
                           " FROM unnest(%s) w", (self.number + 1, self.hour, WINDOWS))
            cursor.execute("COMMIT")
            self.number += 1

    def _maintain(self, cursor):
        tables = ["video_views_hour", "video_views_day_rollup", "video_views_month_rollup", "video_views_all_time_rollup", "witness"]
        while not self.stopping.is_set():
            cursor.execute("CALL topk.maintain('video_views')")
            for table in tables:
                cursor.execute(f"VACUUM (FREEZE) {table}")
            self.vacuums += 1


def test_the_same_answers_at_the_same_lsn(primary, standby, start_serve, new_database, count_up):
    database = new_database("video_views", on=primary)
    with Load(database) as load, standby(PATIENT) as replica:
        far = there(database, replica)
        serve = start_serve(far, "--cache", "0")
        compared, numbers = 0, set()
        for _ in range(MOMENTS):
            wait_until(lambda: load.number > max(numbers, default=0) + 3 or load.errors, 30, "writes")
            far.execute("SELECT pg_wal_replay_pause()")
            wait_until(lambda: far.value("SELECT pg_get_wal_replay_pause_state()") == "paused", 20, "replay pauses")
            number = far.value("SELECT max(number) FROM witness")
            for window, rows in far.query("SELECT window_name, list FROM witness WHERE number = %s", number):
                answer = serve.top(window=window, k=50, at=load.hour.isoformat())
                assert ",".join(f"{video} {views}" for video, views in answer.list()) == rows, (number, window)
                compared += 1
            numbers.add(number)
            far.execute("SELECT pg_wal_replay_resume()")
            wait_until(lambda: (far.value("SELECT max(number) FROM witness") or 0) > number or load.errors, 30, "replay goes on")
        assert len(numbers) == MOMENTS and compared == MOMENTS * len(WINDOWS)
        assert load.vacuums > 1
        # Now the writers are done, and both have the same: bodies, tags, all headers that tell the state
        load.__exit__(None, None, None)
        primary.wait_for_standby(replica)
        near = start_serve(database, "--cache", "0")
        sealed = 0
        for window in WINDOWS:
            for at in (load.hour, load.starts[-10], load.starts[-30], load.starts[3]):
                for k in (1, 10, 1000):
                    here, away = (one.top(window=window, k=k, at=at.isoformat()) for one in (near, serve))
                    assert here.list() == away.list()
                    assert {name: here.headers.get(name) for name in SAME_HEADERS} == {name: away.headers.get(name) for name in SAME_HEADERS}
                    sealed += here.headers["x-topk-sealed"] == "true"
        assert sealed
        count_up(f"{compared} lists of {len(numbers)} moments equal, {load.number} flushes, {load.vacuums} rounds of maintenance and VACUUM")
        assert serve.get("/readyz").status == 200
        far.close()


def test_replay_that_does_not_wait(primary, standby, start_serve, new_database, count_up):
    """Conflicts end queries and sessions on the standby: what comes is a list that was true, or 503."""
    database = new_database("video_views", on=primary)
    with Load(database) as load, standby(HASTY) as replica:
        far = there(database, replica)
        serve = start_serve(far, "--cache", "0", "--pool", "3")
        ends, statuses, last = time.monotonic() + 6, {200: 0, 503: 0}, 0
        with web.Client(serve.address) as client:
            while time.monotonic() < ends:
                answer = client.top(window="50 hours", k=50, at=load.hour.isoformat())
                statuses[answer.status] += 1
                if answer.status == 503:
                    answer.problem(503)
                    continue
                body = ",".join(f"{video} {views}" for video, views in answer.list())
                # A commit can be replayed, and seen, on the standby before the primary's own sessions see it: its record is flushed first
                last = wait_until(lambda: database.value("SELECT max(number) FROM witness WHERE window_name = '50 hours' AND list = %s AND number >= %s",
                                                         body, last),  # noqa: B023: called at once
                                  10, f"the answer among the lists since {last}", every=0.001)
        assert statuses[200] > 20 and statuses[503] <= statuses[200]
        count_up(f"{statuses[200]} answers, {statuses[503]} times 503")
        far.close()


def test_several_hosts(primary, standby, start_serve, new_database):
    """The first that answers; when it goes, the next; target_session_attrs as libpq has it. Nobody starts serve again."""
    database = new_database("video_views", on=primary)
    feed = Feed(database, "video_views")
    hour = running_hour()
    feed.flush({(hour, "a"): 3}, watermark=hour)
    with standby(HASTY) as replica:
        primary.wait_for_standby(replica)
        ports = f"1,{primary.port},{replica.port}"
        common = f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={ports} user=reader dbname={database.name} sslmode=disable connect_timeout=2"
        whoever = start_serve(common, "--cache", "0")
        of_standby = start_serve(common + " target_session_attrs=standby", "--cache", "0")
        of_primary = start_serve(common + " target_session_attrs=primary", "--cache", "0", "--pool", "2")
        assert [one.top(window="hour").list() for one in (whoever, of_standby, of_primary)] == [[("a", 3)]] * 3
        far = there(database, replica)
        assert far.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'topkd serve'") > 0
        database.close()
        primary.stop("immediate")
        wait_until(lambda: whoever.top(window="hour").status == 200, 15, "the standby answers")
        assert whoever.top(window="hour").list() == [("a", 3)]
        assert of_standby.top(window="hour").list() == [("a", 3)]
        answer = of_primary.top(window="hour")
        assert answer.problem(503) and answer.headers["retry-after"]
        far.execute("SELECT pg_promote()")
        wait_until(lambda: of_primary.top(window="hour").status == 200, 15, "the new primary answers")
        Feed(far, "video_views").flush({(hour, "b"): 4}, watermark=hour)
        assert of_primary.top(window="hour").list() == [("b", 4), ("a", 3)]
        wait_until(lambda: whoever.top(window="hour").list() == [("b", 4), ("a", 3)], 10, "the others have it")
        far.close()
    primary.start()
