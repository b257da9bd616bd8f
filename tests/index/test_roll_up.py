"""While hours and days are rolled up in small steps, and sessions flush, come late, correct and make final lists, each snapshot's lists, views and
audit agree with its hours; also after the roll-up's backend was killed. At the end all of it is in the roll-ups."""
import contextlib
import time

import pytest

import settings
from database import Database
from rolled_lists import audit, compare_snapshot, compare_views
from rolling import NAME, Rolling


def reader(rolling):
    def read(cursor, rng):
        while not rolling.ended():
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SELECT pg_current_snapshot()")
            if rng.random() < 0.5:  # the snapshot grows old
                goal = rolling.done("steps") + rng.randint(1, 4)
                rolling.wait_until(lambda: rolling.done("steps") >= goal, 2)
            compare_snapshot(cursor, rolling, rng)
            if rng.random() < settings.SHARE_OF_VIEWS:
                compare_views(cursor, rolling)
                audit(cursor, rolling)
            cursor.execute("COMMIT")
            rolling.count("snapshots")
    return read


@pytest.mark.skipif(settings.METHOD != "topk", reason="counters have topk indexes")
def test_lists_while_rolled_up(start, major, count_up):
    server = start(max_wal_size="4GB", shared_buffers="256MB")
    database = Database(server, "rolled")
    rolling = Rolling(database, f"{settings.SEED}/{major}/roll_up", settings.ROLLED_ROWS, settings.SNAPSHOTS)
    rolling.load()
    kills = settings.ROLL_UP_KILLS
    threads = [rolling.session("roll-up", rolling.roll_up(kills)), rolling.session("corrector", rolling.correct), rolling.session("refresher", rolling.refresh),
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
    for kind in ("flushes", "late additions", "corrections", "rows rolled up", "native steps", "steps by SQL", "views compared", "audits", "lists refreshed", "by merge", "by aggregate", "by final list", *(["kills"] if kills else [])):
        assert rolling.counts.get(kind), f"never {kind}: {rolling.counts}"
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CALL topk.roll_up(%s)", (NAME,))
        compare_views(cursor, rolling)
        audit(cursor, rolling)
        cursor.execute("SELECT count(*) FROM topk.time_window WHERE counter = %s AND span IN ('hour', 'day') AND sealed AND NOT rolled_up", (NAME,))
        assert cursor.fetchone() == (0,)
        cursor.execute(f"SELECT (SELECT count(*) FROM {NAME}_day_rollup), (SELECT count(*) FROM {NAME}_month_rollup), (SELECT count(*) FROM {NAME}_all_time_rollup)")
        assert all(cursor.fetchone())
    ended = [line for line in server.log.read_text(errors="replace").splitlines() if "terminated by signal" in line or "PANIC" in line]
    assert len(ended) == kills and all("signal 9" in line for line in ended), ended
