"""The parts `rows`, `partitions` and `consumers` of the ingest benchmark: what an event costs topkd as something grows.

rows: the hour has so many videos before the run, each with one view, so that nearly every row of a flush is an update. Sizes that are not in
--window-rows are told by a straight line through the measured ones over the logarithm of the rows, and marked as such.
"""

import contextlib
import math

from benchmark import median_and_range
from cpu_accounts import total
from ingest_arms import Topkd
from ingest_rig import first_event
from ingest_run import run_arm
from quantities import count, counts
from rig.rig import RigError

SPAN_HOURS = 0.4  # within the first event's hour
SIMULATED_ROWS = 100_000_000
FILL_CHUNK = 1_000_000


def add_options(made):
    made.add_argument("--window-rows", type=counts, default="1M,3M,10M,30M", help="100M take some 20 GB and half an hour")
    made.add_argument("--growth-events", type=count, default="3M")
    made.add_argument("--growth-videos", type=count, default="1M", help="of partitions and consumers")
    made.add_argument("--growth-partitions", type=counts, default="1,4,16,64")
    made.add_argument("--growth-consumers", type=counts, default="1,2,4,8")


class OpenHour(Topkd):
    """Within one hour: nothing is to be sealed."""

    def settled(self, cursor):
        return True


class FilledHour(OpenHour):
    """The hour has `window_rows` videos of one view each, in memory, before it starts."""

    window_rows = 0

    def setup_tables(self):
        super().setup_tables()
        self.rig.query("SELECT topk.make_partitions('video_views', %s, %s::timestamptz + interval '1 hour')", first_event(), first_event())
        hour = "date_trunc('hour', %s::timestamptz)"
        for first in range(1, self.window_rows + 1, FILL_CHUNK):  # as `topkd produce` names them
            self.rig.query(f"INSERT INTO video_views_hour SELECT {hour}, id, 1 FROM (SELECT 'vid_' || n AS id FROM generate_series(%s, %s) n) v "
                           "ORDER BY id COLLATE \"C\" ON CONFLICT DO NOTHING",
                           first_event(), first, min(first + FILL_CHUNK - 1, self.window_rows))
        with contextlib.closing(self.rig.connect()) as connection:
            connection.cursor().execute("VACUUM (ANALYZE) video_views_hour")
            connection.cursor().execute("SELECT count(*) FROM video_views_hour")
        self.filled = self.rig.query("SELECT sum(views)::bigint FROM video_views_hour")[0][0]

    def check(self, events):
        found = self.rig.query("SELECT sum(views)::bigint FROM video_views_hour")[0][0]
        if found != self.filled + events:
            raise RigError(f"{found:,} views in the hour, {self.filled:,} were there and {events:,} events came")


def point(bench, arm, events, limit=1800):
    """An outcome, of all of its events."""
    outcome = run_arm(bench.rig, arm, events, limit)
    if outcome.events != events:
        raise RigError(f"{arm.name}: {outcome.events:,} of {events:,} events in {limit} s")
    for line in outcome.lines():
        bench.report.line(f"  {line}")
    return outcome


def rows(bench):
    args, found = bench.args, []
    for window_rows in args.window_rows:
        bench.progress.say(f"a window of {window_rows:,} rows")
        with bench.rig.topic() as topic, bench.rig.fresh_database(f"rows_{window_rows}"):
            bench.rig.produce(topic, args.growth_events, window_rows, 1.0, args.seed, SPAN_HOURS)
            arm = FilledHour(bench.rig, topic, args.flush_interval)
            arm.window_rows = window_rows
            outcome = point(bench, arm, args.growth_events)
            arm.check(args.growth_events)
        updates = outcome.rows - window_rows  # the rows of the fill are in the statistics too
        found.append((window_rows, total(outcome.cpu, "postgres: flush") / updates * 1e6, outcome.wal / updates, updates / args.growth_events))
    bench.report.line("  rows of the window: CPU µs of the flush's backend a row, WAL bytes a row, rows written an event")
    for window_rows, micros, wal, share in found:
        bench.report.line(f"  {window_rows:>12,}: {micros:6.2f} {wal:6.0f} {share:.3f}")
    if SIMULATED_ROWS not in args.window_rows and len(found) > 1:
        micros = straight(found, SIMULATED_ROWS)
        told = f"{micros:6.2f}" if micros >= max(row[1] for row in found) else "  none: no growth was measured to be carried on"
        bench.report.line(f"  {SIMULATED_ROWS:>12,}: {told}  simulated: by the straight line over log(rows); for memory that holds them (20 GB with their key)")


def straight(found, at):
    """Least squares over the logarithm of the rows."""
    points = [(math.log(window_rows), micros) for window_rows, micros, *_ in found]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y + slope * (math.log(at) - mean_x)


def grow(bench, what, sizes, partitions_of, consumers_of):
    """Each round in random order. A first run, which is not counted, is for the broker's just-in-time compiler and the caches."""
    args, found = bench.args, {size: [] for size in sizes}

    def one(size, said):
        bench.progress.say(f"{size} {what}, {said}")
        with bench.rig.topic(partitions_of(size)) as topic, bench.rig.fresh_database(f"{what}_{size}"):
            bench.rig.produce(topic, args.growth_events, args.growth_videos, 1.0, args.seed, SPAN_HOURS)
            outcome = point(bench, OpenHour(bench.rig, topic, args.flush_interval, consumers_of(size)), args.growth_events)
            views = bench.rig.query("SELECT sum(views)::bigint FROM video_views_hour")[0][0]
            if views != args.growth_events:
                raise RigError(f"{views:,} views of {args.growth_events:,} events")
            return outcome

    one(sizes[0], "to warm up")
    for number in range(1, args.rounds + 1):
        for size in bench.random.sample(sizes, len(sizes)):
            found[size].append(one(size, f"round {number}"))
    bench.report.line(f"  {what}: median (smallest–largest) of {args.rounds}: events/s; rows an event; CPU s a million events of PostgreSQL, of the consumers; MiB resident")
    for size, outcomes in found.items():
        columns = (("{:,.0f}", [o.rate() for o in outcomes]), ("{:.3f}", [o.rows / o.events for o in outcomes]),
                   ("{:.2f}", [o.postgres() / o.events * 1e6 for o in outcomes]), ("{:.2f}", [total(o.cpu, "topkd") / o.events * 1e6 for o in outcomes]),
                   ("{:.0f}", [o.memory / (1 << 20) for o in outcomes]))
        bench.report.line(f"  {size:>4}: " + "; ".join(median_and_range(values, form) for form, values in columns))


def partitions(bench):
    grow(bench, "partitions", bench.args.growth_partitions, lambda size: size, lambda size: 1)


def consumers(bench):
    most = max(bench.args.growth_consumers)
    grow(bench, "consumers", bench.args.growth_consumers, lambda size: most, lambda size: size)


PARTS = {"rows": rows, "partitions": partitions, "consumers": consumers}
