"""What the ingest benchmark runs on: one PostgreSQL of a major, one Kafka, topics that are produced before, a database for every run.

The broker gets a heap and a compiler as in earnest (the tests' own is made to start fast). Settings of PostgreSQL are SETTINGS; the same for
all designs.
"""

import contextlib
import functools
import os
import shutil
import threading
import time
from datetime import datetime, timedelta, timezone

import psycopg2

from rig.rig import Rig, RigError, wait_until
from servers.servers import Server, prepare

# A careful operator's: durable, compressed WAL, room for WAL so that time and not size asks for checkpoints, and those spread.
SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica", "wal_compression": "lz4",
            "max_wal_size": "16GB", "min_wal_size": "4GB", "checkpoint_timeout": "5min", "checkpoint_completion_target": "0.9",
            "wal_buffers": "64MB", "effective_cache_size": "12GB", "work_mem": "64MB", "maintenance_work_mem": "1GB",
            "random_page_cost": "1.1", "jit": "off", "autovacuum": "on", "max_connections": "60"}
BROKER_JAVA = "-Xms1g -Xmx1g -XX:+UseG1GC -Djava.awt.headless=true"
PRODUCER = ("--kafka", "compression.type=lz4", "--kafka", "linger.ms=20", "--kafka", "batch.num.messages=10000")
TABLES_SQL = """
CREATE TABLE views_{span} (window_start timestamptz NOT NULL, video_id text COLLATE "C" NOT NULL, views bigint NOT NULL,
                           PRIMARY KEY (window_start, video_id));
CREATE INDEX ON views_{span} (window_start, views DESC);
"""


@functools.cache
def first_event():
    """Yesterday at half past twelve: recent, and two hours later it is still the same day."""
    day = datetime.now(timezone.utc).replace(hour=12, minute=30, second=0, microsecond=0) - timedelta(days=1)
    return day.isoformat().replace("+00:00", "Z")


class IngestRig(Rig):
    def __init__(self, directory, major, shared_buffers):
        self.major, self.place = major, directory.resolve()
        self.settings = {**SETTINGS, "shared_buffers": shared_buffers}
        self.server, self.database, self.topics = None, "postgres", 0
        super().__init__(directory.name)

    def _directory(self, name):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.place.chmod(0o755)
        return self.place

    def start(self):
        prepare(self.major)
        self.server = Server(self.major, self.directory / "postgres", settings=self.settings)
        self.server.__enter__()
        os.environ["KAFKA_JAVA_OPTIONS"] = BROKER_JAVA
        self.kafka_started = True
        self.kafka("start", "--port", 0)
        self.brokers = self.kafka("brokers")

    def close(self, failed=False):
        while self.processes:
            self.processes.pop().stop()
        if self.server:
            self.server.stop("immediate")
        super().close(failed)

    # --- PostgreSQL ---

    def uri(self, database=None):
        return f"postgresql://postgres@127.0.0.1:{self.server.port}/{database or self.database}?sslmode=disable"

    def connect(self, database=None):
        connection = psycopg2.connect(self.uri(database), connect_timeout=10, application_name="bench")
        connection.autocommit = True
        return connection

    def postmaster(self):
        return int((self.server.data / "postmaster.pid").read_text().split()[0])

    @contextlib.contextmanager
    def fresh_database(self, name, template=None, keep=False):
        """What runs within it talks to it. It begins after a checkpoint, so that no run pays for the one before. keep: it is not dropped if all went well."""
        self.admin(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""))
        self.database = name
        self.admin("CHECKPOINT")
        done = False
        try:
            yield
            done = True
        finally:
            self.database = "postgres"
            if not (keep and done):
                with contextlib.suppress(psycopg2.Error):
                    self.admin(f"DROP DATABASE {name} WITH (FORCE)")

    def clients_ended(self):
        """Waits until no backend but the benchmark's own is in the database: its statistics are written then."""
        wait_until(lambda: not self.query("SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
                                          "AND application_name <> 'bench'"), 30, "a backend does not end")

    def admin(self, sql):
        with contextlib.closing(self.connect("postgres")) as connection:
            connection.cursor().execute(sql)

    def query(self, sql, *parameters):
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    # --- Topics ---

    @contextlib.contextmanager
    def topic(self, partitions=4, name=None):
        self.topics += 1
        name = name or f"views_{self.topics}"
        self.kafka("topic", "create", name, "--partitions", partitions)
        try:
            yield name
        finally:
            self.kafka("topic", "delete", name)

    def produce(self, topic, events, videos, zipf, seed, span_hours=2.0, start=None):
        """Returns the seconds it took. Event times go evenly from `start` on over so many hours, in the order of production."""
        began = time.monotonic()
        scale = span_hours * 3_600_000 / events  # of a millisecond an event, which is the schedule without a rate
        process = self.topkd("produce", "produce", "--topic", topic, "--count", events, "--videos", videos, "--zipf", zipf, "--seed", seed,
                             "--start", start or first_event(), "--time-scale", f"{scale:.9f}", *PRODUCER)
        if self.finish(process, 120 + events / 20_000):
            raise RigError(f"produce failed:\n{process.tail()}")
        return time.monotonic() - began


class Progress:
    """Says what runs now and since when; the benchmark's lines carry the time since its start."""

    def __init__(self, report):
        self.report, self.began = report, time.monotonic()
        self.lock = threading.Lock()

    def say(self, text):
        with self.lock:
            self.report.line(f"[{time.monotonic() - self.began:6.0f} s] {text}")


