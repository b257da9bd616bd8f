"""A consumer as extension/README.md ("Writing a consumer") tells one to be written; topkd in little.

It decides with what the database tells it (topk.hours, the claim's watermark and frontier) and is told by the schedule what to do
next. A lazy one learns of a new frontier only by TK002, which is allowed.
"""
import bisect
from collections import defaultdict
from dataclasses import dataclass, field

import psycopg2
from harness.zone_hours import HOUR_MS, instant

from stream import CONTROL, EVENT

NEVER = float("-inf")
CLAIM = ("SELECT partition, status, epoch, next_offset, last_offset, last_timestamp_ms, last_crc, {ms}(watermark), {ms}(sealed_through), "
         "time_zone, (extract(epoch FROM lateness) * 1000)::bigint, (extract(epoch FROM max_clock_skew) * 1000)::bigint, "
         "(extract(epoch FROM max_age) * 1000)::bigint, (extract(epoch FROM idle_timeout) * 1000)::bigint "
         "FROM topk.claim(%s, %s, 'cluster', 'group', %s, %s, %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])").format(ms="model_ms")
FLUSH = ("SELECT model_ms(topk.flush(%s, %s, %s, "
         "ARRAY(SELECT (h, v, n, r)::topk.flush_late FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[]) t (h, v, n, r)), "
         "ARRAY(SELECT (p, o, m, 'not an event', NULL, b)::topk.flush_dead FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bytea[]) t (p, o, m, b)), "
         "ARRAY(SELECT (a, b, c, d, e, f, g, h, i, j, k, l)::topk.flush_progress FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], "
         "%s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) "
         "t (a, b, c, d, e, f, g, h, i, j, k, l))))")


def encode(deltas):
    """{(hour in ms, video): views} → bytes, as the README describes them."""
    hours, out = defaultdict(list), [b"\x01"]
    for (hour, video), views in deltas.items():
        hours[hour].append((video.encode(), views))
    for hour in sorted(hours):
        out += [hour.to_bytes(8, "big", signed=True), len(hours[hour]).to_bytes(4, "big")]
        out += [part for video, views in sorted(hours[hour]) for part in (len(video).to_bytes(2, "big"), video, views.to_bytes(8, "big"))]
    return b"".join(out)


@dataclass
class Held:
    """A partition that was claimed; from `committed` to `position` lies in the batch."""
    epoch: int
    committed: int
    stored_watermark: float
    quiet_since: int                  # the clock at the claim or at the last record
    session: object                   # the connection of the claim or resume: a flush of another one is fenced
    position: int = 0
    watermark: float = NEVER
    counts: dict = field(default_factory=lambda: defaultdict(int))
    last: tuple = (None, None, None)
    read_at: dict = field(default_factory=dict)

    def rewind(self):
        self.position, self.watermark = self.committed, self.stored_watermark
        self.counts, self.last, self.read_at = defaultdict(int), (None, None, None), {}


class Refused(Exception):
    """The call failed with an SQLSTATE; everything unflushed is discarded."""


