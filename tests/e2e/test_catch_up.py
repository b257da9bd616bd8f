"""A long backlog is read under the memory bound: the process grows to a size that the bound allows, and no further.

There is always more than a second's worth to read, so batches are full, librdkafka's queues too, and the database is the limit. What has
been counted is deleted from the log, or half an hour of it would not fit a disk.
"""
import statistics
import threading
import time

from harness import settings
from harness.wait import wait_until

MIB = 1 << 20
MEMORY = 64 * MIB
BESIDE = 32 * MIB  # code, libraries, threads' stacks, what malloc keeps
CHUNK = 200_000
AHEAD = 8 * CHUNK  # more than a million, so that batches wait for three seconds (daemon/src/flush_policy.h), if nothing else is their limit
WARM_AFTER_SECONDS = 120  # in a shorter run batches and queues still find their size
GROWTH_MIB = 8


class Backlog:
    """Keeps the log well ahead of what is counted, from a thread of its own."""

    def __init__(self, launcher, database, topic):
        self.launcher, self.database, self.topic = launcher, database, topic
        self.made, self.ended, self.failure = 0, threading.Event(), None
        while self.made < AHEAD:
            self.produce()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def counted(self):
        return {partition: offset or 0 for partition, offset in self.database.next_offsets(self.topic.name).items()}

    def produce(self):
        process = self.launcher.produce(self.topic, "--count", str(CHUNK), "--videos", "2000000", "--zipf", "0.8", "--seed", str(settings.SEED + self.made))
        assert process.wait(120) == 0, process.log_text()
        self.made += CHUNK

    def run(self):
        try:
            while not self.ended.wait(0.05):
                counted = self.counted()
                if self.made - sum(counted.values()) < AHEAD:
                    self.produce()
                    # All but the last record counted, which a start would read again.
                    if behind := {partition: offset - 1 for partition, offset in counted.items() if offset > 0}:
                        self.topic.broker.delete_records(self.topic.name, behind)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def end(self):
        self.ended.set()
        self.thread.join(180)
        assert self.failure is None, self.failure


def watch(process, backlog, seconds):
    """VmRSS twice a second, and how many records are not counted yet."""
    found, behind, until = [], [], time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(process.memory("VmRSS"))
        behind.append(backlog.made - sum(backlog.counted().values()))
        assert process.alive() and backlog.failure is None, backlog.failure
        time.sleep(0.5)
    return found, behind


def test_catch_up_stays_under_the_memory_bound(database, topic, launcher):
    backlog = Backlog(launcher, database, topic)
    process = launcher.ingest(database, topic, "--memory", str(MEMORY))
    wait_until(lambda: sum(backlog.counted().values()) > 0, 60, "the first flush")
    found, behind = watch(process, backlog, settings.CATCH_UP_SECONDS)
    backlog.end()
    database.wait_for_offsets(topic.name, topic.ends(), 300)
    peak = process.memory("VmHWM")
    assert process.terminate() == 0
    assert peak < MEMORY + BESIDE, f"{peak / MIB:.0f} MiB resident with --memory {MEMORY // MIB}MiB"
    third = len(found) // 3
    first, middle, last = (max(part) / MIB for part in (found[:third], found[third:2 * third], found[2 * third:]))
    assert statistics.median(behind) >= CHUNK, "there was no backlog: records are not produced fast enough"
    print(f"{backlog.made:,} records; resident {peak / MIB:.0f} MiB at most, by thirds of the time {first:.0f}, {middle:.0f}, {last:.0f}; behind by {statistics.median(behind):,.0f}")
    if settings.CATCH_UP_SECONDS >= WARM_AFTER_SECONDS:
        assert last <= middle + GROWTH_MIB, f"resident at most {middle:.0f} MiB in the second third of the time, {last:.0f} MiB in the last"
    # The log is no longer there to be recounted. Every record is one view.
    assert database.value("SELECT sum(counted + late + dead) FROM topk.kafka_progress") == backlog.made
    assert database.value("SELECT sum(views) FROM video_views_hour") == backlog.made
    assert database.query("SELECT * FROM topk.audit() WHERE NOT ok") == []
