"""What an event costs topkd ingest: processor time by the threads that spend it, on a topic that is there before it starts.

A round is a fresh counter, and topkd from its start until the database has counted every record. The threads' times are the kernel's
(/proc/PID/task). "broker" are librdkafka's threads (fetch, check, unpack), "consuming" the one that takes records from librdkafka's
queue and decodes and sums them, "sink" the one that sorts, encodes and waits for the database. PostgreSQL is not in it.
Before that, the consuming thread's part without Kafka and database, from records in memory to sums: hot_path.cpp.
"""

import sys
import time
from pathlib import Path

from benchmark import median_and_range, parse, parser, run
from load import PARTITIONS, TICKS, TOPIC, settings, versions
from quantities import count, counts
from rig.rig import BUILD, Rig, RigError, wait_until
from rig.rig import run as output_of

HOT_PATH = BUILD / "bench-daemon/topkd_hot_path"
QUICK = {"records": "200k", "rounds": 2, "videos": "10k"}
BAR_MICROSECONDS = 1.2
LIMIT_SECONDS = 1800
PARTS = ("broker", "consuming", "sink", "other")


def part_of(pid, thread, name):
    if name.startswith("rdk:") or name == "fetch-waker":
        return "broker"
    if thread == pid:
        return "consuming"
    return "sink" if name == "sink" else "other"


def thread_seconds(pid):
    """Processor seconds of every part so far."""
    spent = dict.fromkeys(PARTS, 0.0)
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, rest = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        fields = rest.split()
        spent[part_of(pid, int(task.name), name)] += (int(fields[11]) + int(fields[12])) / TICKS
    return spent


def memory_mib(pid):
    """The most that was resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def consume(rig, connection, args, counter):
    """One round: microseconds an event by part, events a second, MiB."""
    def counted():
        rig.check()
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(counted), 0)::bigint FROM topk.kafka_progress WHERE counter = %s", (counter,))
            return cursor.fetchone()[0]

    ingest = rig.topkd(counter, "ingest", "--counter", counter, "--memory", args.memory, "--flush-interval", args.flush_interval)
    began = time.monotonic()
    wait_until(lambda: counted() == args.records, LIMIT_SECONDS, "not everything was counted")
    seconds = time.monotonic() - began
    spent, memory = thread_seconds(ingest.child.pid), memory_mib(ingest.child.pid)
    if rig.stop(ingest):
        raise RigError(f"ingest failed:\n{ingest.tail()}")
    return {part: value / args.records * 1e6 for part, value in spent.items()}, args.records / seconds, memory


def measure_topic(report, args, videos):
    with Rig("consume") as rig:
        rig.start_postgres(settings={"shared_buffers": "1GB", "max_wal_size": "16GB", "wal_compression": "lz4"})
        rig.start_kafka(TOPIC, PARTITIONS)
        report.line(f"\n{videos:,} videos\n  versions  {versions(rig)}\n  settings  {settings(rig)}")
        produce = rig.topkd("produce", "produce", "--count", args.records, "--videos", videos, "--zipf", args.zipf, "--seed", args.seed)
        if rig.finish(produce, LIMIT_SECONDS):
            raise RigError(f"produce failed:\n{produce.tail()}")
        connection, rounds = rig.connect(), []
        for number in range(args.rounds):
            counter = f"round_{number + 1}"
            rounds.append(consume(rig, connection, args, counter))
            parts, rate, memory = rounds[-1]
            report.line(f"  round {number + 1}: {sum(parts.values()):.2f} µs an event ("
                        + ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
                        + f"); {rate:,.0f} events/s, {memory:.0f} MiB resident at most")
            with connection.cursor() as cursor:
                cursor.execute("SELECT topk.drop_counter(%s)", (counter,))
    for part in PARTS:
        report.line(f"  {part:<10}{median_and_range([parts[part] for parts, *_ in rounds], '{:.2f}')} µs an event")
    whole = [sum(parts.values()) for parts, *_ in rounds]
    report.line(f"  together  {median_and_range(whole, '{:.2f}')} µs an event")
    aggregated = [parts["broker"] + parts["consuming"] for parts, *_ in rounds]
    report.line(f"  bytes to aggregate (broker + consuming) {median_and_range(aggregated, '{:.2f}')} µs an event")
    report.bar(f"{videos:,} videos", "bytes to aggregate, µs an event", sorted(aggregated)[len(aggregated) // 2], BAR_MICROSECONDS, "{:.2f}")


def measure(report, args):
    if HOT_PATH.exists():
        report.line("\nwithout Kafka and database, one thread (Google Benchmark)")
        report.line(output_of(HOT_PATH, f"--benchmark_min_time={args.micro_seconds}"))
    for videos in args.videos:
        measure_topic(report, args, videos)


def main():
    made = parser(__doc__)
    made.add_argument("--records", type=count, default="5M")
    made.add_argument("--videos", type=counts, default="100k,10M")
    made.add_argument("--zipf", type=float, default=1.0)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--memory", default="512MiB")
    made.add_argument("--flush-interval", default="500ms")
    made.add_argument("--micro-seconds", type=float, default=1.0, help="for each benchmark of hot_path")
    args = parse(made, QUICK)
    heading = (f"processor time of topkd ingest an event\n"
               f"load      {args.records:,} records there before, Zipf {args.zipf}, {args.rounds} rounds, seed {args.seed}; "
               f"--memory {args.memory} --flush-interval {args.flush_interval}")
    return run("consume", args, heading, lambda report: measure(report, args))


if __name__ == "__main__":
    sys.exit(main())
