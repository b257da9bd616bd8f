"""Kafka to PostgreSQL at full speed: topkd beside what a user would take today, over the same topics on the same machine.

Saturation and sustained begin with an empty hour of a day, a month and all time in which --standing videos have views already.
Parts, chosen with --parts:
  saturation   topics of --events events that are produced before, Zipf over videos (--cells): topkd, upserts into four tables with btrees,
               Apache Flink; from an empty hour on over two hour boundaries, sealing and roll-up included; every run is checked
  sustained    topkd over --sustained-events: minutes at full speed
  freshness    from a paced producer to the list, rate by rate up to the knee
  rows, partitions, consumers    what an event costs as the window, the topic or the group grows
"""

import random
import statistics
import sys

import psycopg2

import ingest_freshness
import ingest_growth
from benchmark import median_and_range, parse, parser, run
from capacity import distinct
from cpu_accounts import total
from ingest_arms import ARMS, Topkd, flink_version
from ingest_rig import BROKER_JAVA, SETTINGS, IngestRig, Progress, first_event
from ingest_run import check, run_arm
from ingest_standing import Templates
from load import PARTITIONS, versions
from quantities import count, counts
from rig.rig import RigError
from servers.servers import Unavailable

PARTS = ("saturation", "sustained", "freshness", "rows", "partitions", "consumers")
BAR_RATE, BAR_RATIO = 200_000, 8
QUICK = {"majors": "15", "standing": "20k", "events": "200k", "cells": "1.0x100k", "arm_seconds": 60, "sustained_events": "400k", "rates": "2k,5k", "freshness_seconds": 8,
         "window_rows": "20k,50k", "growth_events": "200k", "growth_partitions": "1,4", "growth_consumers": "1,2", "fill": "50k",
         "freshness_videos": "100k", "sustained_videos": "100k", "shared_buffers": "1GB", "growth_videos": "100k"}


def cell(text):
    zipf, videos = text.split("x")
    return float(zipf), count(videos)


def names_of(known):
    def convert(text):
        found = [name for name in text.split(",") if name]
        for name in found:
            if name not in known:
                raise ValueError(name)
        return found
    convert.__name__ = "list of " + ", ".join(known)
    return convert


