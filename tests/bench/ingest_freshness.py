"""The part `freshness` of the ingest benchmark: how old a list is, rate by rate, up to the knee.

A paced producer on the same machine; probes of load.py among its events; one client that asks the database for the list of the running hour.
The rates go up until one is not kept up with. Before the first the hour gets --fill events, so that its window is no empty one.
"""

import contextlib
import re
import statistics
import threading
import time

from benchmark import median_and_range, percentile
from cpu_accounts import Accounts, describe
from ingest_arms import ARMS, Topkd
from ingest_rig import PRODUCER
from line_plot import line_plot
from load import PARTITIONS, TOPIC, Probes, Sightings, avoid_hour_end
from quantities import count, counts
from rig.rig import RigError, wait_until

LENGTH = 100
POLL_PAUSE_SECONDS = 0.01
GRACE_SECONDS = 30  # after the last probe; one that is not seen by then makes the rate one that is not kept up with
WARM_UP_SECONDS = 3
BAR_RATE, BAR_P99_MS = 100_000, 1000
KEEPS_UP = 0.97  # of the rate, but for one second's events: they may be on their way at the end and not at the beginning


def add_options(made):
    made.add_argument("--rates", type=counts, default="5k,10k,20k,50k,100k,150k,200k,250k", help="of freshness, ascending")
    made.add_argument("--freshness-arms", type=lambda text: [ARMS[name] for name in text.split(",")], default="topkd,upserts")
    made.add_argument("--freshness-seconds", type=int, default=60, help="of a rate")
    made.add_argument("--freshness-videos", type=count, default="1M")
    made.add_argument("--fill", type=count, default="5M", help="events of the hour before the first rate")
    made.add_argument("--gap", type=float, default=0.05, help="mean seconds between probes")


class Ramp:
    def __init__(self, bench, kind):
        self.bench, self.rig, self.args, self.kind = bench, bench.rig, bench.args, kind
        self.sent = 0  # events in the topic

    def producer(self, *more):
        return self.rig.topkd("produce", "produce", "--topic", TOPIC, "--videos", self.args.freshness_videos, "--seed", self.args.seed + self.sent, *PRODUCER, *more)

    def produced(self, process):
        found = re.findall(r"^produced (\d+) records", process.log.read_text(errors="replace"), re.M)
        if not found:
            raise RigError(f"produce does not say how much:\n{process.tail()}")
        return int(found[-1])

    def fill(self):
        if self.rig.finish(self.producer("--count", self.args.fill), 60 + self.args.fill / 20_000):
            raise RigError("produce failed")
        self.sent += self.args.fill

    def drained(self, cursor, seconds):
        wait_until(lambda: self.arm.counted(cursor) >= self.sent, seconds, f"{self.kind.name} does not get to the end of its topic", every=0.1)

    def watch(self, cursor, probes, expected):
        """Milliseconds of the probes that were seen in time."""
        sightings = Sightings(probes)
        deadline = time.monotonic() + self.args.freshness_seconds * 1.5 + GRACE_SECONDS
        while len(sightings.latencies) < expected and time.monotonic() < min(deadline, sightings.last + GRACE_SECONDS):
            self.rig.check()
            cursor.execute(self.arm.top_sql, (LENGTH,))
            visible = [row[0] for row in cursor]
            sightings.note(visible, time.perf_counter())
            time.sleep(POLL_PAUSE_SECONDS)
        return sightings.milliseconds()

    def step(self, cursor, rate):
        """(p50, p99, share of the rate that was kept up with, the description)."""
        avoid_hour_end(self.args.freshness_seconds * 1.5 + GRACE_SECONDS)
        expected = max(1, round(self.args.freshness_seconds / self.args.gap))
        producer = self.producer("--rate", f"{rate}/s")
        began_producing = time.monotonic()
        time.sleep(WARM_UP_SECONDS)
        probes = Probes(self.rig.brokers, self.args.seed)
        sender = threading.Thread(target=probes.send_many, args=(expected, self.args.gap), daemon=True)
        with Accounts(self.rig, {**self.arm.pids(), "producer": producer.child.pid}) as accounts:
            began, before = time.monotonic(), self.arm.counted(cursor)
            sender.start()
            latencies = self.watch(cursor, probes, expected)
            seconds, counted = time.monotonic() - began, self.arm.counted(cursor) - before
        sender.join()
        if self.rig.stop(producer):
            raise RigError(f"produce failed:\n{producer.tail()}")
        produced, producing = self.produced(producer), time.monotonic() - began_producing
        self.sent += produced + expected + 1
        probes.end()
        unseen = expected - len(latencies)
        p50, p99 = ((percentile(latencies + [1e9] * unseen, share) for share in (0.5, 0.99)) if latencies else (1e9, 1e9))
        share = (counted + rate) / seconds / rate
        text = (f"{rate:>9,} events/s: p50 {shown(p50)} ms, p99 {shown(p99)} ms, largest {max(latencies, default=0):.0f} ms of {len(latencies)} probes"
                + (f", {unseen} not seen in time" if unseen else "")
                + f"; counted {counted / seconds:,.0f}/s, produced {produced / producing:,.0f}/s\n"
                f"             CPU s a million events: {describe(accounts.seconds(), max(counted, 1))}")
        return p50, p99, share, text

    def run(self):
        """[(rate, p99)]; the last one may be beyond the knee."""
        found = []
        avoid_hour_end(120)
        self.fill()
        with contextlib.closing(self.rig.connect()) as connection, connection.cursor() as cursor:
            self.arm = self.kind(self.rig, TOPIC, self.args.flush_interval)
            self.arm.setup(**({"idle_timeout": "60 s"} if self.kind is Topkd else {}))
            self.arm.start()
            self.drained(cursor, 600)
            for rate in self.args.rates:
                p50, p99, share, text = self.step(cursor, rate)
                self.bench.report.line(f"  {text}")
                found.append((rate, p50, p99))
                self.bench.progress.say(f"freshness, {self.kind.name}: {rate:,} events/s is done")
                if share < KEEPS_UP or p99 > 10 * BAR_P99_MS:
                    self.bench.report.line(f"  the knee is below {rate:,} events/s")
                    break
                self.drained(cursor, 120)
            self.arm.stop()
        return found


