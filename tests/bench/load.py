"""What the benchmarks of the whole path share: a background of events, probes among them whose way is timed, what ran on which processor.

Probes have ids of their own and the most views an event may carry. Ties rank by id, and ids descend, so the newest are always at the top
of their hour's list. Nothing is specific to a probe's path: it goes through the same topic, ingest and flushes as everything else.
"""

import contextlib
import itertools
import json
import os
import random
import re
import threading
import time

import confluent_kafka

from rig.rig import ROOT, TOPKD, RigError, run, wait_until

TOPIC = "view_events"
PARTITIONS = 4
PROBE_VIEWS = 1_000_000
UNSEEN_LIMIT_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")


def versions(rig, *more):
    pom = (ROOT / "tests/kafka/pom.xml").read_text()
    kafka = pom.split("<kafka.version>")[1].split("<")[0]
    with contextlib.closing(rig.connect()) as connection:
        server = connection.info.server_version
    return "; ".join((run(TOPKD, "--version"), f"PostgreSQL {server // 10000}.{server % 10000}", f"Kafka {kafka}",
                      f"librdkafka {confluent_kafka.libversion()[0]}", *more))


def settings(rig):
    with contextlib.closing(rig.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name || '=' || current_setting(name) FROM pg_settings WHERE name IN "
                       "('shared_buffers', 'fsync', 'synchronous_commit', 'max_wal_size') ORDER BY 1")
        return ", ".join([row[0] for row in cursor] + [f"topic of {PARTITIONS} partitions"])


def avoid_hour_end(seconds):
    """Waits for the next hour if what comes would not end within this one: what was sent before would no longer be listed."""
    left = 3600 - time.time() % 3600
    if left < seconds:
        time.sleep(left + 0.1)


class Counted:
    """How many events ingest has counted."""

    def __init__(self, rig):
        self.rig, self.connection = rig, rig.connect()

    def total(self):
        self.rig.check()
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(counted), 0)::bigint FROM topk.kafka_progress")
            return cursor.fetchone()[0]

    def wait_for(self, more, seconds, what):
        target = self.total() + more
        wait_until(lambda: self.total() >= target, seconds, what)

    @contextlib.contextmanager
    def rate(self):
        """Yields a function; after the block it returns the events counted a second in it."""
        began, before = time.monotonic(), self.total()
        result = []
        yield lambda: result[0]
        result.append((self.total() - before) / (time.monotonic() - began))


@contextlib.contextmanager
def background(rig, rate, videos):
    """Yields while topkd produce keeps the rate."""
    producer = rig.topkd("produce", "produce", "--rate", f"{rate}/s", "--videos", videos)
    yield producer
    if rig.stop(producer):
        raise RigError(f"produce failed:\n{producer.tail()}")


class Probes:
    """Sends probes, from a thread of its own if wished; when each was sent can be asked from others."""

    _numbers = itertools.count(999_999, -1)

    def __init__(self, brokers, seed):
        self.producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "acks": "all", "linger.ms": 0})
        self.random = random.Random(seed)
        self.sent_at = {}
        self.lock = threading.Lock()
        # A producer's first record waits for connections and metadata, up to a second; that is not what is measured.
        self.producer.produce(TOPIC, json.dumps({"video_id": "warm-up"}), "warm-up")
        if self.producer.flush(30):
            raise RigError("the probes' producer does not reach the broker")

    def send(self):
        video_id = f"!probe_{next(self._numbers):06d}"
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

    def end(self):
        """Before the broker does, or librdkafka tells that it is gone."""
        self.producer = None


class Sightings:
    """When the probes were first seen in one place. One thread notes."""

    def __init__(self, probes):
        self.probes, self.latencies, self.last = probes, {}, time.monotonic()

    def note(self, video_ids, seen_at):
        """seen_at: of perf_counter, when the list was there."""
        with self.probes.lock:
            new = {video_id: (self.probes.sent_at[video_id], seen_at) for video_id in video_ids
                   if video_id in self.probes.sent_at and video_id not in self.latencies}
        for video_id, (sent, seen) in new.items():
            self.latencies[video_id] = (sent, (seen - sent) * 1000)
        if new:
            self.last = time.monotonic()

    def milliseconds(self):
        """In the order in which they were sent."""
        return [latency for _, latency in sorted(self.latencies.values())]

    def check(self, expected):
        if time.monotonic() > self.last + UNSEEN_LIMIT_SECONDS:
            raise RigError(f"{expected - len(self.latencies)} probes did not appear in {UNSEEN_LIMIT_SECONDS} s")


# --- Who ran where ---


def kafka_pid(rig):
    return int((rig.directory / "kafka/pid").read_text())


def descendants(pid):
    """The process and those that it started, as far as they live."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def processor_seconds(pid):
    """Of one process and its children that have ended."""
    with contextlib.suppress(OSError):
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:15]) / TICKS
    return 0.0


def processor_set(text):
    """0,2-3 as a set"""
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


class Processors:
    """Which processors the parts may use, and how much of them they used since begin()."""

    def __init__(self, pids):
        self.pids = pids  # by name; what a process starts counts as its own

    def pin(self, text):
        """kafka+produce=0;postgres+ingest+serve=1"""
        for part in filter(None, text.split(";")):
            match = re.fullmatch(r"\s*([a-z+]+)=([0-9,-]+)\s*", part)
            if not match or not set(match[1].split("+")) <= set(self.pids):
                raise RigError(f"--pin {part}: NAME+NAME=PROCESSORS, names of {', '.join(self.pids)}")
            for name in match[1].split("+"):
                for pid in descendants(self.pids[name]):
                    for thread in os.listdir(f"/proc/{pid}/task"):
                        with contextlib.suppress(OSError):
                            os.sched_setaffinity(int(thread), processor_set(match[2]))

    def begin(self):
        self.began, self.before = time.monotonic(), {}
        for name, pid in self.pids.items():
            self.before[name] = sum(processor_seconds(one) for one in self._of(name, pid))

    def _of(self, name, pid):
        return [pid] if pid == os.getpid() else descendants(pid)

    def used(self):
        """A line: every part, the processors it may use, and how much of one it used on average."""
        seconds = time.monotonic() - self.began
        parts = []
        for name, pid in self.pids.items():
            spent = sum(processor_seconds(one) for one in self._of(name, pid)) - self.before[name]
            allowed = ",".join(str(number) for number in sorted(os.sched_getaffinity(pid)))
            parts.append(f"{name} {spent / seconds:.2f} of processors {allowed}")
        return "; ".join(parts)
