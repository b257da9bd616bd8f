#!/usr/bin/python3
"""Throwaway PostgreSQL servers with the extension of this checkout: the machine's own major natively, others in chroots
(chroot.sh), `15-assert` and `18-assert` built from source (source.sh). All answer on 127.0.0.1; none touches an installed server's folders.

    prepare(17, ["topk_no_cas"])          builds the extension for a major, once; → {"topk_no_cas": its path}
    with Server(17, folder) as server, server.standby(other_folder) as replica:
        server.connect("postgres").cursor().execute("CREATE EXTENSION topk")

A server runs from a private tree of links to the installed files, into which the extension is copied: PostgreSQL finds its
libraries and extensions relative to its binary. As the user postgres when we are root, otherwise as ourselves. It ends with
the thread that started it, so start servers in the main thread.

    servers.py prepare MAJOR [VARIANT]...     prints the variants' paths
    servers.py serve MAJOR FOLDER [KEY=VALUE]...     a server with these settings, until Ctrl-C
"""
import contextlib
import fcntl
import functools
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg2

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVERS = Path(os.environ.get("TOPK_SERVERS") or Path(os.environ.get("TOPK_BUILD") or ROOT / "build") / "servers").resolve()
BUILT = (Path(os.environ.get("TOPK_BUILD") or ROOT / "build") / "servers").resolve()
CHROOT_SH, SOURCE_SH = HERE / "chroot.sh", HERE / "source.sh"
CANNOT = 77  # the scripts' exit code where a server cannot be had on this machine

CHROOTED = (17, 18)
FROM_SOURCE = ("15-assert", "18-assert")
# What is built and tested outside of the checkout
SOURCES = ("extension", "sql", "expected", "tests/isolation", "tests/pgtap")

START_SECONDS, STOP_SECONDS = 60, 60
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# What tests break is the server's processes, never the machine: without fsync crash recovery is exercised all the same.
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "timezone": "UTC",
            "shared_buffers": "64MB", "max_connections": "50", "wal_level": "replica", "max_wal_senders": "10",
            "max_wal_size": "2GB", "wal_retrieve_retry_interval": "200ms", "log_line_prefix": "%m [%p] %a ", "log_checkpoints": "off"}


class ServerError(Exception):
    """Something did not build, start or stop; the text is for the user."""


class Unavailable(ServerError):
    """This machine cannot have that server at all (no root, no mirror): for tests to skip, loudly."""


