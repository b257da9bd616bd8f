"""A producer that writes in transactions, commits some and aborts others, and gets through changes of leaders.

`committed` and `aborted` count records of transactions whose outcome is known; the log decides about the others: when a
commit's answer is lost, the next producer with the same transactional.id ends that transaction one way or the other.
"""
import json
import random
import threading

from confluent_kafka import KafkaException, Producer

from . import kafka
from .wait import wait_until

LIMIT_SECONDS = 60


class TransactionalProducer:
    """A thread, until stop(). Every record goes to the partition after the one before; `events` are dictionaries."""

    def __init__(self, topic, seed, name, size=40, abort_share=0.4, pause=0.05, events=None):
        self.topic, self.name, self.size, self.abort_share, self.pause = topic, name, size, abort_share, pause
        self.committed = self.aborted = self.unknown = self.restarts = 0
        self._rng, self._events = random.Random(seed), events or kafka.events(2**62, seed)
        self._sent = 0
        self._stop, self.error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _connect(self):
        """Ends whatever transaction a predecessor left open."""
        producer = Producer({"bootstrap.servers": self.topic.broker.address, "transactional.id": self.name, "log_level": 0,
                             "transaction.timeout.ms": 60000, "linger.ms": 5})
        self._end(producer.init_transactions)
        return producer

    def _run(self):
        try:
            producer = None
            while not self._stop.wait(self.pause):
                if producer is None:
                    producer = self._connect()
                if not self._transaction(producer):
                    producer, self.restarts = None, self.restarts + 1
            self._connect()
        except Exception as error:  # handed to the test by stop()
            self.error = error

    def _transaction(self, producer):
        """False if the producer is of no use any more."""
        commit = self._rng.random() >= self.abort_share
        try:
            producer.begin_transaction()
            for _ in range(self.size):
                event = next(self._events)
                producer.produce(self.topic.name, json.dumps(event).encode(), event["video_id"].encode(),
                                 partition=self._sent % self.topic.partitions)
                self._sent += 1
            # Also those to be aborted have to lie in the log.
            producer.flush(LIMIT_SECONDS)
            self._end(producer.commit_transaction if commit else producer.abort_transaction)
        except KafkaException as failure:
            if not failure.args[0].txn_requires_abort():
                self.unknown += self.size
                return False
            return self._give_up(producer)
        self.committed, self.aborted = self.committed + self.size * commit, self.aborted + self.size * (not commit)
        return True

    def _give_up(self, producer):
        try:
            self._end(producer.abort_transaction)
        except KafkaException:
            self.unknown += self.size
            return False
        self.aborted += self.size
        return True

    @staticmethod
    def _end(call):
        for _ in range(10):
            try:
                return call(LIMIT_SECONDS)
            except KafkaException as failure:
                if not failure.args[0].retriable():
                    raise
        raise RuntimeError("a transaction does not begin, or does not end: the same call was to be retried ten times")

    def wait_for_both(self):
        """Until one more transaction was committed, and one aborted. The first takes long while brokers are busy, or one has just died."""
        committed, aborted = self.committed, self.aborted
        wait_until(lambda: not self._thread.is_alive() or (self.committed > committed and self.aborted > aborted), 3 * LIMIT_SECONDS,
                   "a transaction that is committed and one that is aborted")
        if self.error:
            raise RuntimeError("transactional producer") from self.error

    def stop(self):
        self._stop.set()
        self._thread.join(3 * LIMIT_SECONDS)
        if self._thread.is_alive() or self.error:
            raise RuntimeError(f"transactional producer: {self.error or 'does not end'}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self._stop.set()
