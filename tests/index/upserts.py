"""A counter that several sessions flush into at once, natively and by SQL, while rows are deleted, vacuumed and looked at through old snapshots.

The truth is kept here: additions and deletions of committed transactions commute, so that their order does not matter. A transaction also writes
its name into a table: what became of one whose commit was not answered is asked there.
"""
import collections
import contextlib
import datetime
import random
import struct
import threading
import time

import psycopg2

NAME = "upserted"
DAY = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
HOURS = [DAY + datetime.timedelta(hours=hour) for hour in (1, 2, 23, 24, 25)]  # of two partitions
PARTITIONS = 4  # of the topic: a session each
SIZES = (1, 3, 20, 60, 300, 300, 2000)
CHUNK = 4096  # deltas of a flush that are one subtransaction (upsert.cpp)
DEADLOCK, LOCK_TIMEOUT = "40P01", "55P03"
LOST = (None, "57P01", "57P02", "57P03")
FLUSH = ("SELECT topk.flush(%s, 'events', %s, NULL, NULL, ARRAY[ROW(%s, %s, %s, %s, NULL, NULL, NULL, NULL, %s, 0, 0, %s)::topk.flush_progress])")


def encode(deltas):
    """{(hour, id): views} in version 1 of the encoding."""
    hours, parts = collections.defaultdict(list), [b"\x01"]
    for (hour, video), views in deltas.items():
        hours[hour].append((video.encode(), views))
    for hour, entries in sorted(hours.items()):
        parts.append(struct.pack(">qI", round(hour.timestamp() * 1000), len(entries)))
        parts += [struct.pack(f">H{len(video)}sq", len(video), video, views) for video, views in sorted(entries)]
    return b"".join(parts)


