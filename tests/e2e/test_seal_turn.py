"""A sealer beside eight clients that flush without pause gets its turn within a second, and so do they.

PostgreSQL alone. The clients stay in their transactions a little, so that the seal lock is held by somebody at all times: who
tried for it without queueing, as with row share locks, would never get it.
"""
import contextlib
import datetime
import statistics
import struct
import threading
import time

import psycopg2.errors
import pytest
from harness.wait import wait_until

CLIENTS = 8
TURNS = 20
TURN_SECONDS = 1.0
HOLD_SECONDS = 0.04
START = datetime.datetime(2026, 6, 7, tzinfo=datetime.timezone.utc)

SEAL_LOCK = ("SELECT count(*) FILTER (WHERE granted AND mode = 'ShareLock') FROM pg_locks WHERE locktype = 'advisory' "
             "AND classid = 'video_views_hour'::regclass AND objid = 1 AND objsubid = 21579")


def hour_at(number):
    return START + datetime.timedelta(hours=number)


def deltas(hour, video_id):
    """One view of one video."""
    return struct.pack(">bqIH", 1, int(hour.timestamp() * 1000), 1, len(video_id)) + video_id.encode() + struct.pack(">q", 1)


class Clients:
    """Each owns a partition and counts its video in the hour at hand, with a watermark five minutes into it."""

    def __init__(self, database):
        self.database, self.hour, self.stopping = database, 0, threading.Event()
        self.flushes, self.hours, self.failures = [0] * CLIENTS, [-1] * CLIENTS, []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number):
        try:
            with contextlib.closing(self.database.cluster.connect(self.database.name)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', %s, %s, ARRAY[%s], '{0}', '{1000000}')",
                               (f"client {number}", CLIENTS, number))
                (epoch,) = cursor.fetchone()
                while not self.stopping.is_set():
                    self._flush(cursor, number, epoch)
        except Exception as error:  # told by the main thread
            self.failures.append(f"client {number}: {error}")

    def _flush(self, cursor, number, epoch):
        offset, hour = self.flushes[number], self.hour
        start = hour_at(hour)
        cursor.execute("BEGIN")
        cursor.execute("SELECT topk.flush('video_views', 'events', %s, NULL, NULL, ARRAY[ROW(%s, %s, %s, %s, %s, 0, 0, %s, 1, 0, 0, 0)::topk.flush_progress])",
                       (deltas(start, f"video {number}"), number, epoch, offset, offset + 1, offset, start + datetime.timedelta(minutes=5)))
        cursor.execute("SELECT pg_sleep(%s)", (HOLD_SECONDS,))
        cursor.execute("COMMIT")
        self.flushes[number] = offset + 1
        self.hours[number] = hour

    def wait_for_hour(self, hour):
        """Until all have reached it, so that it is due and nobody flushes into the one before."""
        wait_until(lambda: self.failures or min(self.hours) >= hour, 60, f"all clients in hour {hour}", every=0.005)
        assert not self.failures, self.failures


def test_sealer_gets_its_turn(database):
    took = []
    with Clients(database) as clients, contextlib.closing(database.cluster.connect(database.name)) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '20 s'")
        clients.wait_for_hour(0)
        held = 0
        for _ in range(100):
            cursor.execute(SEAL_LOCK)
            held += cursor.fetchone()[0] > 0
        assert held >= 95, f"the seal lock was held in {held} of 100 looks: no test of its queue"
        for hour in range(1, TURNS + 1):
            clients.hour = hour
            clients.wait_for_hour(hour)
            before, began = list(clients.flushes), time.monotonic()
            cursor.execute("CALL topk.seal()")
            took.append(time.monotonic() - began)
            cursor.execute("SELECT sealed_through FROM topk.counter")
            assert cursor.fetchone()[0] == hour_at(hour)
            # The clients get theirs as well.
            wait_until(lambda: clients.failures or all(now > then for now, then in zip(clients.flushes, before)),
                       CLIENTS * TURN_SECONDS, "another flush of every client", every=0.005)
        assert not clients.failures, clients.failures
    # One may meet a pause of the machine
    assert statistics.median(took) < TURN_SECONDS and max(took) < 5 * TURN_SECONDS, took
    counted = database.value("SELECT sum(views)::bigint FROM video_views_hour")
    assert counted == sum(clients.flushes)
    print(f"counted: {counted} flushes, slowest of {TURNS} seals {max(took) * 1000:.0f} ms")


def test_sealer_gives_up(database):
    """A client that stopped in the middle of a flush does not stop the others by way of a sealer that waits for it."""
    flush = ("SELECT topk.flush('video_views', 'events', %s, NULL, NULL, ARRAY[ROW(%s, 1, %s, %s, %s, 0, 0, %s, 1, 0, 0, 0)::topk.flush_progress])")
    with contextlib.ExitStack() as stack:
        stopped, other, sealer = (stack.enter_context(contextlib.closing(database.cluster.connect(database.name))).cursor() for _ in range(3))
        for number, client in enumerate((stopped, other)):
            client.execute("SELECT FROM topk.claim('video_views', 'events', 'cluster', 'group', %s, 2, ARRAY[%s], '{0}', '{9}')", (f"client {number}", number))
            client.execute(flush, (deltas(hour_at(1), "first"), number, 0, 1, 0, hour_at(1)))  # makes the day's partition
        stopped.execute("BEGIN")
        stopped.execute(flush, (deltas(hour_at(1), "a"), 0, 1, 2, 1, hour_at(1)))
        sealer.execute("SET lock_timeout = '500 ms'")
        failures = []

        def seal():
            with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
                sealer.execute("CALL topk.seal()")
            failures.append(caught.value)
        waiting = threading.Thread(target=seal)
        waiting.start()
        other.execute("SET lock_timeout = '20 s'")
        other.execute(flush, (deltas(hour_at(1), "b"), 1, 1, 2, 1, hour_at(1)))
        waiting.join()
        assert 'could not lock the frontier of counter "video_views"' in str(failures[0])
        sealer.execute("SHOW lock_timeout")
        assert sealer.fetchone() == ("500ms",)
        stopped.execute("ROLLBACK")
        sealer.execute("CALL topk.seal()")
    assert database.value("SELECT sealed_through FROM topk.counter") == hour_at(0)