def shown(milliseconds):
    return f"{milliseconds:.0f}" if milliseconds < 1e9 else f"over {GRACE_SECONDS * 1000}"


def ramps(bench, kind):
    """[(rate, p50, p99)], medians of the rounds that reached the rate."""
    found = {}
    for _ in range(bench.args.rounds):
        with bench.rig.topic(PARTITIONS, TOPIC), bench.rig.fresh_database(f"freshness_{kind.name}"):
            for rate, *values in Ramp(bench, kind).run():
                found.setdefault(rate, []).append(values)
    points = []
    for rate, values in found.items():
        p50s, p99s = zip(*values)
        points.append((rate, statistics.median(p50s), statistics.median(p99s)))
        bench.report.line(f"  {rate:>9,} events/s, {len(values)} of {bench.args.rounds} rounds: p50 {median_and_range(p50s, '{:.0f}')} ms, p99 {median_and_range(p99s, '{:.0f}')} ms")
    return points


def measure(bench):
    series = {}
    for kind in bench.args.freshness_arms:
        bench.report.line(f"{kind.name}: Zipf 1.0 over {bench.args.freshness_videos:,} videos, {bench.args.fill:,} events in the hour at first; the list's first {LENGTH}, "
                          f"asked every {POLL_PAUSE_SECONDS * 1000:.0f} ms")
        points = ramps(bench, kind)
        series[f"{kind.name}, p50"] = [(rate, p50) for rate, p50, _ in points]
        series[f"{kind.name}, p99"] = [(rate, p99) for rate, _, p99 in points]
        if kind is Topkd:
            reached = [p99 for rate, _, p99 in points if rate == BAR_RATE]
            if BAR_RATE in bench.args.rates:
                bench.report.bar(f"freshness, {BAR_RATE:,} events/s", "p99 in ms", reached[0] if reached else 1e9, BAR_P99_MS, "{:,.0f}")
    path = bench.report.path.with_name("ingest-freshness.svg")
    longest = {name: [(rate, min(value, GRACE_SECONDS * 1000)) for rate, value in line] for name, line in series.items()}
    path.write_text(line_plot("From an event produced to the list of the running hour", "events/s", "ms", longest, BAR_P99_MS))
    bench.report.line(f"  plot: {path}")