class Upserts:
    """What the sessions share. native: the share of flushes that are native. Without deletions, each alone in its transaction: none may meet a deadlock."""

    def __init__(self, database, seed, native=0.5, deletes=True, videos=400, sizes=SIZES):
        self.database, self.seed, self.native, self.deletes, self.videos, self.sizes = database, seed, native, deletes, videos, sizes
        self.lock = threading.Lock()
        self.truth, self.unanswered, self.counts = collections.Counter(), {}, collections.Counter()
        self.failure, self.stopping, self.broken_is_fine = None, threading.Event(), False
        self.round = 0

    # --- Keys ---

    def create(self, fillfactor=70, more_indexes=False):
        with self.session() as cursor:
            cursor.execute("CREATE TABLE done (id text PRIMARY KEY)")
            cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
            cursor.execute("SELECT topk.create_counter(%s)", (NAME,))
            cursor.execute("SELECT topk.make_partitions(%s, %s, %s)", (NAME, HOURS[0], HOURS[-1]))
            cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1", (NAME + "_hour",))
            for partition, in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {partition} SET (fillfactor = {fillfactor}, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200)")
                if more_indexes:
                    cursor.execute(f"CREATE INDEX ON {partition} (views)")

    def deltas(self, rng):
        """Of videos that everybody has, or that appear just now, for everybody at once."""
        size, deltas = rng.choice(self.sizes), {}
        hours = rng.sample(HOURS, rng.choice((1, 1, 2, len(HOURS))))
        for hour in hours:
            for _ in range(max(1, size // len(hours))):
                kind = rng.random()
                if kind < 0.5:
                    video = f"v{int(self.videos ** rng.random())}"
                elif kind < 0.8:
                    video = f"new {self.round // 4} {rng.randrange(size)}"
                else:
                    video = f"{'long' * rng.choice((0, 0, 0, 30, 60))} {rng.randrange(20 * self.videos)}"
                deltas[hour, video] = rng.choice((1, 1, 2, 7, 1000))
        return deltas

    # --- Sessions ---

    @contextlib.contextmanager
    def session(self):
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            yield cursor

    def run(self, rounds=None, until=None):
        """Writers and readers, until the writers have done so many transactions, or until() ends them."""
        self.stopping.clear()
        goal = self.counts["transactions"] + (rounds or 0)
        bodies = [(f"flush {number}", self.flusher(number)) for number in range(PARTITIONS)]
        bodies += [("reader", self.reader), ("vacuum", self.vacuum)] + ([("delete", self.deleter)] if self.deletes else [])
        self.seed = f"{self.seed}+"
        threads = [threading.Thread(target=self.live, args=body, name=body[0], daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        if until:
            until()
        else:
            while self.counts["transactions"] < goal and not self.failure:
                time.sleep(0.01)
        self.stopping.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), f"{thread.name} does not end"
        if self.failure:
            raise self.failure

    def live(self, name, body):
        rng = random.Random(f"{self.seed}/{name}")
        try:
            with self.session() as cursor:
                body(cursor, rng)
        except BaseException as failure:
            if self.broken_is_fine and isinstance(failure, (psycopg2.OperationalError, psycopg2.InterfaceError)) and failure.pgcode in LOST:
                return
            with self.lock:
                self.failure = self.failure or failure
            self.stopping.set()

    def commit(self, cursor, rng, changes):
        """Ends a transaction that made these changes; in the truth if it was committed."""
        if rng.random() < 0.15:
            cursor.execute("ROLLBACK")
            self.count("rolled back")
            return False
        with self.lock:
            name = f"{len(self.unanswered)} {rng.random()}"
        cursor.execute("INSERT INTO done VALUES (%s)", (name,))
        with self.lock:
            self.unanswered[name] = changes
        cursor.execute("COMMIT")
        with self.lock:
            self.settle(name)
        return True

    def settle(self, name):
        for key, views in self.unanswered.pop(name).items():
            self.truth[key] += views

    def count(self, kind, by=1):
        with self.lock:
            self.counts[kind] += by

    def flusher(self, partition):
        def body(cursor, rng):
            epoch, offset = self.claim(cursor, partition)
            cursor.execute("SET client_min_messages = debug1")
            while not self.stopping.is_set():
                end, changes = offset, collections.Counter()
                try:
                    cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                    for _ in range(rng.choice((1, 1, 1, 3)) if self.deletes else 1):
                        end = self.flush(cursor, rng, (partition, epoch, end), changes)
                    if self.commit(cursor, rng, changes):
                        offset = end
                except psycopg2.errors.DeadlockDetected:
                    if not self.deletes:
                        raise
                    cursor.execute("ROLLBACK")
                    self.count("deadlocks")
                self.count("transactions")
        return body

    def claim(self, cursor, partition):
        cursor.execute("SELECT epoch, next_offset FROM topk.claim(%s, 'events', 'cluster', 'group', 'member', %s, %s, '{0}', '{9000000000}')",
                       (NAME, PARTITIONS, [partition]))
        return cursor.fetchone()

    def flush(self, cursor, rng, at, changes):
        """One flush, perhaps once more after it was rolled back to a savepoint. Returns the next offset."""
        partition, epoch, offset = at
        is_native = rng.random() < self.native
        cursor.execute(f"SET LOCAL topk.native_upsert = {'on' if is_native else 'off'}")
        deltas = self.deltas(rng)
        call = (NAME, psycopg2.Binary(encode(deltas)), partition, epoch, offset, offset + len(deltas), 0, len(deltas))
        # Who waits for a subtransaction that was kept waits for the whole transaction from then on, even if it is rolled back with the savepoint
        if self.deletes and rng.random() < 0.2:
            cursor.execute("SAVEPOINT s")
            cursor.execute(FLUSH, call)
            cursor.execute("ROLLBACK TO s")
        del cursor.connection.notices[:]
        cursor.execute(FLUSH, call)
        notices = "".join(cursor.connection.notices)
        assert ("adds its rows natively" in notices) == is_native, notices
        for key, views in deltas.items():
            changes[key] += views
        with self.lock:
            self.round += 1
            self.counts["native" if is_native else "SQL"] += 1
            self.counts["deltas"] += len(deltas)
            self.counts["one by one"] += "one by one" in notices
            self.counts["of several chunks"] += is_native and len(deltas) > CHUNK
            self.counts["one by one in flushes of several chunks"] += "one by one" in notices and len(deltas) > CHUNK
        return offset + len(deltas)

    def deleter(self, cursor, rng):
        while not self.stopping.is_set():
            try:
                cursor.execute("BEGIN")
                hour = rng.choice(HOURS)
                ids = [f"v{int(self.videos ** rng.random())}" for _ in range(rng.choice((1, 5, 40)))] + [f"new {self.round // 4} {n}" for n in range(20)]
                if rng.random() < 0.7:
                    cursor.execute(f"DELETE FROM {NAME}_hour WHERE window_start = %s AND video_id = ANY (%s) RETURNING video_id, -views", (hour, ids))
                else:
                    cursor.execute(f"UPDATE {NAME}_hour SET views = views + 5 WHERE window_start = %s AND video_id = ANY (%s) RETURNING video_id, 5", (hour, ids))
                self.commit(cursor, rng, {(hour, video): views for video, views in cursor.fetchall()})
                self.count("changes by SQL")
            except psycopg2.errors.DeadlockDetected:
                cursor.execute("ROLLBACK")
                self.count("deadlocks")

    def vacuum(self, cursor, rng):
        while not self.stopping.is_set():
            cursor.execute(f"VACUUM {'(INDEX_CLEANUP ON) ' if rng.random() < 0.5 else ''}{NAME}_hour")
            self.count("vacuums")

    def reader(self, cursor, rng):
        """An old snapshot sees the same as at first, by heap and by key, and an hour's list through the topk index is that of a sort."""
        by_heap = f"SELECT md5(string_agg(r::text, ',' ORDER BY r)) FROM {NAME}_hour r"
        by_key = f"SELECT md5(string_agg(r::text, ',' ORDER BY r)) FROM (SELECT * FROM {NAME}_hour ORDER BY window_start, video_id) r"
        while not self.stopping.is_set():
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute(by_heap)
            before = cursor.fetchone()
            seen = self.round
            while self.round < seen + rng.choice((1, 20)) and not self.stopping.is_set():
                time.sleep(0.005)
            cursor.execute(by_heap)
            assert cursor.fetchone() == before
            hour = rng.choice(HOURS)
            top = f"SELECT video_id, views FROM {NAME}_hour WHERE window_start = %s ORDER BY views DESC, video_id LIMIT 100"
            cursor.execute("SET LOCAL enable_indexscan = off")
            cursor.execute(top, (hour,))
            sorted_list = cursor.fetchall()
            cursor.execute("SET LOCAL enable_indexscan = on; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off")
            cursor.execute(by_key)
            assert cursor.fetchone() == before
            cursor.execute(top, (hour,))
            assert cursor.fetchall() == sorted_list
            cursor.execute("EXPLAIN " + top, (hour,))
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Sort" not in plan and "_views_video_id_idx" in plan, plan
            cursor.execute("COMMIT")
            self.count("old snapshots")

    # --- Afterwards ---

    def check(self):
        """Table, truth and indexes agree; no session is at work."""
        with self.session() as cursor:
            cursor.execute("SELECT id FROM done")
            for name in {row[0] for row in cursor.fetchall()} & set(self.unanswered):
                self.settle(name)
            self.unanswered.clear()
            for order in ("", "SET enable_seqscan = off; SET enable_bitmapscan = off;"):
                cursor.execute(f"{order} SELECT window_start, video_id, views FROM {NAME}_hour")
                rows = cursor.fetchall()
                stored = {(start, video): views for start, video, views in rows}
                assert len(rows) == len(stored), "a key is there twice"
                expected = {key: views for key, views in self.truth.items() if views}
                wrong = sorted(key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key))
                assert not wrong, f"{len(wrong)} of {len(expected)} rows, e.g. {[(key, stored.get(key), expected.get(key)) for key in wrong[:5]]}"
            cursor.execute("SELECT indexrelid::regclass::text, amname FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid"
                           " JOIN pg_am a ON a.oid = c.relam WHERE h.inhparent = %s::regclass", (NAME + "_hour",))
            indexes = cursor.fetchall()
            assert {name for _, name in indexes} == {"btree", "topk"}
            for index, method in indexes:
                cursor.execute(f"SELECT topk.index_check('{index}')" if method == "topk" else f"SELECT bt_index_check('{index}', true)")
