"""While the sums of trailing spans are prepared again and again, and hours expire, sessions flush, correct, seal and roll up; each snapshot's
trailing lists, which are merged from prepared sums, equal the sums of its hours."""
import contextlib
import time

import psycopg2
import pytest
import settings
from database import Database, assert_no_crash
from rolled_lists import compare_snapshot
from rolling import NAME, Rolling

SPANS = (("24 hours", 1000), ("24 hours", 100), ("7 days", 1000), ("7 days", 10))
DAYS = 9  # of hours; two of them expire


def reader(rolling):
    def read(cursor, rng):
        while not rolling.ended():
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SELECT hours_expired_through, date_trunc('hour', now()) FROM topk.counter WHERE name = %s", (NAME,))
            expired, now = cursor.fetchone()
            if rng.random() < 0.5:  # the snapshot grows old
                goal = rolling.done("prepared") + rng.randint(1, 4)
                rolling.wait_until(lambda: rolling.done("prepared") >= goal, 2)
            at = next(number for number, hour in enumerate(rolling.hours) if hour.start == now)
            first = sum(expired is not None and hour.start < expired for hour in rolling.hours)
            rolling.count("snapshots with expired hours", first > 0)
            for span in ("24 hours", "7 days"):
                cursor.execute("SELECT count(*) FROM topk.explain(%s, 100, now(), %s) WHERE list LIKE 'prepared%%'", (span, NAME))
                rolling.count(f"{span} prepared", cursor.fetchone()[0])
            compare_snapshot(cursor, rolling, rng, at, first, SPANS)
            cursor.execute("COMMIT")
            rolling.count("snapshots")
    return read


def prepare(rolling):
    def step(cursor, rng):
        while not rolling.ended():
            cursor.execute("SELECT topk.prepare_step(%s)", (NAME,))
            (done,) = cursor.fetchone()
            rolling.count("prepared", done)
            if not done:
                goal = rolling.done("snapshots") + 1
                rolling.wait_until(lambda: rolling.done("snapshots") >= goal, 0.2)
    return step


def expire(rolling):
    def run(cursor, rng):
        while not rolling.ended():
            cursor.execute("CALL topk.expire(%s)", (NAME,))
            goal = rolling.done("snapshots") + 2
            rolling.wait_until(lambda: rolling.done("snapshots") >= goal, 1)
    return run


@pytest.mark.skipif(settings.METHOD != "topk", reason="counters have topk indexes")
def test_trailing_lists_while_prepared_and_expired(start, major, count_up):
    server = start(shared_buffers="256MB")
    database = Database(server, "prepared")
    since, until = database.query(f"SELECT h - interval '{DAYS} days', h + interval '3 hours' FROM date_trunc('hour', now()) h")[0]
    rolling = Rolling(database, f"{settings.SEED}/{major}/prepared", settings.ROLLED_ROWS, settings.SNAPSHOTS, since, until, pace=2)
    rolling.load()
    threads = [rolling.session("roll-up", rolling.roll_up(0)), rolling.session("corrector", rolling.correct), rolling.session("refresher", rolling.refresh),
               rolling.session("preparer", prepare(rolling)), rolling.session("expirer", expire(rolling)),
               *(rolling.session(f"writer {partition}", rolling.writer(partition)) for partition in (0, 1)),
               *(rolling.session(f"reader {number}", reader(rolling)) for number in (0, 1))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(1, 300 + settings.SNAPSHOTS * (2 + settings.ROLLED_ROWS / 1e5) - (time.monotonic() - began)))
    count_up(", ".join(f"{count} {kind}" for kind, count in sorted(rolling.counts.items())))
    if rolling.failure:
        raise rolling.failure
    assert not any(thread.is_alive() for thread in threads), f"no end: {rolling.counts}"
    for kind in ("flushes", "corrections", "rows rolled up", "prepared", "24 hours prepared", "7 days prepared", "snapshots with expired hours"):
        assert rolling.counts.get(kind), f"never {kind}: {rolling.counts}"
    assert_no_crash(server)
