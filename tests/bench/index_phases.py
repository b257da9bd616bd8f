"""The measurements of the index benchmark. Arms take turns in random order within a round, so that what disturbs the machine
disturbs them alike; each phase returns plain lists of figures a round, a batch or a query for the report.
"""

import contextlib
import threading
import time

LENGTHS = (100, 1000)
# Beside a writer: without pauses a round would be over within one batch, before any of its dead versions are in the way.
PAUSE_SECONDS = 0.005
BATCHES_BEFORE = 3


def percentile(values, share):
    """The nearest rank: an observed value, never an interpolated one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Background:
    """A thread that calls `step` until the with block ends, and hands its failure on."""

    def __init__(self, step):
        self.step, self.steps, self.failure = step, 0, None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self.stopped.is_set():
                self.step(self.stopped, self.steps)
                self.steps += 1
        except Exception as error:  # re-raised by __exit__ in the caller's thread
            self.failure = error

    def __enter__(self):
        self.thread.start()
        return self

    def wait_for(self, steps):
        while self.steps < steps and not self.failure:
            time.sleep(0.01)

    def __exit__(self, kind, error, trace):
        self.stopped.set()
        self.thread.join()
        if self.failure and kind is None:
            raise self.failure


class Session:
    """What the phases share: where to connect, which tables, whose turn it is."""

    def __init__(self, connect, tables, draw):
        self.connect, self.tables, self.draw = connect, tables, draw

    def shuffled(self, items):
        return self.draw.sample(list(items), len(list(items)))

    @contextlib.contextmanager
    def cursor(self):
        with contextlib.closing(self.connect()) as connection:
            self.tables.prepare(connection, LENGTHS)
            with connection.cursor() as cursor:
                yield cursor


def processor_ms(pid):
    """What a process of this machine has spent on a processor: unlike a time by the clock, the same on a busy machine."""
    return int(open(f"/proc/{pid}/schedstat").read().split()[0]) / 1e6


def upserts(session, warm_up, measured):
    """{arm: {"ms", "cpu", "wal": a figure a batch, "updates", "hot", "autovacuums"}} over the batches after the warm-up.

    The warm-up spreads the hot rows over pages that have room for their next versions; before, no arm's updates are all HOT.
    """
    tables = session.tables
    figures = {arm: {"ms": [], "cpu": [], "wal": []} for arm in tables.arms}
    with session.cursor() as cursor:
        before = {}
        for batch in range(warm_up + measured):
            if batch == warm_up:
                before = {arm: tables.updates(cursor.connection, arm) for arm in tables.arms}
            for arm in session.shuffled(tables.arms):
                cursor.execute("SELECT pg_current_wal_insert_lsn()")
                (start,) = cursor.fetchone()
                spent = processor_ms(cursor.connection.info.backend_pid)
                ms = tables.upsert(cursor, arm, batch)
                spent = processor_ms(cursor.connection.info.backend_pid) - spent
                cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", (start,))
                if batch >= warm_up:
                    figures[arm]["ms"].append(ms)
                    figures[arm]["cpu"].append(spent)
                    figures[arm]["wal"].append(int(cursor.fetchone()[0]))
        for arm in tables.arms:
            after = tables.updates(cursor.connection, arm)
            figures[arm].update(zip(("updates", "hot", "autovacuums"), (b - a for a, b in zip(before[arm], after))))
    return figures


def reads(session, arms, rounds, queries, writing_batches=0):
    """{(arm, length): [(p50, p99, the backend's processor time a query) a round]} in milliseconds.

    With writing_batches, beside a session that upserts these without a pause.
    """
    tables = session.tables
    figures = {(arm, length): [] for arm in arms for length in LENGTHS}
    with session.cursor() as reader, session.cursor() as writer:
        for number in range(rounds):
            for arm in session.shuffled(arms):
                first = number * 7

                def write(stopped, step, arm=arm, first=first):
                    tables.upsert(writer, arm, (first + step) % writing_batches)

                with Background(write) if writing_batches else contextlib.nullcontext() as writes:
                    if writes:
                        writes.wait_for(BATCHES_BEFORE)
                    for length in session.shuffled(LENGTHS):
                        for _ in range(5):
                            tables.read(reader, arm, length)
                        times = []
                        spent = processor_ms(reader.connection.info.backend_pid)
                        for _ in range(queries):
                            times.append(tables.read(reader, arm, length)[0])
                            if writes:
                                time.sleep(PAUSE_SECONDS)
                        spent = processor_ms(reader.connection.info.backend_pid) - spent
                        figures[arm, length].append((percentile(times, 0.5), percentile(times, 0.99), spent / queries))
    return figures


def held_snapshot(session, arms, seconds, with_xid):
    """Top-1000 beside a snapshot held for `seconds`, while the 1000 rows that led at its start grow every second.

    {arm: {"fresh": [(p50, p99) a quarter of the time], "slowest": ms, "old": (ms of the holder's first read, of its last),
           "stable": whether the two were equal, "head_updates": number}}
    """
    tables, length = session.tables, 1000
    figures = {arm: {"fresh": []} for arm in arms}
    with session.cursor() as holder, session.cursor() as reader, session.cursor() as writer:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        if with_xid:
            holder.execute("SELECT pg_current_xact_id()")
        first = {arm: tables.read(holder, arm, length) for arm in arms}

        def grow(stopped, step):
            due = began + step
            if stopped.wait(max(0, due - time.monotonic())):
                return
            for arm in arms:
                tables.grow(writer, arm, [row[0] for row in first[arm][1]], 1 + step % 5)

        times = {arm: [] for arm in arms}
        began = time.monotonic()
        with Background(grow) as writes:
            for quarter in range(1, 5):
                here = {arm: [] for arm in arms}
                while not all(here.values()) or time.monotonic() < began + seconds * quarter / 4:
                    for arm in session.shuffled(arms):
                        here[arm].append(tables.read(reader, arm, length)[0])
                    time.sleep(0.01)
                for arm in arms:
                    times[arm] += here[arm]
                    figures[arm]["fresh"].append((percentile(here[arm], 0.5), percentile(here[arm], 0.99)))
        for arm in arms:
            last_ms, last = tables.read(holder, arm, length)
            figures[arm].update(slowest=max(times[arm]), old=(first[arm][0], last_ms), stable=last == first[arm][1],
                                head_updates=writes.steps)
        holder.execute("ROLLBACK")
    return figures
