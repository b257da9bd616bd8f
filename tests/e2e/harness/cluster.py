"""A throwaway PostgreSQL cluster: made, started, stopped in immediate mode, and asked questions.

Runs as the user postgres when we are root (the server refuses root). fsync is off: what the tests break is the server's
processes, never the machine, so the page cache survives and crash recovery is exercised all the same.
"""
import contextlib
import os
import subprocess

import psycopg2
import psycopg2.extras

from . import settings
from .wait import wait_until

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 128MB
max_connections = 60
max_wal_size = 2GB
wal_level = minimal
max_wal_senders = 0
timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
log_min_error_statement = panic
restart_after_crash = on
"""

# Roles named *_password must give theirs; everybody else is trusted.
AUTHENTICATION = """
host all needs_password 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class Cluster:
    def __init__(self, directory, port):
        self.directory, self.port = directory, port
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.bin = subprocess.check_output([settings.PG_CONFIG, "--bindir"], text=True).strip()

    def _run(self, *command):
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run([*as_user, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")

    def init(self):
        self.directory.mkdir(parents=True)
        if os.geteuid() == 0:
            subprocess.check_call(["chown", "postgres", str(self.directory)])
        self._run(f"{self.bin}/initdb", "--no-sync", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
                  "--locale=C", "-N")
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(CONFIGURATION + f"port = {self.port}\n")
        (self.data / "pg_hba.conf").write_text(AUTHENTICATION)

    def start(self):
        # The log goes to a file: pg_ctl would otherwise hold our pipe open as long as the server lives.
        self._run(f"{self.bin}/pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", "60", "start")

    def stop(self, mode="fast"):
        self._run(f"{self.bin}/pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop")

    def running(self):
        return (self.data / "postmaster.pid").exists()

    def conninfo(self, dbname, user="postgres", port=None, **more):
        """For libpq. `port`: a proxy's instead of the server's own."""
        parts = dict(host="127.0.0.1", port=port or self.port, dbname=dbname, user=user, sslmode="disable", connect_timeout=5, **more)
        return " ".join(f"{key}={value}" for key, value in parts.items())

    def connect(self, dbname="postgres", user="postgres", **more):
        connection = psycopg2.connect(self.conninfo(dbname, user, **more))
        connection.autocommit = True
        return connection


class Database:
    """One test's database. Every query uses a connection of its own, so that server restarts never matter to the asker."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def create(self, extension=True):
        with contextlib.closing(self.cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{self.name}"')
        if extension:
            self.execute("CREATE EXTENSION topk")

    def drop(self):
        with contextlib.closing(self.cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def query(self, sql, *parameters, user="postgres"):
        with contextlib.closing(self.cluster.connect(self.name, user)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def execute(self, sql, *parameters, user="postgres"):
        self.query(sql, *parameters, user=user)

    def value(self, sql, *parameters, user="postgres"):
        return self.query(sql, *parameters, user=user)[0][0]

    def conninfo(self, user="postgres", **more):
        return self.cluster.conninfo(self.name, user, **more)

    def create_counter(self, name="video_views", **options):
        """It keeps all of its rows: streams begin weeks ago, and what they became is looked at, row by row."""
        arguments = "".join(f", {key} => %s" for key in options)
        self.execute(f"SELECT topk.create_counter(%s{arguments})", name, *options.values())
        self.execute("SELECT topk.set_retention(%s, hours => '1000 years', days => '1000 years')", name)

    def progress(self, topic, counter="video_views"):
        """partition → its row of topk.kafka_progress, as a dictionary; nothing while the database is away."""
        try:
            with contextlib.closing(self.cluster.connect(self.name)) as connection, \
                    connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute("SELECT * FROM topk.kafka_progress WHERE counter = %s AND topic = %s ORDER BY partition", (counter, topic))
                return {row["partition"]: row for row in cursor.fetchall()}
        except psycopg2.OperationalError:
            return {}

    def next_offsets(self, topic, counter="video_views"):
        return {partition: row["next_offset"] for partition, row in self.progress(topic, counter).items()}

    def owners(self, topic, counter="video_views"):
        """partition → application_name of the live backend that owns it, None where the owner is gone."""
        return dict(self.query(
            "SELECT p.partition, a.application_name FROM topk.kafka_progress p "
            "LEFT JOIN pg_stat_activity a ON a.pid = p.owner_pid AND a.backend_start = p.owner_backend_start "
            "WHERE p.counter = %s AND p.topic = %s", counter, topic))

    def wait_for_offsets(self, topic, ends, limit, counter="video_views"):
        """Until every partition's next offset is its end in `ends` (partition → offset)."""
        last = {}

        def reached():
            last.clear()
            last.update(self.next_offsets(topic, counter))
            return all(last.get(partition) == end for partition, end in ends.items() if end > 0)
        try:
            wait_until(reached, limit, f"{counter} at the ends of {topic}", every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: next offsets {last}, ends {ends}") from None
