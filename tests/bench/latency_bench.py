"""From an event produced to its visibility in topk(), under load: p50 and p99 over probes, several rounds a setting.

Beside a background of --rate events/s, probes with ids of their own and the most views an event may carry are produced at
random moments. Ties rank by id, and ids descend, so the newest probes are always at the top; a second connection asks
topk('hour', 100) over and over. A latency runs from just before the producer's call to the return of the first query that
shows the probe. Nothing here is specific to the probe's path: it goes through the same topic, ingest and flushes.
"""

import sys
import threading
import time

from benchmark import median_and_range, parse, parser, percentile, run
from load import PARTITIONS, TOPIC, Counted, Probes, Sightings, avoid_hour_end, background, settings, versions
from rig.rig import Rig, RigError

LENGTH = 100
POLL_PAUSE_SECONDS = 0.001
QUICK = {"rate": 1000, "rounds": 2, "probes": 60}


def poll(connection, probes, expected):
    """Latencies in milliseconds of `expected` probes."""
    sightings = Sightings(probes)
    with connection.cursor() as cursor:
        while len(sightings.latencies) < expected:
            cursor.execute("SELECT video_id FROM topk('hour', %s)", (LENGTH,))
            visible = [row[0] for row in cursor]
            sightings.note(visible, time.perf_counter())
            sightings.check(expected)
            time.sleep(POLL_PAUSE_SECONDS)
    return sightings.milliseconds()


def measure_interval(report, rig, args, interval):
    """Rounds of (p50, p99) at one flush interval."""
    ingest = rig.topkd("ingest", "ingest", "--flush-interval", interval)
    connection, counted = rig.connect(), Counted(rig)
    rounds = []
    with background(rig, args.rate, args.videos):
        counted.wait_for(5 * args.rate, 120, "the background load is not counted")
        for number in range(args.rounds):
            probes = Probes(rig.brokers, args.seed + number)
            avoid_hour_end(args.probes * args.gap + 10)
            with counted.rate() as rate:
                sender = threading.Thread(target=probes.send_many, args=(args.probes, args.gap), daemon=True)
                sender.start()
                latencies = poll(connection, probes, args.probes)
                sender.join()
            probes.end()
            rounds.append((percentile(latencies, 0.5), percentile(latencies, 0.99)))
            report.line(f"  flush-interval {interval}, round {number + 1}: p50 {rounds[-1][0]:.0f} ms, p99 {rounds[-1][1]:.0f} ms, "
                        f"largest {max(latencies):.0f} ms, background {rate():,.0f} events/s")
    if rig.stop(ingest):
        raise RigError(f"ingest failed:\n{ingest.tail()}")
    return rounds


def measure(report, args):
    with Rig("latency") as rig:
        rig.start_postgres(settings={"shared_buffers": "256MB", "max_wal_size": "2GB"})
        rig.start_kafka(TOPIC, PARTITIONS)
        report.line(f"versions  {versions(rig)}\nsettings  {settings(rig)}")
        found = {interval: measure_interval(report, rig, args, interval) for interval in args.flush_intervals.split(",")}
    for interval, rounds in found.items():
        report.line(f"flush-interval {interval}: p50 {median_and_range([p50 for p50, _ in rounds], '{:.0f}')} ms, "
                    f"p99 {median_and_range([p99 for _, p99 in rounds], '{:.0f}')} ms; median (spread) of {len(rounds)} rounds")


def main():
    made = parser(__doc__)
    made.add_argument("--rate", type=int, default=5000, help="background events a second")
    made.add_argument("--videos", type=int, default=100_000)
    made.add_argument("--probes", type=int, default=300, help="a round")
    made.add_argument("--gap", type=float, default=0.05, help="mean seconds between probes")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--flush-intervals", default="500ms,100ms")
    args = parse(made, QUICK)
    heading = (f"event produced -> visible in topk('hour', {LENGTH})\n"
               f"load      {args.rate:,} events/s, Zipf 1.0 over {args.videos:,} videos; {args.probes} probes a round, "
               f"one every {args.gap * 1000:.0f} ms at random, seed {args.seed}")
    return run("latency", args, heading, lambda report: measure(report, args))


if __name__ == "__main__":
    sys.exit(main())