class Bench:
    """One server of one major, one broker."""

    def __init__(self, report, rig, args, progress):
        self.report, self.rig, self.args, self.progress = report, rig, args, progress
        self.random = random.Random(args.seed)
        self.flink_failed = None
        self.templates = Templates(rig, args.standing, progress)

    def arms(self):
        return [ARMS[name] for name in self.args.arms if not (self.flink_failed and name.startswith("flink"))]

    def one(self, kind, topic, videos, events, expected, number=1):
        """An outcome, checked; None for a Flink that does not run, which is told and not tried again."""
        standing = self.templates.standing(kind, videos, first_event())
        arm = kind(self.rig, topic, self.args.flush_interval, standing=standing)
        with self.rig.fresh_database(f"{kind.name.replace('-', '_')}_{number}", standing and standing.database):
            try:
                outcome = run_arm(self.rig, arm, events, most_seconds(events) if kind is Topkd else self.args.arm_seconds)
            except RigError as error:
                if not kind.name.startswith("flink"):
                    raise
                self.flink_failed = str(error)
                self.report.line(f"  {kind.name}: NOT MEASURED: {error}")
                return None
            for line in outcome.lines():
                self.report.line(f"  {line}")
            self.report.line(f"  checked: {check(self.rig, arm, outcome, events, expected, self.args.verify and number == 1)}")
            return outcome

    def compare(self, zipf, videos):
        events = self.args.events
        self.progress.say(f"saturation: Zipf {zipf} over {videos:,} videos, {events:,} events")
        with self.rig.topic(PARTITIONS) as topic:
            took = self.rig.produce(topic, events, videos, zipf, self.args.seed)
            self.progress.say(f"produced in {took:.0f} s ({events / took:,.0f} events/s)")
            found = {}
            for number in range(1, self.args.rounds + 1):
                order = self.arms()
                if number > 1:  # the first round begins with topkd, whose hours are recounted
                    self.random.shuffle(order)
                for kind in order:
                    expected = found["topkd"][0].hours if "topkd" in found and not found["topkd"][0].cut else {}
                    outcome = self.one(kind, topic, videos, events, expected, number)
                    if outcome:
                        found.setdefault(kind.name, []).append(outcome)
                    self.progress.say(f"{kind.name}, round {number} is done")
        self.summary(f"Zipf {zipf}, {videos:,} videos", found)

    def summary(self, where, found):
        self.report.line(f"{where}: median (smallest–largest) of {self.args.rounds}")
        for name, outcomes in found.items():
            ran = [outcome for outcome in outcomes if outcome.events and outcome.rows]
            if not ran:
                self.report.line(f"  {name:10} nothing visible in {self.args.arm_seconds} s")
                continue
            self.report.line(f"  {name:10} {median_and_range([o.rate() for o in ran], '{:,.0f}')} events/s; "
                             f"{median_and_range([o.events_a_postgres_second() for o in ran], '{:,.0f}')} events a CPU second of PostgreSQL; "
                             f"{median_and_range([o.postgres() / o.rows * 1e6 for o in ran], '{:.1f}')} CPU µs a row")
        if any(outcome.cut for outcome in found.get("topkd", [])):
            self.report.line("  no ratio: topkd was stopped before all was sealed and rolled up")
        elif "topkd" in found and "upserts" in found:
            ours, theirs = (statistics.median(o.events_a_postgres_second() for o in found[name]) for name in ("topkd", "upserts"))
            self.report.bar(where, "events a CPU second of PostgreSQL beside upserts'", ours / max(theirs, 1e-9), BAR_RATIO, "{:.1f}x", at_least=True)

    def saturation(self):
        for zipf, videos in self.args.cells:
            self.compare(zipf, videos)

    def sustained(self):
        args = self.args
        events, where = args.sustained_events, f"sustained, Zipf 1.0 over {args.sustained_videos:,} videos"
        self.progress.say(f"{where}: {events:,} events")
        with self.rig.topic(PARTITIONS) as topic:
            took = self.rig.produce(topic, events, args.sustained_videos, 1.0, args.seed)
            self.progress.say(f"produced in {took:.0f} s")
            outcome = self.one(Topkd, topic, args.sustained_videos, events, {})
        self.report.line(outcome.drift())
        flush = total(outcome.cpu, "postgres: flush")
        self.report.line(f"  a flush's row: {flush / outcome.rows * 1e6:.2f} CPU µs of its backend; {outcome.rows / outcome.counted_seconds:,.0f} rows a second; "
                         f"a second's events have {distinct(outcome.events / outcome.counted_seconds, args.sustained_videos, 1.0):,.0f} distinct videos")
        self.report.bar(where, "events/s, sealing and roll-up included", outcome.rate(), BAR_RATE, "{:,.0f}", at_least=True)

    def run(self):
        for part in self.args.parts:
            self.report.line(f"\n{part}")
            if part in ("saturation", "sustained"):
                getattr(self, part)()
            elif part == "freshness":
                ingest_freshness.measure(self)
            else:
                ingest_growth.PARTS[part](self)
            self.templates.drop()


def most_seconds(events):
    """That a run of topkd may take, which is never stopped in the middle: its costs are to be whole."""
    return events / 20_000 + 60


def longest(args):
    """Minutes that the parts take at most, from what they may take: events are produced and recounted at 50,000 a second at least."""
    seconds, loads = 0, args.standing / 50_000  # to copy it, to read it into memory and to check it takes up to as much again
    if "saturation" in args.parts:
        kinds, runs = len({ARMS[name].tables for name in args.arms}), len(args.cells) * args.rounds * len(args.arms)
        seconds += loads * (len(args.cells) * kinds + runs)
        others = sum(name != "topkd" for name in args.arms) * (args.arm_seconds + 60)
        seconds += len(args.cells) * (args.events / 50_000 * 2 + args.rounds * (others + most_seconds(args.events) * ("topkd" in args.arms)))
    if "sustained" in args.parts:
        seconds += loads * 2 + most_seconds(args.sustained_events) + args.sustained_events / 50_000 * 2
    if "freshness" in args.parts:
        seconds += args.rounds * len(args.freshness_arms) * len(args.rates) * (args.freshness_seconds * 3 + 60)
    for part, points in (("rows", args.window_rows), ("partitions", args.growth_partitions), ("consumers", args.growth_consumers)):
        if part in args.parts:
            seconds += (1 if part == "rows" else args.rounds) * len(points) * args.growth_events / 15_000 + (sum(args.window_rows) / 50_000 if part == "rows" else 0) + 20 * len(points)
    return (seconds + 60) / 60


