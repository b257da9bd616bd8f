"""The broker (through tests/kafka/kafka.sh), topics, and producers whose records are decided by the test.

`topkd produce` is the part under test elsewhere; here records come from confluent_kafka, so that a test says exactly
which bytes lie at which offset.
"""
import json
import random
import subprocess
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from . import settings
from .wait import wait_until

HOUR_MS = 3_600_000
LEADERLESS = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)


class Broker:
    def __init__(self, directory, port):
        self.directory, self.port = directory, port
        self.address = f"127.0.0.1:{port}"
        self.log = directory / "broker.log"

    def _script(self, *arguments, limit=120):
        done = subprocess.run([str(settings.KAFKA_SH), *arguments, "--dir", str(self.directory)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit)
        if done.returncode:
            raise RuntimeError(f"kafka.sh {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}")

    def start(self):
        self._script("start", "--port", str(self.port))

    def stop(self):
        self._script("stop")

    def kill(self):
        self._script("kill")

    def create_topic(self, name, partitions, **config):
        options = [word for key, value in config.items() for word in ("--config", f"{key.replace('_', '.')}={value}")]
        self._script("topic", "create", name, "--partitions", str(partitions), *options)
        return Topic(self, name, partitions)

    def delete_topic(self, name):
        self._script("topic", "delete", name)

    def add_partitions(self, name, total):
        self._script("topic", "alter", name, "--partitions", str(total))
        return Topic(self, name, total, grown=True)

    def delete_records(self, name, offsets):
        """Retention's effect at once: the log of each partition then starts at its offset in `offsets`."""
        self._script("delete-records", name, *[f"{partition}:{offset}" for partition, offset in offsets.items()])


class Topic:
    def __init__(self, broker, name, partitions, grown=False):
        self.broker, self.name, self.partitions, self.grown = broker, name, partitions, grown

    def _watermarks(self):
        consumer = Consumer({"bootstrap.servers": self.broker.address, "group.id": "e2e-watermarks", "log_level": 0})
        try:
            return {partition: watermark_offsets(consumer, self.name, partition) for partition in range(self.partitions)}
        finally:
            consumer.close()

    def ends(self):
        return {partition: high for partition, (_, high) in self._watermarks().items()}

    def starts(self):
        return {partition: low for partition, (low, _) in self._watermarks().items()}

    def producer(self, **more):
        return RecordProducer(self, **more)

    def produce(self, records):
        """records: (partition, value, key, timestamp_ms) tuples, or events' dictionaries. Returns when all are acknowledged."""
        with self.producer() as producer:
            for record in records:
                producer.send(record)


def watermark_offsets(consumer, topic, partition, limit=40):
    """(start, end) of a partition; waits for a leader while it has none."""
    deadline = time.monotonic() + limit
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class RecordProducer:
    """Acknowledged by flush() (or the end of the with block); a record that fails makes it raise."""

    def __init__(self, topic, **more):
        self.topic, self.failures, self.sent, self.acknowledged = topic, [], 0, 0
        self.producer = Producer({
            "bootstrap.servers": topic.broker.address, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
            "compression.type": "lz4", "queue.buffering.max.messages": 2_000_000, **more})

    def send(self, record):
        if isinstance(record, dict):
            record = (hash_partition(record["video_id"], self.topic.partitions), json.dumps(record).encode(),
                      record["video_id"].encode(), None)
        partition, value, key, timestamp = record
        options = {} if timestamp is None else {"timestamp": timestamp}
        while True:
            try:
                self.producer.produce(self.topic.name, value, key, partition=partition, on_delivery=self._delivered, **options)
                break
            except BufferError:
                self.producer.poll(0.1)
        self.sent += 1
        if self.sent % 1000 == 0:
            self.producer.poll(0)

    def _delivered(self, error, _message):
        if error is not None:
            self.failures.append(error)
        else:
            self.acknowledged += 1

    def flush(self):
        left = self.producer.flush(60)
        if left or self.failures:
            raise RuntimeError(f"producing to {self.topic.name}: {left} unacknowledged, failures {self.failures[:3]}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.flush()


def hash_partition(key, partitions):
    """Stable between runs, unlike hash()."""
    return sum(key.encode()) % partitions


def events(count, seed, videos=500, hours=6):
    """Seeded events over the last `hours`, popular videos first, as dictionaries; about every tenth carries `views`."""
    rng = random.Random(seed)
    now = int(time.time() * 1000)
    for _ in range(count):
        event = {"video_id": f"vid_{int(videos * rng.random() ** 3)}", "ts": now - rng.randrange(hours * HOUR_MS)}
        if rng.random() < 0.1:
            event["views"] = rng.randrange(1, 50)
        yield event


class SteadyProducer:
    """A thread that keeps every partition supplied at `rate` records a second, until stop(); then `acknowledged` of what it sent lie in the log.
    `source` yields the events, as dictionaries.

    An idempotent producer whose leader dies may end with a fatal error (librdkafka before 2.3.0 takes a record that was possibly persisted for
    one that was: its pull request 4438), or write a record twice (its issue 4953). Another one goes on then; the log decides."""

    def __init__(self, topic, seed, rate=2000, malformed=0.0, source=None):
        self.topic, self.rate, self.malformed = topic, rate, malformed
        self.source = source or events(2**62, seed)
        self.sent = self.acknowledged = 0
        self._rng, self._started = random.Random(seed), time.monotonic()
        self._stop, self.error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._supply():
                pass
        except Exception as error:  # handed to the test by stop()
            self.error = error

    def _supply(self):
        """False if the producer was of no use any more."""
        producer, fatal = self.topic.producer(), False
        try:
            while not self._stop.wait(0.02):
                while self.sent < (time.monotonic() - self._started) * self.rate:
                    event, partition = next(self.source), self.sent % self.topic.partitions
                    value = b"{broken" if self._rng.random() < self.malformed else json.dumps(event).encode()
                    producer.send((partition, value, event["video_id"].encode(), None))
                    self.sent += 1
            producer.flush()
        except KafkaException as error:
            fatal = error.args[0].fatal() or error.args[0].code() == KafkaError._FATAL
            if not fatal:
                raise
        self.acknowledged += producer.acknowledged
        return not fatal

    def stop(self):
        """Ends it and returns when all it sent is acknowledged, unless a producer failed on the way."""
        self._stop.set()
        self._thread.join(90)
        if self._thread.is_alive() or self.error:
            raise RuntimeError(f"steady producer: {self.error or 'does not end'}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self._stop.set()


def wait_for_group_members(broker, group, count, limit):
    """Until the group's coordinator lists `count` members: joining is over, owners are known."""
    from confluent_kafka.admin import AdminClient
    client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})

    def members():
        return any(len(found.members) == count and found.state == "Stable" for found in client.list_groups(group, timeout=10))
    wait_until(members, limit, f"{count} members in group {group}", every=0.2)
