"""The naive model: what the tables must hold, written from the sentences of the design and nothing else.

It is told what was committed, in which order (which offsets of which partition, read at what time of the clock), and decides
by itself what was counted, late or dead, how far a watermark and the frontier are, and what every window holds. It asks the
database nothing. Times are milliseconds, NEVER before the first record.
"""
import functools
from collections import defaultdict
from dataclasses import dataclass, field

from stream import CONTROL, GARBAGE, IDLE_MS, LATENESS_MS, MAX_AGE_MS, SKEW_MS

NEVER = float("-inf")
BOOKS = ("counted", "late", "dead", "skipped", "lost")


@dataclass
class Row:
    """One partition's progress."""
    start: int = None
    next: int = None
    epoch: int = 0
    member: str = None
    watermark: float = NEVER
    clock_advanced: bool = False
    books: dict = field(default_factory=lambda: dict.fromkeys(BOOKS, 0))


class Model:
    def __init__(self, hours):
        self.hours = hours
        self.rows = {}                                     # (topic, partition) → Row
        self.history = []                                  # ((topic, partition), start, next, books, reset to)
        self.in_time = {}                                  # (hour, video) → views
        self.late = {}                                     # (hour, video) → [views, records]
        self.late_in = defaultdict(int)                    # (span, window start, video) → views
        self.dead = set()                                  # (topic, partition, offset, epoch)
        self.frontier, self.held, self.holds = NEVER, False, []
        self.days = set()                                  # with a partition of the hour table
        self.revisions = defaultdict(int)                  # (span, window start) → corrections
        self.corrections = []
        self.seen = defaultdict(int)                       # what happened how often; a run without it shows nothing

    # -- windows ------------------------------------------------------------------------------------------------------

    def windows_of(self, hour):
        """span → (start, end) of the windows that contain the hour."""
        day, month = self._day_and_month(hour)
        return {"day": day, "month": month, "all_time": (NEVER, float("inf"))}

    @functools.lru_cache(None)
    def _day_and_month(self, hour):
        day = self.hours.day_start(hour)
        month = self.hours.month_start(day)
        return (day, self.hours.day_end(day)), (month, self.hours.month_end(month))

    def sealed(self, end):
        return end <= self.frontier

    # -- what consumers do --------------------------------------------------------------------------------------------

    def learn_partitions(self, topic, partition_count):
        """Any claim or resume tells how many there are."""
        topic_known = any(name == topic for name, _ in self.rows)
        for partition in range(partition_count):
            if (topic, partition) not in self.rows:
                self.rows[topic, partition] = Row(start=0, next=0) if topic_known else Row()

    def claim(self, topic, partition_count, member, log_starts):
        """log_starts: of the partitions claimed."""
        self.learn_partitions(topic, partition_count)
        for partition, log_start in log_starts.items():
            row = self.rows[topic, partition]
            if row.next is None:
                row.start = row.next = log_start
            row.epoch += 1
            row.member = member

    def flush(self, topic, partition, log, to, read_at):
        """Records up to `to` were committed; read_at: offset → the clock when it was read."""
        row = self.rows[topic, partition]
        for offset in range(row.next, to):
            entry = log.entry(offset)
            if entry.kind == CONTROL:
                row.books["skipped"] += 1
            elif entry.kind == GARBAGE or not read_at[offset] - MAX_AGE_MS <= entry.at <= read_at[offset] + SKEW_MS:
                row.books["dead"] += 1
                self.dead.add((topic, partition, offset, row.epoch))
            else:
                row.watermark = max(row.watermark, min(entry.at, entry.stamp, read_at[offset]))
                self._event(row, entry)
        row.next = to

    def _event(self, row, entry):
        hour, end = self.hours.hour_of(entry.at)
        if end + LATENESS_MS <= row.watermark or end <= self.frontier:
            row.books["late"] += 1
            sums = self.late.setdefault((hour, entry.video), [0, 0])
            sums[0] += entry.views
            sums[1] += 1
            for span, (start, window_end) in self.windows_of(hour).items():
                if not self.sealed(window_end):
                    self.late_in[span, start, entry.video] += entry.views
                else:
                    self.seen[f"late for a sealed {span}"] += 1
            self.seen["late for a sealed hour" if self.sealed(end) else "late for an open hour"] += 1
        else:
            assert not self.sealed(end)
            row.books["counted"] += 1
            self._add(hour, entry.video, entry.views)

    def _add(self, hour, video, views):
        self.days.add(self.windows_of(hour)["day"][0])
        sum_after = self.in_time.get((hour, video), 0) + views
        assert sum_after >= 0
        if sum_after:
            self.in_time[hour, video] = sum_after
        else:
            del self.in_time[hour, video]

    def idle(self, topic, partition, clock):
        """Its owner read it to the end and nothing came for the idle timeout."""
        row = self.rows[topic, partition]
        if clock - IDLE_MS > row.watermark:
            row.watermark, row.clock_advanced = clock - IDLE_MS, True
            self.seen["advanced by the clock"] += 1

    # -- what operators do --------------------------------------------------------------------------------------------

    def seal(self):
        least = min((row.watermark for row in self.rows.values()), default=NEVER)
        if self.held or least == NEVER:
            return self.frontier
        bound = self.hours.hour_of(least - LATENESS_MS)[0]
        if bound > self.frontier:
            self.frontier = bound
            self.seen["frontier moved"] += 1
        return self.frontier

    def correction_fits(self, hour, video, delta):
        return self.in_time.get((hour, video), 0) + delta >= 0

    def correct(self, hour, video, delta):
        self.seen["sealed hour corrected" if self.sealed(self.hours.hour_of(hour)[1]) else "open hour corrected"] += 1
        self._add(hour, video, delta)
        self.revisions["hour", hour] += 1
        for span in ("day", "month"):
            self.revisions[span, self.windows_of(hour)[span][0]] += 1
        after = self.in_time.get((hour, video), 0)
        self.corrections.append((hour, video, delta, after))
        return after

    def reset(self, topic, partition, to):
        row = self.rows[topic, partition]
        self.history.append(((topic, partition), row.start, row.next, dict(row.books), to))
        row.books = dict.fromkeys(BOOKS, 0)
        row.books["lost"] = max(to - row.next, 0)
        row.start, row.next = min(row.next, to), to
        row.epoch += 1
        row.member = None

    # -- what readers see ---------------------------------------------------------------------------------------------

    def sums(self, span, at):
        """video → views of the window that contains the instant."""
        hour = self.hours.hour_of(at)[0]
        if span == "hour":
            return {video: views for (start, video), views in self.in_time.items() if start == hour}
        window, end = self.windows_of(hour)[span]
        sums = defaultdict(int)
        for (start, video), views in self.in_time.items():
            if window <= start < end:
                sums[video] += views
        for (of, start, video), views in self.late_in.items():
            if (of, start) == (span, window):
                sums[video] += views
        return sums

    def trailing(self, hours, at):
        """The hour of the instant and those before it, without late additions."""
        starts = [self.hours.hour_of(at)[0]]
        while len(starts) < hours:
            starts.append(self.hours.hour_of(starts[-1] - 1)[0])
        sums = defaultdict(int)
        for (start, video), views in self.in_time.items():
            if start in starts:
                sums[video] += views
        return sums

    @staticmethod
    def ranked(sums, k):
        order = sorted(sums.items(), key=lambda item: (-item[1], item[0].encode()))
        return [(rank, video, views) for rank, (video, views) in enumerate(order[:k], 1)]

    def all_windows(self):
        """(span, start) → (end, sealed, revision) of every window of the days that have partitions."""
        windows = {("all_time", NEVER): (float("inf"), False, 0)}
        for day in self.days:
            hour = day
            while hour < self.hours.day_end(day):
                end = self.hours.hour_of(hour)[1]
                windows["hour", hour] = (end, self.sealed(end), self.revisions["hour", hour])
                hour = end
            for span in ("day", "month"):
                start, end = self.windows_of(day)[span]
                windows[span, start] = (end, self.sealed(end), self.revisions[span, start])
        return windows