def standing_line(args):
    if not args.standing:
        return "nothing: all tables are empty"
    return (f"{args.standing:,} videos in the day, the month and all time, none in the hour (saturation, sustained); of 10M the tables of upserts have 3.0 GiB with "
            "their indexes as loaded, those of topkd 3.5 GiB: shared buffers of 8 GB, a third of 24 GB, hold them as they grow")


def measure(report, args):
    progress = Progress(report)
    report.line(f"time      at most {longest(args):.0f} min a major")
    flink, why = flink_version() if any(name.startswith("flink") for name in args.arms) else (None, ["not asked for"])
    for major in args.majors:
        try:
            with IngestRig(args.directory / f"ingest-{major}", major, args.shared_buffers) as rig:
                rig.start()
                bench = Bench(report, rig, args, progress)
                if not flink:
                    bench.flink_failed = why[0]
                report.line(f"\nversions  {versions(rig, *([f'Flink: {flink}'] if flink else [f'no Flink: {why[0]}']))}")
                bench.run()
        except Unavailable as error:
            report.line(f"\nPostgreSQL {major}: NOT MEASURED: {error}")
        except psycopg2.Error as error:
            raise RigError(f"PostgreSQL {major}: {error}") from error


def main():
    made = parser(__doc__)
    made.add_argument("--majors", type=counts, default="17")
    made.add_argument("--shared-buffers", default="8GB", help="should hold what stands in the tables of upserts with its indexes, 3 GB of 10M videos as loaded, and what a run adds")
    made.add_argument("--parts", type=names_of(PARTS), default=",".join(PARTS))
    made.add_argument("--arms", type=names_of(tuple(ARMS)), default=",".join(ARMS), help="of saturation")
    made.add_argument("--cells", type=lambda text: [cell(part) for part in text.split(",")], metavar="ZIPFxVIDEOS,…",
                      default="0.8x1M,1.0x1M,1.2x1M,0.8x10M,1.0x10M,1.2x10M")
    made.add_argument("--events", type=count, default="10M", help="of a topic of saturation")
    made.add_argument("--standing", type=count, default="10M",
                      help="videos with views in the day, the month and all time before a run of saturation or sustained, whose hours are empty; 0: all tables are empty")
    made.add_argument("--rounds", type=int, default=1, help="of saturation, freshness, partitions and consumers")
    made.add_argument("--arm-seconds", type=int, default=180, help="of one run of another design in saturation; what is slower is stopped then, its rate is that of what it did")
    made.add_argument("--flush-interval", default="500ms")
    made.add_argument("--no-verify", dest="verify", action="store_false", help="do not recount topics: sums are compared only")
    made.add_argument("--sustained-events", type=count, default="200M")
    made.add_argument("--sustained-videos", type=count, default="10M")
    ingest_freshness.add_options(made)
    ingest_growth.add_options(made)
    args = parse(made, QUICK)
    heading = (f"from Kafka to PostgreSQL at full speed\n"
               f"load      Zipf over videos; event times from half past an hour over two hours; topics of {PARTITIONS} partitions, produced before (but for "
               f"freshness), lz4; seed {args.seed}\n"
               f"settings  {', '.join(f'{key}={value}' for key, value in {**SETTINGS, 'shared_buffers': args.shared_buffers}.items())}\n"
               f"          broker: java {BROKER_JAVA}; flush interval {args.flush_interval}, the same for upserts; topics in memory\n"
               f"standing  {standing_line(args)}")
    return run("ingest", args, heading, lambda report: measure(report, args))


if __name__ == "__main__":
    sys.exit(main())
