"""From an event produced to its visibility in topk(), under load: p50 and p99 over probes, several rounds a setting.

Beside a background of --rate events/s, probes with ids of their own and the most views an event may carry are produced at
random moments. Ties rank by id, and ids descend, so the newest probes are always at the top; a second connection asks
topk('hour', 100) over and over. A latency runs from just before the producer's call to the return of the first query that
shows the probe. Nothing here is specific to the probe's path: it goes through the same topic, ingest and flushes.
"""

import argparse
import itertools
import json
import platform
import random
import statistics
import sys
import threading
import time
from pathlib import Path

import confluent_kafka

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig.rig import ROOT, TOPKD, Rig, RigError, interrupt_on_signals, run, wait_until  # noqa: E402

TOPIC = "view_events"
PARTITIONS = 4
LENGTH = 100
PROBE_VIEWS = 1_000_000
POLL_PAUSE_SECONDS = 0.001
UNSEEN_LIMIT_SECONDS = 30


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) / (1 << 20)
    return f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def kafka_version():
    pom = (ROOT / "tests/kafka/pom.xml").read_text()
    return pom.split("<kafka.version>")[1].split("<")[0]


def settings_of(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT name || '=' || current_setting(name) FROM pg_settings WHERE name IN "
                       "('shared_buffers', 'fsync', 'synchronous_commit', 'max_wal_size') ORDER BY 1")
        return ", ".join(row[0] for row in cursor)


class Probes:
    """Sends probes from a thread of its own; shared with the poller under a lock."""

    def __init__(self, brokers, seed, numbers):
        self.producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "acks": "all", "linger.ms": 0})
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.sent_at = {}
        self.numbers = numbers
        # A producer's first record waits for connections and metadata, up to a second; that is not what is measured.
        self.producer.produce(TOPIC, json.dumps({"video_id": "warm-up"}), "warm-up")
        if self.producer.flush(30):
            raise RigError("the probes' producer does not reach the broker")

    def send(self):
        video_id = f"!probe_{next(self.numbers):06d}"
        value = json.dumps({"video_id": video_id, "ts": int(time.time() * 1000), "views": PROBE_VIEWS})
        with self.lock:
            self.sent_at[video_id] = time.perf_counter()
        self.producer.produce(TOPIC, value, video_id)
        self.producer.poll(0)

    def send_many(self, count, mean_gap):
        """At random moments, so that they fall anywhere between two flushes."""
        for _ in range(count):
            self.send()
            time.sleep(self.random.uniform(0, 2 * mean_gap))
        self.producer.flush(10)


def poll(connection, probes, expected):
    """Latencies in milliseconds of `expected` probes."""
    latencies = []
    last_seen = time.monotonic()
    with connection.cursor() as cursor:
        while len(latencies) < expected:
            cursor.execute("SELECT video_id FROM topk('hour', %s)", (LENGTH,))
            visible = [row[0] for row in cursor]
            now = time.perf_counter()
            with probes.lock:
                found = [probes.sent_at.pop(video_id) for video_id in visible if video_id in probes.sent_at]
            latencies += [(now - sent) * 1000 for sent in found]
            if found:
                last_seen = time.monotonic()
            elif time.monotonic() > last_seen + UNSEEN_LIMIT_SECONDS:
                raise RigError(f"{expected - len(latencies)} probes did not appear in {UNSEEN_LIMIT_SECONDS} s")
            time.sleep(POLL_PAUSE_SECONDS)
    return latencies


def percentile(values, share):
    """The nearest rank: an observed value, never an interpolated one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def avoid_hour_end(seconds):
    """Waits for the next hour if a round would not end within this one: what was sent before would no longer be listed."""
    left = 3600 - time.time() % 3600
    if left < seconds:
        time.sleep(left)


def measure(rig, args, interval, numbers):
    """Rounds of (p50, p99, background events/s) at one flush interval."""
    ingest = rig.topkd("ingest", "ingest", "--flush-interval", interval)
    producer = rig.topkd("produce", "produce", "--rate", f"{args.rate}/s", "--videos", str(args.videos))
    connection, books = rig.connect(), rig.connect()

    def counted():
        rig.check()
        with books.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(counted), 0)::bigint FROM topk.kafka_progress")
            return cursor.fetchone()[0]

    before = counted()
    wait_until(lambda: counted() > before + 5 * args.rate, 120, f"the background load is not counted\n{ingest.tail()}")
    rounds = []
    for number in range(args.rounds):
        probes = Probes(rig.brokers, args.seed + number, numbers)
        avoid_hour_end(args.probes * args.gap + 10)
        began, counted_before = time.monotonic(), counted()
        sender = threading.Thread(target=probes.send_many, args=(args.probes, args.gap), daemon=True)
        sender.start()
        latencies = poll(connection, probes, args.probes)
        sender.join()
        rate = (counted() - counted_before) / (time.monotonic() - began)
        rounds.append((percentile(latencies, 0.5), percentile(latencies, 0.99), rate))
        print(f"  flush-interval {interval}, round {number + 1}: p50 {rounds[-1][0]:.0f} ms, p99 {rounds[-1][1]:.0f} ms, "
              f"largest {max(latencies):.0f} ms, background {rate:,.0f} events/s", flush=True)
    if rig.stop(producer) or rig.stop(ingest):
        raise RigError(f"produce or ingest failed:\n{producer.tail()}\n{ingest.tail()}")
    return rounds


def summary(interval, rounds):
    parts = []
    for name, values in (("p50", [r[0] for r in rounds]), ("p99", [r[1] for r in rounds])):
        parts.append(f"{name} {statistics.median(values):.0f} ms ({min(values):.0f}–{max(values):.0f})")
    return f"flush-interval {interval}: " + ", ".join(parts) + f"; median (spread) of {len(rounds)} rounds"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=5000, help="background events a second")
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--probes", type=int, default=300, help="a round")
    parser.add_argument("--gap", type=float, default=0.05, help="mean seconds between probes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flush-intervals", default="500ms,100ms")
    args = parser.parse_args()
    numbers = itertools.count(999_999, -1)
    interrupt_on_signals()
    try:
        with Rig("latency") as rig:
            rig.start_postgres(settings={"shared_buffers": "256MB", "max_wal_size": "2GB"})
            rig.start_kafka(TOPIC, PARTITIONS)
            connection = rig.connect()
            print("event produced -> visible in topk('hour', 100)")
            print(f"machine   {machine()}")
            print(f"versions  {run(TOPKD, '--version')}; PostgreSQL {connection.info.server_version // 10000}."
                  f"{connection.info.server_version % 10000}; Kafka {kafka_version()}; librdkafka {confluent_kafka.libversion()[0]}")
            print(f"settings  {settings_of(connection)}; topic of {PARTITIONS} partitions; {args.rate:,} events/s, Zipf 1.0 over "
                  f"{args.videos:,} videos; {args.probes} probes a round, one every {args.gap * 1000:.0f} ms at random, seed {args.seed}",
                  flush=True)
            lines = [summary(interval, measure(rig, args, interval, numbers)) for interval in args.flush_intervals.split(",")]
            print(*lines, sep="\n", flush=True)
    except KeyboardInterrupt:
        return 130
    except RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
