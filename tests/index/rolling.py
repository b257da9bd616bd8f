"""A counter whose hours are sealed and rolled up while sessions flush, come late, correct, and lose the roll-up's backend.

The truth is the hour table and the late additions, summed by plain SQL and sorted in Python, in the same repeatable-read snapshot as the
lists; what expires is left to who compares. How far event time has come follows from the snapshots compared so far, so that hours seal and roll up
from the first snapshot to the last.
"""
import contextlib
import os
import random
import signal
import struct
import threading
import time
from dataclasses import dataclass

import psycopg2

NAME = "rolled"
# A month ends, and its first hour is lived twice
ZONE, SINCE, UNTIL = "America/Havana", "2020-10-29 07:00Z", "2020-11-02 20:00Z"
BATCH = 20000
SPANS = (("hour", 1000), ("day", 1000), ("month", 100), ("all_time", 1000), ("24 hours", 1000), ("7 days", 100))
FRONTIER_PASSED, BELOW_ZERO, EXPIRED = "TK002", "22003", "55000"
LOST = (None, "57P01", "57P02", "57P03")  # the connection; not a deadlock, say, which must not happen


@dataclass
class Hour:
    start: object
    end: object
    day: object
    month: object


def hours_between(cursor, since, until):
    cursor.execute("SELECT hour_start, hour_end, day_start, month_start FROM topk.hours(%s, %s, %s)", (NAME, since, until))
    return [Hour(*row) for row in cursor.fetchall()]


def encode(deltas):
    """{hour start: {id: views}} in version 1 of the encoding."""
    parts = [b"\x01"]
    for start, videos in sorted(deltas.items()):
        parts.append(struct.pack(">qI", round(start.timestamp() * 1000), len(videos)))
        for name, views in sorted(videos.items()):
            parts.append(struct.pack(f">H{len(name)}sq", len(name), name.encode(), views))
    return b"".join(parts)