def run(*command, **options):
    """Its output; stderr is part of it."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    if done.returncode:
        text = f"{' '.join(str(part) for part in command)}: exit {done.returncode}\n{done.stdout.strip()}"
        raise (Unavailable(done.stdout.strip()) if done.returncode == CANNOT else ServerError(text))
    return done.stdout.strip()


def server_ids():
    """Of the user whom servers run as: PostgreSQL refuses root."""
    if os.geteuid():
        return os.geteuid(), os.getegid()
    user = pwd.getpwnam("postgres")
    return user.pw_uid, user.pw_gid


@functools.cache
def native_major():
    return int(run(os.environ.get("PG_CONFIG") or "pg_config", "--version").split()[1].split(".")[0])


class Native:
    """The server that PG_CONFIG names, built for in the checkout itself."""

    source = ROOT

    def __init__(self, name, pg_config):
        self.name, self.pg_config = name, pg_config
        # The checkout's own, also where several share their servers: two builds at once would mix their files.
        self.extension = BUILT / f"{name}.extension"

    def install(self):
        """Nothing to do: `make deps` did."""

    def command(self, command, folders=(), folder="/", as_server=False, die=None):
        """The argument list that runs a command where this server's files are; `folders` are seen there, to be written."""
        uid, gid = server_ids()
        user = ["--reuid", uid, "--regid", gid, "--clear-groups"] if as_server and uid != os.geteuid() else []
        death = ["--pdeathsig", die] if die else []
        privileges = ["setpriv", *user, *death, "--"] if user or death else []
        return [str(part) for part in (*privileges, "env", "-C", folder, "-u", "MAKEFLAGS", "-u", "MAKELEVEL",
                                       f"PATH={self.paths()['bindir']}:{os.environ['PATH']}", f"PG_CONFIG={self.pg_config}", *command)]

    @functools.cache
    def paths(self):
        names = ("bindir", "sharedir", "pkglibdir")
        return dict(zip(names, run(*self._pg_config(), *(f"--{name}" for name in names)).splitlines()))

    def _pg_config(self):
        return [self.pg_config]

    def refresh_source(self):
        """The checkout is its own source."""

    @contextlib.contextmanager
    def built(self):
        """The files of the built extension, which no other process builds anew meanwhile."""
        stage = self.extension / "stage"
        if not stage.exists():
            raise ServerError(f"the extension is not built for PostgreSQL {self.name}: prepare({self.name!r})")
        with open(self.extension / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield stage


class OutOfTree(Native):
    """Built for in a copy of the checkout, so that no object of one server's build is taken for another's."""

    @property
    def source(self):
        return self.extension / "source"

    def refresh_source(self):
        wanted = set()
        for line in run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES).split("\0"):
            if not line or not (ROOT / line).is_file():
                continue
            wanted.add(Path(line))
            old, new = self.source / line, ROOT / line
            if not old.exists() or old.stat().st_mtime_ns != new.stat().st_mtime_ns or old.stat().st_size != new.stat().st_size:
                old.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(new, old)
        for part in SOURCES:
            for old in (self.source / part).rglob("*"):
                if old.is_file() and old.suffix not in (".o", ".so", ".gcno", ".gcda") and old.relative_to(self.source) not in wanted:
                    old.unlink()


class FromSource(OutOfTree):
    """Built by source.sh."""

    def install(self):
        run(SOURCE_SH, "install", self.name)


class Chrooted(OutOfTree):
    def install(self):
        run(CHROOT_SH, "install", self.name)

    def command(self, command, folders=(), folder="/", as_server=False, die=None):
        options = [option for path in folders for option in ("--bind", path)]
        uid, gid = server_ids()
        if as_server or os.geteuid():
            options += ["--as", f"{uid}:{gid}"]
        if die:
            options += ["--die", die]
        return [str(part) for part in (CHROOT_SH, "run", self.name, *options, "--in", folder, "--", *command)]

    def _pg_config(self):
        return self.command(["pg_config"])


@functools.cache
def installation(major):
    if str(major) in FROM_SOURCE:
        return FromSource(major, SERVERS / str(major) / "bin/pg_config")
    if int(major) == native_major():
        return Native(int(major), os.environ.get("PG_CONFIG") or "pg_config")
    if int(major) in CHROOTED:
        return Chrooted(int(major), f"/usr/lib/postgresql/{major}/bin/pg_config")
    raise ServerError(f"no PostgreSQL {major}: PG_CONFIG is of {native_major()}, there are chroots for {CHROOTED}")


