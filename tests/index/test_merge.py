"""Lists of several hours, merged or added up, against sums of all rows in the same repeatable-read snapshot, while others write and roll up;
half of them on a hot standby. Writers commit, abort and roll back to savepoints; readers compare their own uncommitted rows, too."""
import collections
import random
import threading
import time

import pytest
from psycopg2 import errors

import counters
import settings
from database import Database, assert_no_crash

PATIENT = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "-1", "max_standby_archive_delay": "-1"}
# What has to happen in every run, however long it takes
KINDS = ("merge", "aggregate: written in a transaction with one snapshot", "on the standby", "on the primary", "own rows", "vacuums",
         "rolled up to day", "rolled up to month", "rolled up to all_time", "start over", "lists with rests", "lists with prepared sums")
CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable, errors.QueryCanceled)


class Sessions:
    def __init__(self, seed, counters_, wanted):
        self.seed, self.counters, self.wanted = seed, counters_, wanted
        self.counts, self.changed = collections.Counter(), threading.Condition()
        self.failure = None

    def count(self, kind, by=1):
        with self.changed:
            self.counts[kind] += by
            self.changed.notify_all()

    def ended(self):
        return self.failure is not None or (self.counts["lists"] >= self.wanted and all(self.counts[kind] for kind in KINDS))

    def run(self, name, database, body):
        try:
            connection = database.connect()
            rng = random.Random(f"{self.seed}/{name}")
            with connection.cursor() as cursor:
                while not self.ended():
                    try:
                        body(cursor, rng)
                    except CONFLICTS as conflict:
                        self.count(f"conflict {type(conflict).__name__}")
                        cursor.execute("ROLLBACK")
            connection.close()
        except BaseException as failure:  # the first is the test's result
            with self.changed:
                self.failure = self.failure or failure
                self.changed.notify_all()

    def write(self, cursor, rng):
        counter = rng.choice(self.counters)
        cursor.execute("BEGIN")
        for _ in range(rng.randint(1, 3)):
            cursor.execute("SAVEPOINT s")
            counters.write(cursor, counter, rng)
            if rng.random() < 0.1:
                cursor.execute("ROLLBACK TO s")
        cursor.execute(rng.choice(["COMMIT"] * 5 + ["ROLLBACK"]))
        self.count("writes")

    def roll_up(self, cursor, rng):
        with self.changed:  # not all of the time: what is rolled up is written no more
            goal = self.counts["writes"] + rng.randint(0, 5)
            self.changed.wait_for(lambda: self.ended() or self.counts["writes"] >= goal, 2)
        cursor.execute("BEGIN")
        done = counters.roll_up(cursor, rng.choice(self.counters), rng)
        cursor.execute(rng.choice(["COMMIT"] * 9 + ["ROLLBACK"]))
        self.count(done)

    def vacuum(self, cursor, rng):
        with self.changed:
            goal = self.counts["writes"] + rng.randint(50, 400)
            self.changed.wait_for(lambda: self.ended() or self.counts["writes"] >= goal, 5)
        cursor.execute(f"VACUUM {rng.choice(self.counters).name}_{rng.choice(['hour', 'late', 'day_rollup', 'month_rollup', 'all_time_rollup'])}")
        self.count("vacuums")

    def reader(self, on_standby):
        def read(cursor, rng):
            cursor.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ{' READ ONLY' if on_standby else ''}")
            cursor.execute("SELECT pg_current_snapshot()")
            if rng.random() < 0.5:  # the snapshot grows old
                with self.changed:
                    goal = self.counts["writes"] + rng.randint(1, 60)
                    self.changed.wait_for(lambda: self.ended() or self.counts["writes"] >= goal, 2)
            counter = rng.choice(self.counters)
            for _ in range(rng.randint(1, 4)):
                if not on_standby and rng.random() < 0.2:
                    counters.write(cursor, counter, rng)
                    self.count("own rows")
                self.compare(cursor, counter, rng, "on the standby" if on_standby else "on the primary")
            cursor.execute("ROLLBACK")
        return read

    def compare(self, cursor, counter, rng, where):
        call, given, expected_query, values, explain = counters.ask(counter, rng)
        cursor.execute(f"SELECT rank, video_id, views FROM {call}", given)
        found = cursor.fetchall()
        cursor.execute(expected_query, values)
        expected = [(rank, *row) for rank, row in enumerate(cursor.fetchall(), 1)]
        if found != expected:
            place = next((i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), min(len(found), len(expected)))
            cursor.execute(f"SELECT * FROM {explain or call}", given)
            raise AssertionError(f"{call} {given} {where}: at rank {place + 1} {found[place:place + 2]}, by sums {expected[place:place + 2]}\n"
                                 f"{cursor.fetchall()}")
        self.count("lists")
        self.count(where)
        if explain and rng.random() < 0.5:
            cursor.execute(f"SELECT ended FROM {explain} WHERE list = 'all'", given)
            self.count(cursor.fetchone()[0])
            cursor.execute(f"SELECT bool_or(list LIKE '%% (rest)'), bool_or(list LIKE 'prepared%%') FROM {explain}", given)
            for kind, found in zip(("lists with rests", "lists with prepared sums"), cursor.fetchone()):
                self.counts[kind] += bool(found)


@pytest.mark.skipif(settings.METHOD != "topk", reason="counters have topk indexes")
def test_merged_lists_equal_sums(start, major, run_directory, test_name, count_up):
    rng = random.Random(f"{settings.SEED}/{major}/merge")
    primary = start("primary", max_wal_size="4GB")
    with primary.standby(run_directory / test_name / "standby", PATIENT) as standby:
        start.started.append(standby)
        database = Database(primary, "merged")
        database.execute((settings.ROOT / "sql/init.sql").read_text())
        made = [counters.create(database, rng, number) for number in range(4)]
        primary.wait_for_standby(standby)
        sessions = Sessions(f"{settings.SEED}/{major}", made, settings.MERGES)
        there = Database(standby, "merged", create=False)
        bodies = [("writer", database, sessions.write)] * 3 + [("roller", database, sessions.roll_up), ("vacuum", database, sessions.vacuum)] + \
                 [("reader", database, sessions.reader(False))] * 2 + [("standby reader", there, sessions.reader(True))] * 2
        threads = [threading.Thread(target=sessions.run, args=(f"{name} {number}", of, body), daemon=True)
                   for number, (name, of, body) in enumerate(bodies)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(1, 240 + settings.MERGES / 5 - (time.monotonic() - began)))
        never = [kind for kind in KINDS if not sessions.counts[kind]]
        assert not any(thread.is_alive() for thread in threads), f"no end, never {never}: {dict(sessions.counts)}"
        count_up(", ".join(f"{count} {kind}" for kind, count in sorted(sessions.counts.items())))
        if sessions.failure:
            raise sessions.failure
        assert not never, f"{dict(sessions.counts)}"
        assert_no_crash(standby)
    assert_no_crash(primary)