class Rolling:
    """What the sessions share. `wanted` snapshots are compared; event time comes to the last hours with them, or `pace` times as fast."""

    def __init__(self, database, seed, rows, wanted, since=SINCE, until=UNTIL, pace=1):
        self.database, self.seed, self.rows, self.wanted, self.pace = database, seed, rows, wanted, pace
        self.changed, self.counts, self.failure = threading.Condition(), {}, None
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT topk.create_counter(%s, %s)", (NAME, ZONE))
            self.hours = hours_between(cursor, since, until)
            cursor.execute("SELECT min(hour_start) - interval '8 days' FROM topk.hours(%s, %s, %s)", (NAME, since, until))
            self.calendar = hours_between(cursor, cursor.fetchone()[0], until)
        self.videos = max(200, rows // len(self.hours) * 3 // 2)

    def video(self, rng):
        """Some are popular; all come."""
        return f"v{int(self.videos ** rng.random())}" if rng.random() < 0.4 else f"v{rng.randrange(self.videos)}"

    def popularity(self, video):
        """From 1: the views of the first twentieth fall off as their numbers grow, so that merges come to their end; those of the rest are flat."""
        return 1 + self.videos // (20 * (1 + int(video[1:])))

    # --- Progress ---

    def count(self, kind, by=1):
        with self.changed:
            self.counts[kind] = self.counts.get(kind, 0) + by
            self.changed.notify_all()

    def done(self, kind):
        return self.counts.get(kind, 0)

    def ended(self):
        return self.failure is not None or self.done("snapshots") >= self.wanted

    def wait_until(self, reached, limit=30):
        """Gives up quietly: the others may be waiting for us."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended() or reached(), limit)

    def watermark(self):
        """The end of the hour that event time has come to; the last hours stay open."""
        share = min(1, self.pace * (self.done("snapshots") + 2) / self.wanted)
        return self.hours[int(share * (len(self.hours) - 4))].end

    def session(self, name, body):
        """A thread that calls body(cursor, rng) until the end, in a new session after each loss of the old one."""
        def live():
            rng = random.Random(f"{self.seed}/{name}")
            try:
                while not self.ended():
                    try:
                        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
                            body(cursor, rng)
                    except (psycopg2.OperationalError, psycopg2.InterfaceError) as lost:
                        if lost.pgcode not in LOST or not self.done("kills"):
                            raise
                        time.sleep(0.02)  # until the server has recovered
            except BaseException as failure:  # the first is the test's result
                with self.changed:
                    self.failure = self.failure or failure
                    self.changed.notify_all()
        return threading.Thread(target=live, name=name, daemon=True)

    # --- Writers ---

    def claim(self, cursor, partition):
        cursor.execute("SELECT epoch, next_offset FROM topk.claim(%s, 'events', 'cluster', 'group', 'member', 2, %s, '{0}', '{9000000000}')",
                       (NAME, [partition]))
        return cursor.fetchone()

    def flush(self, cursor, partition, at, deltas, late=(), watermark=None):
        """Returns the frontier."""
        epoch, offset = at
        counted = sum(len(videos) for videos in deltas.values())
        end = offset + counted + len(late)
        cursor.execute("SELECT topk.flush(%s, 'events', %s, (SELECT array_agg(ROW(h, v, n, 1)::topk.flush_late) FROM unnest(%s::timestamptz[], %s::text[],"
                       " %s::bigint[]) l (h, v, n)), NULL, ARRAY[ROW(%s, %s, %s, %s, %s, 0, 0, %s, %s, %s, 0, 0)::topk.flush_progress])",
                       (NAME, psycopg2.Binary(encode(deltas)), [row[0] for row in late], [row[1] for row in late], [row[2] for row in late],
                        partition, epoch, offset, end, end - 1, watermark, counted, len(late)))
        return cursor.fetchone()[0], (epoch, end)

    def load(self):
        """The rows that there are at first, by flushes."""
        rng = random.Random(f"{self.seed}/load")
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            at, batch, size = self.claim(cursor, 0), {}, 0
            for hour in self.hours:
                videos = set()
                while len(videos) < max(1, self.rows // len(self.hours)):
                    videos.add(self.video(rng))
                batch[hour.start] = {video: rng.choice((1, 1, 2, 3, 50)) * self.popularity(video) for video in sorted(videos)}
                size += len(videos)
                if size >= BATCH or hour is self.hours[-1]:
                    _, at = self.flush(cursor, 0, at, batch)
                    batch, size = {}, 0
            cursor.execute(f"ANALYZE {NAME}_hour")

    def writer(self, partition):
        """Flushes to hours that are open as far as it knows; and late views."""
        def write(cursor, rng):
            at, frontier = self.claim(cursor, partition), None
            while not self.ended():
                hours = rng.sample(rng.choice((self.hours, self.hours[-6:])), rng.randint(1, 3))
                is_late = [frontier is not None and hour.end <= frontier for hour in hours]
                views = [{self.video(rng): rng.choice((1, 2, 500)) for _ in range(rng.choice((1, 20, 200)))} for _ in hours]
                deltas = {hour.start: part for hour, late, part in zip(hours, is_late, views) if not late}
                late = [(hour.start, name, count) for hour, late, part in zip(hours, is_late, views) if late for name, count in part.items()]
                try:
                    frontier, at = self.flush(cursor, partition, at, deltas, late, self.watermark())
                    self.count("flushes")
                    self.count("late additions", len(late))
                except psycopg2.Error as error:
                    if error.pgcode != FRONTIER_PASSED:
                        raise
                    frontier = self.frontier(cursor)
                    self.count("flushes refused as sealed")
                cursor.execute("CALL topk.seal(%s)", (NAME,))
                goal = self.done("snapshots") + 1
                self.wait_until(lambda: self.done("snapshots") >= goal, 0.2)
        return write

    def frontier(self, cursor):
        cursor.execute("SELECT sealed_through FROM topk.counter WHERE name = %s", (NAME,))
        return cursor.fetchone()[0]

    def correct(self, cursor, rng):
        while not self.ended():
            hour = rng.choice(self.hours)
            cursor.execute(f"SELECT video_id, views FROM {NAME}_hour WHERE window_start = %s AND video_id >= %s ORDER BY video_id LIMIT 1",
                           (hour.start, self.video(rng)))
            name, views = cursor.fetchone() or (self.video(rng), 0)
            delta = rng.choice((1, 1000, -views, -1, 1 - views)) or 7
            try:
                cursor.execute("SELECT topk.correct(%s, %s, %s, %s, 'test')", (NAME, hour.start, rng.choice((name, self.video(rng))), delta))
                self.count("corrections")
            except psycopg2.Error as error:
                if error.pgcode not in (BELOW_ZERO, EXPIRED):
                    raise
            goal = self.done("snapshots") + 1
            self.wait_until(lambda: self.done("snapshots") >= goal, 0.2)

    def refresh(self, cursor, rng):
        """Final lists of what is sealed, which are read instead of the rows until a correction."""
        while not self.ended():
            cursor.execute("SELECT topk.refresh_step(%s)", (NAME,))
            self.count("lists refreshed", cursor.fetchone()[0])
            goal = self.done("snapshots") + 1
            self.wait_until(lambda: self.done("snapshots") >= goal, 2)

    # --- Roll-up ---

    def roll_up(self, kills):
        """Small steps, as many of them to a snapshot as take it to the end with the last one; some are rolled back, and some lose
        their backend: in the middle of a step, or behind it and before its commit."""
        rows = max(1, self.rows * 2 // (self.wanted * 6))

        def roll(cursor, rng):
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
            cursor.execute("SET client_min_messages = debug1")
            while not self.ended():
                if self.done("kills") < kills and self.done("snapshots") >= (self.done("kills") + 1) * self.wanted // (kills + 1):
                    return self.killed(cursor, pid, rows)
                is_undone = rng.random() < 0.2
                if is_undone:
                    cursor.execute("BEGIN")
                is_native = rng.random() < 0.7
                cursor.execute(f"SET {'LOCAL ' * is_undone}topk.native_upsert = {'on' if is_native else 'off'}")
                del cursor.connection.notices[:]
                cursor.execute("SELECT topk.roll_up_step(%s, %s)", (NAME, rng.randint(1, rows * 2)))
                (added,) = cursor.fetchone()
                if added:
                    notices = "".join(cursor.connection.notices)
                    assert ("adds its rows natively" in notices) == is_native and ("adds its rows by SQL" in notices) != is_native, notices
                    self.count("native steps" if is_native else "steps by SQL")
                if is_undone:
                    cursor.execute("ROLLBACK")
                elif added:
                    self.count("rows rolled up", added)
                self.count("steps")
                if added is None:
                    self.count("steps with nothing to do")
                goal = self.done("steps") // 8 + 1
                self.wait_until(lambda: self.done("snapshots") >= goal)
        return roll

    def killed(self, cursor, pid, rows):
        """kill -9 of this session's backend; the server recovers from it, and every session is lost."""
        self.count("kills")
        if self.done("kills") % 2:
            cursor.execute("BEGIN")
            cursor.execute("SELECT topk.roll_up_step(%s, %s)", (NAME, rows))
            os.kill(pid, signal.SIGKILL)
            cursor.execute("COMMIT")
        else:
            killer = threading.Thread(target=self.kill_active, args=(pid,))
            killer.start()
            try:
                cursor.execute("SELECT topk.roll_up_step(%s, 1) FROM generate_series(1, 100000)", (NAME,))
            finally:
                killer.join()
        raise AssertionError(f"process {pid} survived SIGKILL")

    def kill_active(self, pid):
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            active = False
            while not active:
                cursor.execute("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query ~ 'generate_series')", (pid,))
                (active,) = cursor.fetchone()
        os.kill(pid, signal.SIGKILL)
