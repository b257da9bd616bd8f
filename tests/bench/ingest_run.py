"""One run of a design over a topic that is there already: from the start of its consumers until everything is in the tables, sealed and
rolled up; how fast, what it cost whom, and whether it is right."""

import contextlib
import time
from dataclasses import dataclass, field

from cpu_accounts import Accounts, describe, total
from ingest_arms import Flink, Topkd
from rig.rig import RigError

POLL_SECONDS = 0.1
STALL_SECONDS = 120
PARTS = 5


@dataclass
class Outcome:
    arm: str
    events: int
    counted_seconds: float  # until every event was in the tables, or the time was over
    settled_seconds: float  # and until sealed hours were rolled up
    cpu: dict
    wal: int
    rows: int
    rolled: int
    memory: int
    cut: bool = False  # stopped in the middle: it had its time
    hours: dict = field(default_factory=dict)
    checkpoint: float = 0.0  # CPU seconds of PostgreSQL for the checkpoint after it
    course: list = field(default_factory=list)  # (seconds, events counted)
    resident: list = field(default_factory=list)  # (seconds, bytes of the consumers)

    def rate(self):
        return self.events / self.settled_seconds

    def drift(self):
        """A line: speed and memory by fifths of the time until all was counted."""
        bounds = [self.counted_seconds * part / PARTS for part in range(PARTS + 1)]
        events = [max((count for at, count in self.course if at <= bound), default=0) for bound in bounds]
        resident = [max((size for at, size in self.resident if low <= at <= high), default=0) for low, high in zip(bounds, bounds[1:])]
        rates = (f"{(after - before) / bounds[1]:,.0f}" for before, after in zip(events, events[1:]))
        return f"  by fifths of the time: {', '.join(rates)} events/s; resident set at most {', '.join(f'{size / (1 << 20):,.0f}' for size in resident)} MiB"

    def postgres(self):
        return total(self.cpu, "postgres: ") + self.checkpoint

    def events_a_postgres_second(self):
        return self.events / max(self.postgres(), 1e-9)

    def lines(self):
        if not self.events:
            yield f"{self.arm}: nothing visible after {self.settled_seconds:.0f} s, then stopped"
            return
        cut = f", stopped after its {self.settled_seconds:.0f} s" if self.cut else ""
        rest = self.settled_seconds - self.counted_seconds
        yield (f"{self.arm}: {self.rate():,.0f} events/s ({self.events:,} in {self.counted_seconds:.1f} s{cut}"
               + (f", {rest:.1f} s more until sealed and rolled up" if rest > 0.05 else "") + ")"
               f"; {self.events_a_postgres_second():,.0f} events a CPU second of PostgreSQL")
        yield (f"  CPU s a million events: {describe(self.cpu, self.events)}; PostgreSQL "
               f"{self.postgres() / self.events * 1e6:.2f} with {self.checkpoint / self.events * 1e6:.2f} of the checkpoint after it")
        rolled = f", {self.rolled / self.events:.3f} rolled up" if self.rolled else ""
        yield (f"  rows written an event: {self.rows / self.events:.3f}{rolled}; WAL {self.wal / self.events:,.0f} bytes an event; "
               f"largest resident set {self.memory / (1 << 20):,.0f} MiB")


class Watch:
    """The clock of a run: until all is counted and settled, or its time is over."""

    def __init__(self, rig, arm, events, limit):
        self.rig, self.arm, self.events, self.limit = rig, arm, events, limit
        self.counted, self.counted_at, self.cut, self.course = 0, None, False, []

    def follow(self, cursor):
        """Returns when it is done: the seconds until counted, and until settled."""
        began = last = time.monotonic()
        while True:
            self.rig.check()
            now = time.monotonic()
            seen = self.arm.counted(cursor)
            if seen != self.counted:
                self.counted, last = seen, now
                self.course.append((now - began, seen))
            if self.counted >= self.events and self.counted_at is None:
                self.counted_at = now
            if self.counted_at is not None and self.arm.settled(cursor):
                return self.counted_at - began, time.monotonic() - began
            if now - began > self.limit:
                self.cut = True
                return now - began, now - began
            if self.counted_at is None and now - last > STALL_SECONDS:
                raise RigError(f"{self.arm.name}: {self.counted:,} of {self.events:,} events, and nothing new for {STALL_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def wind_down(self, cursor):
        """Asks the consumers to end: what is under way is written yet, and belongs to the run. When it was."""
        written, seen = 0.0, self.arm.counted(cursor)
        for process in self.arm.processes:
            process.child.terminate()
        while any(process.child.poll() is None for process in self.arm.processes):
            time.sleep(POLL_SECONDS)
            if (now := self.arm.counted(cursor)) != seen:
                written, seen = time.monotonic(), now
        return written

    def follow_flink(self):
        """It says itself when it is done; its start, which compiles its plans, is not its rate."""
        began = time.monotonic()
        while not self.arm.submitted():
            if self.arm.finished() or time.monotonic() - began > self.limit:
                break
            time.sleep(POLL_SECONDS)
        began = time.monotonic()
        while not self.arm.finished():
            if time.monotonic() - began > self.limit:
                self.cut = True
                break
            time.sleep(POLL_SECONDS)
        return (time.monotonic() - began,) * 2


def wal_position(rig):
    return rig.query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0]


def run_arm(rig, arm, events, limit):
    """In the current, fresh database, or copy of the arm's template. The consumers are stopped at the end."""
    arm.setup()
    with contextlib.closing(rig.connect()) as connection, connection.cursor() as cursor:
        rig.admin("CHECKPOINT")
        before = wal_position(rig)
        watch = Watch(rig, arm, events, limit)
        arm.start()
        try:
            with Accounts(rig, arm.pids()) as accounts:
                began = time.monotonic()
                seconds = watch.follow_flink() if isinstance(arm, Flink) else watch.follow(cursor)
                if watch.cut and not isinstance(arm, Flink):
                    seconds = (max(seconds[0], watch.wind_down(cursor) - began),) * 2
            cpu = accounts.seconds()
        finally:
            arm.stop(watch.cut)
        watch.counted = arm.counted(cursor)
    wal = wal_position(rig) - before
    with Accounts(rig, {}) as after:
        rig.admin("CHECKPOINT")
    rig.clients_ended()
    rows, rolled = arm.rows()
    return Outcome(arm.name, watch.counted, *seconds, cpu, int(wal), rows, rolled, sum(accounts.memory.values()), watch.cut,
                   checkpoint=after.seconds().get("postgres: checkpointer", 0.0), course=watch.course, resident=accounts.resident)


def check(rig, arm, outcome, events, expected, verify):
    """Exact, or the run fails. expected: the hours' fingerprints as found right before, {} if none yet. Returns a line that says what was compared."""
    if outcome.cut and isinstance(arm, Flink):
        return "nothing: it was stopped in the middle, and keeps no offsets with its tables"
    said = arm.verify() if isinstance(arm, Topkd) and verify else None
    outcome.hours = arm.hours()
    views = sum(views for views, _ in outcome.hours.values())
    if views != outcome.events:
        raise RigError(f"{arm.name}: {views:,} views in the tables, {outcome.events:,} events were read")
    if outcome.cut:
        return said or "the sums of its tables equal the events that its offsets say"
    if outcome.events != events:
        raise RigError(f"{arm.name}: {outcome.events:,} of {events:,} events")
    if expected and {window: value for window, value in outcome.hours.items()} != expected:
        raise RigError(f"{arm.name}: its hours differ from what was found before")
    return said or ("every hour equal to what was recounted" if expected else "its sums equal the number of events; not recounted")


