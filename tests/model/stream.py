"""The topics: logs of records and of offsets that deliver nothing, and the random streams that are written to them.

Time is the schedule's own: it begins where the schedule says and only moves when a step moves it.
"""
from dataclasses import dataclass, field

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
VIDEOS = 12
LATENESS_MS, SKEW_MS, MAX_AGE_MS, IDLE_MS = 60_000, 5 * MINUTE_MS, 400 * DAY_MS, 60_000

EVENT, GARBAGE, CONTROL = "event", "garbage", "control"  # control: a marker, or a record of an aborted transaction


@dataclass(frozen=True)
class Entry:
    kind: str
    at: int = 0            # event time
    stamp: int = 0         # the record's timestamp
    video: str = ""
    views: int = 0


@dataclass
class Log:
    start: int = 0         # retention took what was before
    entries: list = field(default_factory=list)

    @property
    def end(self):
        return self.start + len(self.entries)

    def entry(self, offset):
        return self.entries[offset - self.start]


class Topic:
    def __init__(self, rng, name, partitions):
        self.name = name
        self.logs = [Log(start=rng.choice([0, 0, rng.randrange(1, 50)])) for _ in range(partitions)]

    def add_partition(self):
        self.logs.append(Log())


class Writer:
    """Writes to random partitions what producers do: mostly in time, and everything else now and then."""

    def __init__(self, rng, hours, clock):
        self.rng, self.hours, self.clock = rng, hours, clock
        # Old days come again and again, so that not every one costs a partition of its own.
        self.old = [clock() - rng.randrange(10 * DAY_MS, 390 * DAY_MS) for _ in range(4)]

    def write(self, topic, partition=None, count=None):
        for _ in range(count or self.rng.randrange(1, 25)):
            log = topic.logs[self.rng.randrange(len(topic.logs)) if partition is None else partition]
            draw = self.rng.random()
            if draw < 0.04:
                log.entries.append(Entry(CONTROL))
            elif draw < 0.06:
                log.entries.extend([Entry(CONTROL)] * self.rng.randrange(2, 9))
            elif draw < 0.10:
                log.entries.append(Entry(GARBAGE, stamp=self.clock()))
            else:
                log.entries.append(self.event(self.event_time()))

    def write_on_the_bound(self, topic, partition, hour_end):
        """A record takes the watermark to the instant from which the hour's records are late, or one beside it; another is of the
        hour. No record before can have gone so far."""
        bound = hour_end + LATENESS_MS + self.rng.choice([-1, 0, 1])
        topic.logs[partition].entries += [Entry(EVENT, bound, bound, "vid_0", 1),
                                          Entry(EVENT, hour_end - self.rng.choice([1, 1000]), bound, "vid_1", 1)]

    def event(self, at):
        views = self.rng.choice([1, 1, 1, 1, self.rng.randrange(2, 50), self.rng.randrange(1, 10**9)])
        return Entry(EVENT, at, self.stamp(at), f"vid_{int(VIDEOS * self.rng.random() ** 2)}", views)

    def event_time(self):
        rng, now = self.rng, self.clock()
        hour, end = self.hours.hour_of(now)
        return rng.choices([
            lambda: now - int(rng.expovariate(1 / 30_000)),
            lambda: now - rng.randrange(20 * MINUTE_MS),
            lambda: now - rng.randrange(5 * HOUR_MS),
            lambda: now - rng.randrange(5 * DAY_MS),
            lambda: rng.choice(self.old) + rng.randrange(2 * HOUR_MS),
            # On the bounds, and one beside them: of hours, and of what makes an hour's records late
            lambda: rng.choice([hour, self.hours.hour_of(hour - 1)[0]]) + rng.choice([0, LATENESS_MS]) + rng.choice([-1, 0, 1]),
            lambda: now + rng.randrange(1, SKEW_MS + 1),
            lambda: now + SKEW_MS + rng.randrange(1, 2 * SKEW_MS),
            lambda: now - MAX_AGE_MS - rng.randrange(1, DAY_MS),
        ], weights=[64, 12, 8, 5, 2, 4, 3, 1, 1])[0]()

    def stamp(self, at):
        rng, now = self.rng, self.clock()
        return rng.choices([lambda: now, lambda: max(at, 0), lambda: now + rng.randrange(10 * MINUTE_MS), lambda: now - rng.randrange(2 * HOUR_MS)],
                           weights=[80, 10, 5, 5])[0]()


class Backfill:
    """Old days in order, as fast as they are read; then it has nothing more to say."""

    def __init__(self, rng, writer, now):
        self.rng, self.writer = rng, writer
        self.at = now - rng.randrange(2 * DAY_MS, 6 * DAY_MS)
        self.until = self.at + rng.randrange(DAY_MS, 4 * DAY_MS)

    def write(self, topic):
        for _ in range(self.rng.randrange(5, 25)):
            if self.at < self.until:
                self.at += int(self.rng.expovariate(1 / (20 * MINUTE_MS)))
                self.rng.choice(topic.logs).entries.append(self.writer.event(self.at - self.rng.randrange(MINUTE_MS)))