class Consumer:
    def __init__(self, name, connect, counter, clock, lazy):
        self.name, self.connect, self.counter, self.clock, self.lazy = name, connect, counter, clock, lazy
        self.connection = None
        self.held = {}                                     # (topic name, partition) → Held
        self.deltas, self.late, self.dead = {}, {}, {}     # of the batch, by topic name
        self.frontier, self.hour_bounds = NEVER, []
        self.limits = None

    # -- the connection -----------------------------------------------------------------------------------------------

    def call(self, sql, arguments):
        """One call, alone in its transaction."""
        if self.connection is None or self.connection.closed:
            self.connection = self.connect()
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(sql, arguments)
                return cursor.fetchall()
            except psycopg2.Error as error:
                self.discard()
                raise Refused(error.pgcode) from error

    def forget_connection(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    # -- claim --------------------------------------------------------------------------------------------------------

    def claim(self, topic, partitions, resume=False):
        """partition → status. What is not ok is given up."""
        if not resume:
            self.discard()
        partitions = sorted(partitions)
        epochs = [self.held[topic.name, partition].epoch for partition in partitions] if resume else None
        rows = self.call(CLAIM, (self.counter, topic.name, self.name, len(topic.logs), partitions,
                                 [topic.logs[partition].start for partition in partitions],
                                 [topic.logs[partition].end for partition in partitions], epochs))
        answers = {}
        for (partition, status, epoch, next_offset, *_, watermark, frontier, _zone, lateness, skew, age, idle) in rows:
            answers[partition] = status
            self.limits = lateness, skew, age, idle
            if status != "ok":
                self.held.pop((topic.name, partition), None)
                continue
            self._learn(frontier, told_off=resume)
            before = self.held.get((topic.name, partition)) if resume else None
            held = Held(epoch, next_offset, NEVER if watermark is None else watermark, before.quiet_since if before else self.clock(),
                        self.connection)
            held.rewind()
            self.held[topic.name, partition] = held
        return answers

    def _learn(self, frontier, told_off=False):
        if frontier is not None and (told_off or not self.lazy):
            self.frontier = max(self.frontier, frontier)

    def discard(self):
        self.deltas, self.late, self.dead = {}, {}, {}
        for held in self.held.values():
            held.rewind()

    # -- reading ------------------------------------------------------------------------------------------------------

    def hour_of(self, at):
        index = bisect.bisect_right(self.hour_bounds, (at, float("inf"))) - 1
        if index < 0 or at >= self.hour_bounds[index][1]:
            rows = self.call("SELECT model_ms(hour_start), model_ms(hour_end) FROM topk.hours(%s, %s, %s)",
                             (self.counter, instant(at - 3 * HOUR_MS), instant(at + 3 * HOUR_MS)))
            self.hour_bounds = sorted(set(self.hour_bounds) | set(rows))
            index = bisect.bisect_right(self.hour_bounds, (at, float("inf"))) - 1
        return self.hour_bounds[index]

    def read(self, topic, partition, count):
        """Up to `count` offsets; those that deliver nothing are passed over at the next record, or at the end."""
        held, log = self.held[topic.name, partition], topic.logs[partition]
        at, skipped, stop = held.position, 0, min(held.position + count, log.end)
        while at < stop or (skipped and at < log.end and log.entry(at).kind == CONTROL):
            entry = log.entry(at)
            at += 1
            if entry.kind == CONTROL:
                skipped += 1
                continue
            held.counts["skipped"] += skipped
            skipped = 0
            self._consume(topic, partition, held, at - 1, entry)
            held.position = at
        if at == log.end:
            held.counts["skipped"] += skipped
            held.position = at

    def _consume(self, topic, partition, held, offset, entry):
        now = self.clock()
        lateness, skew, age, _ = self.limits
        held.quiet_since = held.read_at[offset] = now
        held.last = (offset, entry.stamp, offset * 7919 % 2**32)
        if entry.kind != EVENT or not now - age <= entry.at <= now + skew:
            held.counts["dead"] += 1
            self.dead.setdefault(topic.name, []).append((partition, offset, entry.stamp, None if offset % 5 == 0 else b"?"))
            return
        held.watermark = max(held.watermark, min(entry.at, entry.stamp, now))
        start, end = self.hour_of(entry.at)
        if end + lateness <= held.watermark or end <= self.frontier:
            held.counts["late"] += 1
            sums = self.late.setdefault(topic.name, {}).setdefault((start, entry.video), [0, 0])
            sums[0] += entry.views
            sums[1] += 1
        else:
            held.counts["counted"] += 1
            deltas = self.deltas.setdefault(topic.name, {})
            deltas[start, entry.video] = deltas.get((start, entry.video), 0) + entry.views

    # -- flushing -----------------------------------------------------------------------------------------------------

    def pending(self, topic):
        """Partitions of the topic with something in the batch."""
        return sorted(partition for (name, partition), held in self.held.items() if name == topic.name and held.position > held.committed)

    def idle(self, topic):
        """Partitions read to their end, silent for the idle timeout, with nothing in the batch."""
        return sorted(partition for (name, partition), held in self.held.items()
                      if name == topic.name and held.committed == held.position == topic.logs[partition].end
                      and self.clock() - held.quiet_since >= self.limits[3])

    def flush_call(self, topic, idle=()):
        """The statement and its arguments; the partitions in `idle` are advanced by the clock."""
        rows = []
        for partition in self.pending(topic):
            held = self.held[topic.name, partition]
            rows.append((partition, held.epoch, held.committed, held.position, *held.last,
                         None if held.watermark == NEVER else instant(held.watermark),
                         *[held.counts[book] for book in ("counted", "late", "dead", "skipped")]))
        for partition in idle:
            held = self.held[topic.name, partition]
            rows.append((partition, held.epoch, held.committed, held.committed, None, None, None, instant(self.clock() - self.limits[3]), 0, 0, 0, 0))
        late = [(instant(hour), video, views, records) for (hour, video), (views, records) in self.late.get(topic.name, {}).items()]
        dead = self.dead.get(topic.name, [])
        return FLUSH, (self.counter, topic.name, encode(self.deltas.get(topic.name, {})), *columns(late, 4), *columns(dead, 4),
                       *columns(sorted(rows), 12))

    def flushed(self, topic, idle, frontier):
        """The flush is known to be committed."""
        self._learn(frontier)
        for partition in self.pending(topic):
            held = self.held[topic.name, partition]
            held.committed, held.stored_watermark = held.position, held.watermark
            held.rewind()
        for partition in idle:
            held = self.held[topic.name, partition]
            held.stored_watermark = held.watermark = max(held.watermark, self.clock() - self.limits[3])
        for part in (self.deltas, self.late, self.dead):
            part.pop(topic.name, None)


def columns(rows, width):
    return [list(column) for column in zip(*rows)] if rows else [[]] * width