def prepare(major, variants=()):
    """Installs the server if need be, builds the extension for it, and the variants extension/<name>.so of its Makefile.

    Returns {name: path}. Cheap when nothing changed. Raises Unavailable where this machine cannot have that server.
    """
    server = installation(major)
    server.install()
    server.extension.mkdir(parents=True, exist_ok=True)
    with open(server.extension / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server.refresh_source()
        stage = server.extension / "stage"
        for part in (["all", *(f"{name}.so" for name in variants)], ["install", f"DESTDIR={stage}"]):
            run(*server.command(["make", "--no-print-directory", "-C", server.source / "extension", f"PG_CONFIG={server.pg_config}",
                                 *part], folders=[server.extension]))
    return {name: server.source / f"extension/{name}.so" for name in variants}


_ports = set()


def free_port():
    """Below the ephemeral ports; never one that this process gave out before, whose server may just be restarting."""
    for step in range(4000):
        port = 24000 + (os.getpid() * 2473 + step) % 4000  # far from those of processes started with us
        if port in _ports:
            continue
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _ports.add(port)
                return port
    raise ServerError("no free port")


class Server:
    """One cluster below `directory`, which the user postgres must be able to reach; prepare(major) went before.

    library: a variant's path from prepare(), in place of topk.so. settings: for postgresql.conf, beside SETTINGS; changes
    of the attribute take effect at the next start. wrapper: put before the command of the server (valgrind). initdb: more options of it.
    The context manager makes and starts the cluster, and stops it at the end; the folder stays for the caller to remove.
    """

    def __init__(self, major, directory, library=None, settings=None, *, wrapper=(), start_seconds=START_SECONDS, initdb=()):
        self.major, self.directory, self.library, self.wrapper = major, Path(directory).resolve(), library, wrapper
        self.initdb = initdb
        self.settings = {**SETTINGS, **{key: str(value) for key, value in (settings or {}).items()}}
        self.start_seconds = start_seconds
        self.installation = installation(major)
        self.port = None
        self.data, self.log = self.directory / "data", self.directory / "server.log"
        self.process = None

    def __enter__(self):
        if not self.data.exists():
            self.init()
        if not self.running():
            self.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stop("immediate")

    # --- The cluster's life ---

    def init(self):
        self._make_directory()
        self._run(self.bindir / "initdb", "--no-sync", "--no-instructions", "-D", self.data, "-U", "postgres", "-A", "trust",
                  "-E", "UTF8", "--locale=C", *self.initdb)
        with open(self.data / "postgresql.conf", "a") as configuration:
            configuration.write("include 'server.conf'\n")

    def start(self):
        if self.running():
            raise ServerError(f"{self.directory}: already running")
        self.configure()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self._command(*self.wrapper, self.bindir / "postgres", "-D", self.data, die="INT"),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            start_new_session=True, cwd="/")
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop("immediate")
            raise

    def configure(self):
        """Writes the settings; for who starts the server otherwise than by start(), pg_upgrade for one."""
        self.port = self.port or free_port()
        quoted = {key: str(value).replace("'", "''") for key, value in {**self.settings, "port": self.port}.items()}
        configuration = self.data / "server.conf"
        configuration.write_text("".join(f"{key} = '{value}'\n" for key, value in quoted.items()))
        os.chown(configuration, *server_ids())

    def _wait_until_it_answers(self):
        deadline = time.monotonic() + self.start_seconds
        while True:
            if self.process.poll() is not None:
                raise ServerError(f"{self.directory}: the server ended with exit code {self.process.returncode}\n{self.tail()}")
            with contextlib.suppress(psycopg2.OperationalError):
                self.connect().close()
                return
            if time.monotonic() > deadline:
                raise ServerError(f"{self.directory}: no answer in {self.start_seconds} s\n{self.tail()}")
            time.sleep(0.05)

    def stop(self, mode="fast", seconds=STOP_SECONDS):
        """smart, fast or immediate; the server's exit code, None if it was not running. SIGKILL and an error after a while."""
        if not self.process:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            self._signal(process, STOP_SIGNALS[mode])
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal(process, signal.SIGKILL)
            process.wait()
            raise ServerError(f"{self.directory}: {mode} stop took over {seconds} s\n{self.tail()}") from None

    def _signal(self, process, number):
        pid = process.pid
        if os.geteuid() and isinstance(self.installation, Chrooted):  # our child is sudo
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def standby(self, directory, settings=None):
        """A running server that streams from this one, with its library and, unless told otherwise, its settings."""
        replica = Server(self.major, directory, self.library, {**self.settings, **(settings or {})}, wrapper=self.wrapper,
                         start_seconds=self.start_seconds)
        replica._make_directory()
        basebackup = Path(self.installation.paths()["bindir"]) / "pg_basebackup"
        replica._run(basebackup, "-d", self.dsn(), "-D", replica.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        replica.start()
        return replica

    def wait_for_standby(self, replica, seconds=60):
        """Until the standby has replayed all that this server has written."""
        with contextlib.closing(self.connect()) as here, contextlib.closing(replica.connect()) as there:
            with here.cursor() as ask, there.cursor() as look:
                # a commit of our own: with it all before it is flushed, asynchronous commits too
                ask.execute("SET synchronous_commit = local")
                ask.execute("SELECT pg_logical_emit_message(true, 'wait_for_standby', ''::text)")
                ask.execute("SELECT pg_current_wal_flush_lsn()")
                (target,) = ask.fetchone()
                deadline = time.monotonic() + seconds
                while True:
                    look.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,))
                    if look.fetchone()[0]:
                        return
                    if time.monotonic() > deadline:
                        raise ServerError(f"the standby did not reach {target} in {seconds} s\n{replica.tail()}")
                    time.sleep(0.02)

    # --- Talking to it ---

    def dsn(self, dbname="postgres", **more):
        parts = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "dbname": dbname, "sslmode": "disable",
                 "connect_timeout": 10, **more}
        return psycopg2.extensions.make_dsn(**parts)

    def connect(self, dbname="postgres", **more):
        """In autocommit mode."""
        connection = psycopg2.connect(self.dsn(dbname, **more))
        connection.autocommit = True
        return connection

    def client(self, *command, dbname="postgres"):
        """The argument list that runs a client (psql, make installcheck, pg_prove) in the copy of the checkout, as ours or root."""
        there = {"PGHOST": "127.0.0.1", "PGPORT": self.port, "PGUSER": "postgres", "PGDATABASE": dbname}
        return self.installation.command(["env", *(f"{key}={value}" for key, value in there.items()), *command],
                                         folders=[self.installation.source], folder=self.installation.source)

    def tail(self, lines=30):
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else "(no log)"

    # --- Files ---

    @property
    def tree(self):
        return self.directory / "tree"

    @property
    def bindir(self):
        return self.tree / self.installation.paths()["bindir"].lstrip("/")

    def _command(self, *command, die=None):
        return self.installation.command(command, folders=[self.directory], as_server=True, die=die)

    def _run(self, *command):
        return run(*self._command(*command), cwd="/")

    def _make_directory(self):
        if self.data.exists():
            raise ServerError(f"{self.data} exists")
        self.directory.mkdir(parents=True, exist_ok=True)
        os.chown(self.directory, *server_ids())
        self.directory.chmod(0o755)
        try:
            self._run("test", "-w", self.directory)
        except ServerError:
            raise ServerError(f"the server's user cannot reach {self.directory}") from None
        self._plant_tree()

    def _plant_tree(self):
        paths = self.installation.paths()
        steps = [["mkdir", "-p", self.bindir]]
        for kind in ("sharedir", "pkglibdir"):
            target = self.tree / paths[kind].lstrip("/")
            steps += [["mkdir", "-p", target.parent], ["cp", "-rs", paths[kind], target]]
        for program in ("postgres", "initdb"):  # copies: the server resolves links to find where it is
            steps.append(["cp", Path(paths["bindir"]) / program, self.bindir])
        self._run("sh", "-c", " && ".join(shlex.join(map(str, step)) for step in steps))
        with self.installation.built() as stage:
            run("cp", "-a", "--remove-destination", f"{stage}/.", self.tree)
        if self.library:
            run("cp", "--remove-destination", self.library, self.tree / paths["pkglibdir"].lstrip("/") / "topk.so")


def _serve(major, directory, *settings):
    prepare(major)
    with Server(major, directory, settings=dict(pair.split("=", 1) for pair in settings)) as server:
        print(server.dsn(), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


def main(arguments):
    if len(arguments) >= 2 and arguments[0] == "prepare":
        for path in prepare(arguments[1], arguments[2:]).values():
            print(path)
    elif len(arguments) >= 3 and arguments[0] == "serve":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _serve(*arguments[1:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ServerError as error:
        print(f"servers.py: {error}", file=sys.stderr)
        sys.exit(CANNOT if isinstance(error, Unavailable) else 1)
