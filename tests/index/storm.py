"""Sessions that write, read and maintain the tables at once, until enough reader transactions found every list right.

The first wrong list or unexpected error ends the run and is its result. What sessions draw comes from the seed, their
interleaving does not; a failure therefore also prints the last operations on its table.
"""
import collections
import itertools
import random
import threading
import time

import psycopg2
from psycopg2 import errors

import lists
from maintenance import Maintainer
from progress import Progress
from readers import Reader
from shapes import SHAPES
from writers import Writer

# What concurrent transactions may end in
CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable, errors.UniqueViolation,
             errors.CardinalityViolation)
# What recovery may do to readers of a standby. Nobody sees a deadlock between replay that waits for their snapshots and readers that wait for
# a lock which it replayed: they give up.
RECOVERY_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.QueryCanceled, errors.LockNotAvailable)
# Replay waits for readers, and the disk ends somewhere: with so many bytes of WAL still to be replayed by a standby writers wait, and readers hold
# no snapshots longer than they need, until it has come so near
MOST_TO_REPLAY, NEAR = 2 << 30, 64 << 20


class Session:
    def __init__(self, number, connection):
        self.number, self.connection = number, connection
        connection.autocommit = True
        self.own_cursor = connection.cursor()

    def cursor(self):
        return self.connection.cursor()

    def execute(self, sql):
        self.own_cursor.execute(sql)


