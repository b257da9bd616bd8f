"""`topkd serve` as a process of a test, and the databases that it serves."""
import contextlib
import os
import re
import threading
import time
from pathlib import Path

import web
from database import Database
from harness import settings, topkd
from harness.wait import wait_until

READER = "reader"
ESTABLISHED = ("01", "08")  # the latter: the client has closed its side


class Serve(topkd.Process):
    """Listens on a free port unless `listen` says otherwise; started when it says where. `limit` None: as many clients as it takes by itself."""

    def __init__(self, directory, conninfo, *more, name="serve", listen=("127.0.0.1:0",), environment=None, prefix=(), limit=2000):
        addresses = [word for address in listen for word in ("--listen", address)]
        limited = [] if limit is None or "--max-connections" in more else ["--max-connections", str(limit)]
        command = [str(settings.TOPKD), "serve", "--db", conninfo, *addresses, *limited, *more]
        super().__init__([*prefix, *command][0], [*prefix, *command][1:], Path(directory) / f"{name}.log", environment)
        self.listen = listen
        self.addresses = []

    def ready(self, limit=20):
        """Waits until it listens."""
        def told():
            if not self.alive():
                raise AssertionError(f"serve ended with exit code {self.exit_code}:\n{self.log_text()[-3000:]}")
            found = re.findall(r"listening on (?:http://)?(\S+)", self.log_text())
            return found if len(found) >= len(self.listen) else None
        self.addresses = wait_until(told, limit, "serve listens")
        return self

    @property
    def address(self):
        return self.addresses[0]

    def files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def connections(self):
        """Of clients over TCP, whose requests were all read; those that were accepted are in the process's hands."""
        port = f"{web.split(self.address)[1]:04X}"
        rows = [line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(f":{port}") and row[3] in ESTABLISHED and row[4].endswith(":00000000") for row in rows)

    def get(self, to, **headers):
        return web.get(self.address, to, **headers)

    def top(self, **parameters):
        return web.get(self.address, web.target(**parameters))


def conninfo(database, user=READER, **more):
    return database.server.dsn(database.name, **{"user": user, **more})


def make_reader(database, *counters):
    if not database.query("SELECT 1 FROM pg_roles WHERE rolname = %s", READER):
        database.execute(f"CREATE ROLE {READER} LOGIN")
    for counter in counters:
        database.execute("SELECT topk.grant_access(%s, 'read', %s)", READER, counter)


class Expected:
    """What a list is by SQL: its rows, or its SQLSTATE."""

    def __init__(self, database, window, k=None, at=None, counter=None):
        import psycopg2
        self.rows, self.sqlstate = None, None
        try:
            self.rows = database.query("SELECT video_id, views FROM topk.top(%s, coalesce(%s, 10), %s::timestamptz, coalesce(%s, 'video_views')) ORDER BY rank",
                                       window, k, at, counter)
        except psycopg2.Error as error:
            self.sqlstate = error.pgcode


def calls(database, like="%topk.top(%"):
    """How often statements with this text were executed, by the reader."""
    return database.value("SELECT coalesce(sum(s.calls), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid"
                          " WHERE r.rolname = %s AND d.datname = current_database() AND s.query LIKE %s AND s.query LIKE '%%window_state%%'", READER, like)


@contextlib.contextmanager
def queries_held(database, table="video_views_hour"):
    """Nobody reads the counter meanwhile: queries under way wait for the end of this."""
    with contextlib.closing(database.connect()) as session, session.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        cursor.execute("ROLLBACK")


def waiting_queries(database):
    """The reader's queries that wait for a lock."""
    return database.value("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = current_database() AND wait_event_type = 'Lock'", READER)


class Asked:
    """Requests sent on connections of their own, and read by the server; the answers are taken later."""

    def __init__(self, serve, targets):
        before = serve.connections()
        self.sockets = [web.connect(serve.address) for _ in targets]
        for one, to in zip(self.sockets, targets):
            one.sendall(f"GET {to} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(lambda: serve.connections() >= before + len(targets), 10, "all requests are read")

    def answers(self):
        found = [web.read_answer(one) for one in self.sockets]
        for one in self.sockets:
            one.close()
        return found


class Crowd:
    """Calls run side by side; results() waits for all and gives what they returned, an error is raised there."""

    def __init__(self, functions):
        self._results, self._threads = {}, []
        for number, function in enumerate(functions):
            self._threads.append(threading.Thread(target=self._run, args=(number, function), daemon=True))
        for thread in self._threads:
            thread.start()

    def _run(self, number, function):
        try:
            self._results[number] = function()
        except BaseException as error:  # noqa: B036: told to who asks
            self._results[number] = error

    def results(self, limit=60):
        deadline = time.monotonic() + limit
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
            assert not thread.is_alive(), f"not done within {limit} s"
        for result in self._results.values():
            if isinstance(result, BaseException):
                raise result
        return [self._results[number] for number in range(len(self._threads))]
