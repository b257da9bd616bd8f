"""A throwaway PostgreSQL with the extension of this checkout, a throwaway Kafka, and topkd processes, for the demo and the
benchmarks. Everything lies under one folder of build/ and ends with close(), whatever happened before.

The server is the installed one, but run from a private tree of links to its files, into which the extension is installed
(PostgreSQL finds its libraries and extensions relative to its binary): the system's folders are not touched.
"""

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg2

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TOPK_BUILD") or ROOT / "build")
TOPKD = Path(os.environ.get("TOPKD") or BUILD / "daemon/topkd")
KAFKA_SH = ROOT / "tests/kafka/kafka.sh"
TOPICS_PY = ROOT / "tests/kafka/topics.py"
PG_CONFIG = os.environ.get("PG_CONFIG") or "pg_config"

TERM_SECONDS = 20
PR_SET_PDEATHSIG = 1
DATABASE = "demo"


class RigError(Exception):
    """Something did not start, or ended too early; the text is for the user."""


def wait_until(condition, seconds, what, every=0.05):
    """Polls until the condition holds, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RigError(f"gave up after {seconds} s: {what}")
        time.sleep(every)
    return value


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise RigError(f"{' '.join(str(part) for part in command)}: exit {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


class Process:
    """A child in a session of its own (Ctrl-C is ours to handle), with its output in a file."""

    def __init__(self, name, command, log, user=None, environment=None, stop_signal=signal.SIGTERM):
        self.name, self.log, self.stop_signal = name, log, stop_signal
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        with open(log, "ab") as out:
            self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=self._die_with_parent,
                                          env={**os.environ, **(environment or {})}, cwd="/", **as_user)

    def _die_with_parent(self):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, self.stop_signal)

    def check(self):
        if self.child.poll() is not None:
            raise RigError(f"{self.name} ended with exit code {self.child.returncode}:\n{self.tail()}")

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self):
        """The exit code; SIGKILL after a while."""
        for which, seconds in ((self.stop_signal, TERM_SECONDS), (signal.SIGKILL, None)):
            if self.child.poll() is None:
                self.child.send_signal(which)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.child.wait(seconds)
        return self.child.returncode


class Rig:
    """Use as a context manager. Parts stop in the reverse order of their start."""

    def __init__(self, name):
        self.user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses root
        self.directory = self._directory(name)
        self.processes = []
        self.kafka_started = False
        self.password = secrets.token_hex(8)
        self.brokers = None
        self.port = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close(failed=kind is not None and kind is not KeyboardInterrupt)

    def _directory(self, name):
        directory = BUILD / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        if self.user and subprocess.run(["test", "-x", directory], user=self.user, group=pwd.getpwnam(self.user).pw_gid,
                                        extra_groups=[], check=False).returncode:
            # A checkout in root's home, for one: the server's user cannot get there. close() removes it.
            shutil.rmtree(directory)
            directory = Path(tempfile.mkdtemp(prefix=f"topk-{name}-"))
            directory.chmod(0o755)
        return directory

    # --- PostgreSQL ---

    def _link_server(self):
        """The private tree; returns its folder of binaries."""
        tree = self.directory / "server"
        paths = {kind: run(PG_CONFIG, f"--{kind}") for kind in ("bindir", "sharedir", "pkglibdir")}
        for kind in ("sharedir", "pkglibdir"):
            target = tree / paths[kind].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            run("cp", "-rs", paths[kind], target)
        bindir = tree / paths["bindir"].lstrip("/")
        bindir.mkdir(parents=True, exist_ok=True)
        for program in ("postgres", "initdb"):  # copies: the server resolves links to find where it is
            shutil.copy2(Path(paths["bindir"]) / program, bindir)
        run("make", "--no-print-directory", "-C", ROOT / "extension", "install", f"DESTDIR={tree}", f"PG_CONFIG={PG_CONFIG}")
        return bindir

    def start_postgres(self, port=0, settings=()):
        bindir = self._link_server()
        home = self.directory / "postgres"
        home.mkdir()
        as_user = {}
        if self.user:
            shutil.chown(home, self.user)
            as_user = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
        password_file = home / "password"
        password_file.write_text(self.password)
        if self.user:
            shutil.chown(password_file, self.user)
        password_file.chmod(0o600)
        run(bindir / "initdb", "-D", home / "data", "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password_file}",
            "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", cwd="/", **as_user)
        password_file.unlink()
        self.port = port or int(run(sys.executable, TOPICS_PY, "free-port"))
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "timezone": "UTC",
                   "log_checkpoints": "off", **dict(settings)}
        self.postgres = self._add(Process("PostgreSQL", [bindir / "postgres", "-D", home / "data",
                                                         *(f"--{key}={value}" for key, value in options.items())],
                                          self.directory / "postgres.log", user=self.user, stop_signal=signal.SIGINT))

        def answers():
            self.postgres.check()
            with contextlib.suppress(psycopg2.OperationalError):
                return self.connect("postgres")

        admin = wait_until(answers, 60, "PostgreSQL does not answer")
        admin.cursor().execute(f"CREATE DATABASE {DATABASE}")
        admin.close()
        with self.connect() as connection:
            connection.cursor().execute("CREATE EXTENSION topk")

    def uri(self, database=DATABASE):
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database=DATABASE):
        connection = psycopg2.connect(self.uri(database), connect_timeout=10)
        connection.autocommit = True
        return connection

    # --- Kafka ---

    def kafka(self, *arguments):
        return run(KAFKA_SH, *arguments, "--dir", self.directory / "kafka")

    def start_kafka(self, topic, partitions, port=0):
        self.kafka_started = True
        self.kafka("start", "--port", port)
        self.brokers = self.kafka("brokers")
        self.kafka("topic", "create", topic, "--partitions", partitions)

    # --- topkd ---

    def topkd(self, name, *arguments):
        """Starts a subcommand; name is for its log. The database goes by environment: arguments show in ps."""
        environment = {"TOPKD_DB": self.uri(), "TOPKD_BROKERS": self.brokers}
        return self._add(Process(name, [TOPKD, *arguments], self.directory / f"{name}.log", environment=environment))

    def _add(self, process):
        self.processes.append(process)
        return process

    def check(self):
        for process in self.processes:
            process.check()

    def stop(self, process):
        """Stops one of ours before close(); the exit code."""
        self.processes.remove(process)
        return process.stop()

    def finish(self, process, seconds):
        """Waits for one that ends by itself; the exit code."""
        try:
            process.child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise RigError(f"{process.name} did not end in {seconds} s:\n{process.tail()}") from error
        return self.stop(process)

    def close(self, failed=False):
        """Leaves no process; the data go, the logs stay after a failure."""
        for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(which, signal.SIG_IGN)
        while self.processes:
            self.processes.pop().stop()
        if self.kafka_started:
            with contextlib.suppress(RigError):
                self.kafka("stop")
        for part in ("server", "postgres") + (() if failed else ("kafka",)):
            shutil.rmtree(self.directory / part, ignore_errors=True)
        if failed and BUILD in self.directory.parents:
            print(f"logs: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)


def interrupt_on_signals():
    """SIGTERM and SIGHUP end us like Ctrl-C, through the context managers."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, interrupt)