class Storm:
    """`connect()` opens a session to write with, `connect_reader()` one to read with: elsewhere, if it is a standby.

    index_check: off where only a wrong list may end the run.
    """

    def __init__(self, connect, seed, method="topk", shapes=SHAPES, connect_reader=None, index_check=True):
        self.connect, self.connect_reader, self.on_standby = connect, connect_reader or connect, connect_reader is not None
        self.seed, self.method, self.shapes, self.index_check = seed, method, shapes, index_check
        self.progress = Progress()
        self.numbers = itertools.count()
        self.prepared = collections.deque()
        self.journals = {shape.name: collections.deque(maxlen=60) for shape in shapes}
        self.maintained = {shape.name: threading.Lock() for shape in shapes}
        self.failure = None
        self.stopping = False
        self.is_behind = False  # the standby
        self.broken_is_fine = False  # the server is about to be stopped
        self.threads = []

    # --- for the sessions ---

    def next_number(self):
        return next(self.numbers)

    def new_name(self):
        return f"storm_{self.next_number()}"

    def some_shape(self, rng):
        """Half the sessions are at the same table at any time, so that they meet; which one changes as they go on."""
        if rng.random() < 0.5:
            return self.shapes[self.progress.counts["write"] // 150 % len(self.shapes)]
        return rng.choice(self.shapes)

    def journal(self, shape, session, what):
        self.journals[shape.name].append(f"{session}:{what}")

    def count_list(self, asked, rows):
        self.progress.advance("lists")
        self.progress.advance("rows compared", rows)

    # --- the run ---

    def create(self, rows=1500):
        """Tables with some rows, and indexes: of half the tables before the rows."""
        rng = random.Random(f"{self.seed}/create")
        session = Session("create", self.connect())
        writer = Writer(session, self, rng)
        for number, shape in enumerate(self.shapes):
            session.execute(shape.create_table())
            if number % 2:
                session.execute(shape.create_index(self.method))
            for _ in range(rows // 100):
                writer.insert_rows(shape, 100, "ON CONFLICT DO NOTHING")
            if not number % 2:
                session.execute(shape.create_index(self.method))
        session.connection.close()

    def run(self, readers, limit, writers=4, met=()):
        """Raises what went wrong. `limit` in seconds: nothing may hang. `met`: what must have happened, too."""
        self.start_writers(writers)
        for hold in (("write", 10), ("write", 30), ("write", 100), ("write", 400), ("maintenance", 3), ("maintenance", 8)):
            self._start(f"reader {hold[0]} {hold[1]}", self.connect_reader, self._read, hold)
        if self.on_standby:
            self._start("replay", self.connect_reader, self._watch_replay)
        with self.progress.changed:
            done = self.progress.changed.wait_for(lambda: self.failure or self._enough(readers, met), limit)
        self.stop()
        if self.failure:
            raise self.failure
        never = [kind for kind in met if not self.progress.counts[kind]]
        assert done, f"{self.progress.counts['reader']} of {readers} reader transactions within {limit} s, never {never}; {self.summary()}"

    def _enough(self, readers, met):
        return self.progress.counts["reader"] >= readers and all(self.progress.counts[kind] for kind in met)

    def start_writers(self, writers=4, maintainers=True):
        for number in range(writers):
            self._start(f"writer {number}", self.connect, self._write, 0 if number else 40)
        if maintainers:
            self._start("maintainer", self.connect, self._maintain, False)
            self._start("concurrent maintainer", self.connect, self._maintain, True)

    def stop(self):
        self.stopping = True
        self.progress.end()
        deadline = time.monotonic() + 90
        while any(thread.is_alive() for thread in self.threads) and time.monotonic() < deadline:
            self._finish_prepared()  # somebody may be waiting for their locks
            for thread in self.threads:
                thread.join(0.1)
        hanging = [thread.name for thread in self.threads if thread.is_alive()]
        self.threads = []
        self._finish_prepared()
        assert not hanging, f"sessions do not end: {hanging}"

    def _finish_prepared(self):
        if self.prepared and not self.broken_is_fine and not self.failure:
            session = Session("end", self.connect())
            while self.prepared:
                session.execute(f"COMMIT PREPARED '{self.prepared.popleft()}'")
            session.connection.close()

    def summary(self):
        return ", ".join(f"{kind}: {count}" for kind, count in sorted(self.progress.counts.items()))

    def _start(self, name, connect, work, *arguments):
        session = Session(name, connect())
        rng = random.Random(f"{self.seed}/{name}")
        thread = threading.Thread(target=self._guarded, args=(session, work, rng, *arguments), name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _guarded(self, session, work, *arguments):
        try:
            work(session, *arguments)
        except Exception as error:
            if not (self.broken_is_fine and isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError))):
                self._fail(session, error)
        finally:
            session.connection.close()

    def _fail(self, session, error):
        journals = "\n".join(f"  {table}: {' '.join(journal)}" for table, journal in self.journals.items()
                             if f" {table} " in str(error) or f"{table}_" in str(error))
        report = (f"TOPK_SEED={self.seed}, session {session.number}: {type(error).__name__}: {error}\n"
                  f"last operations:\n{journals}\n{self.summary()}")
        with self.progress.changed:
            if not self.failure:
                kind = lists.Mismatch if isinstance(error, lists.Mismatch) else AssertionError
                self.failure = kind(report)
                self.failure.__cause__ = error
            self.progress.changed.notify_all()

    def _write(self, session, rng, patience):
        writer = Writer(session, self, rng, patience)
        while not self.stopping:
            self._wait_for_replay()
            try:
                ending = writer.transact()
            except CONFLICTS as error:
                session.execute("ROLLBACK")
                ending = type(error).__name__
            self.progress.advance("write")
            self.progress.advance(f"transaction {ending}")

    def _read(self, session, rng, hold):
        reader = Reader(session, self, rng, hold, serializable=not self.on_standby)
        if self.on_standby:
            session.execute("SET lock_timeout = '2s'")
        while not self.stopping:
            try:
                reader.transact()
            except RECOVERY_CONFLICTS if self.on_standby else CONFLICTS as error:
                session.execute("ROLLBACK")
                self.progress.advance(f"reader {type(error).__name__}")
            except errors.InternalError_ as error:
                # REINDEX CONCURRENTLY waits for who may be planning with the index that it drops: on the primary, not on a standby
                if not self.on_standby or "could not open relation with OID" not in str(error):
                    raise
                session.execute("ROLLBACK")
                self.progress.advance("reader met a dropped index")

    def _maintain(self, session, rng, waits):
        maintainer = Maintainer(session, self, rng, waits)
        while not self.stopping:
            self._wait_for_replay()
            maintainer.maintain()
            self.progress.wait("write", rng.randint(1, 30))

    def _watch_replay(self, session, rng):
        cursor = session.cursor()
        while not self.stopping:
            cursor.execute("SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)")
            (behind,) = cursor.fetchone()
            if behind > MOST_TO_REPLAY and not self.is_behind:
                self.progress.advance("replay caught up")
            self.is_behind = behind > (NEAR if self.is_behind else MOST_TO_REPLAY)
            self.progress.wait("reader", 10, limit=1)

    def _wait_for_replay(self):
        while self.is_behind and not self.stopping:
            self.progress.wait("reader", 10, limit=1)
