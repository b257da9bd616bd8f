"""A server for the session with one world of counters, `topkd serve` before it, and the ends of the logs on failure."""
import contextlib
import functools
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "servers"), str(HERE.parent / "e2e"), str(HERE.parent / "citizen")]

import servers  # noqa: E402
import web  # noqa: E402
from database import Database  # noqa: E402
from feed import Feed  # noqa: E402
from harness import settings  # noqa: E402
from harness.clock import running_hour  # noqa: E402
from serving import Serve, conninfo, make_reader  # noqa: E402
from world import World  # noqa: E402

MAJOR = servers.native_major()
SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all", "pg_stat_statements.max": "10000",
            "max_connections": "100", "deadlock_timeout": "100ms", "autovacuum": "off", "log_min_error_statement": "panic"}
STARTED, COUNTED = [], []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for one in STARTED:
            lines = one.log.read_text(errors="replace").splitlines()[-25:] if one.log.exists() else []
            report.sections.append((f"end of {one.log}", "\n".join(line[:500] for line in lines)))


def pytest_terminal_summary(terminalreporter):
    for line in COUNTED:
        terminalreporter.write_line(line)


@pytest.fixture
def count_up(request):
    """Notes what a test has measured, for the end of the run."""
    return lambda text: COUNTED.append(f"counted: {request.node.name}: {text}")


@pytest.fixture(scope="session")
def run_directory():
    if not settings.TOPKD.exists():
        pytest.exit(f"{settings.TOPKD} is not built; `make test-builds` does", 3)
    directory = Path(tempfile.mkdtemp(prefix="topk-serve-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    for one in reversed(STARTED):
        one.kill() if isinstance(one, Serve) else one.stop("immediate")
    if settings.KEEP:
        print(f"\nkept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def prepare():
    return servers.prepare(MAJOR)


@pytest.fixture(scope="session")
def make_server(run_directory):
    """A started server; ends with the session."""
    def make(name, **more):
        prepare()
        one = servers.Server(MAJOR, run_directory / name, settings={**SETTINGS, **more})
        STARTED.append(one)
        return one.__enter__()
    return make


@pytest.fixture(scope="session")
def server(make_server):
    return make_server("server")


@pytest.fixture(scope="session")
def world(server):
    """Counters that no test changes."""
    database = Database(server, "world")
    database.create()
    made = World(database)
    yield made
    database.close()


@pytest.fixture
def new_database(server, test_name):
    """A test's own: with the counters of these names, which the reader may read."""
    made = []

    def make(*counters, on=None):
        database = Database(on or server, f"{test_name}_{len(made)}"[-60:])
        made.append(database)
        database.create()
        database.execute("CREATE EXTENSION topk")
        database.execute("CREATE EXTENSION pg_stat_statements")
        for counter in counters:
            database.execute("SELECT topk.create_counter(%s)", counter)
        make_reader(database, *counters)
        return database
    yield make
    for database in made:
        database.close()
        if database.server.running():
            database.drop()


@pytest.fixture
def database(new_database):
    """One with a counter: 300 videos in the running hour, `hour`, and `feed` for more."""
    made = new_database("video_views")
    made.feed, made.hour = Feed(made, "video_views"), running_hour()
    made.feed.flush({(made.hour, f"vid_{n:03}"): 1000 - n for n in range(300)}, watermark=made.hour)
    return made


@pytest.fixture
def start_serve(run_directory, test_name):
    """Starts processes of serve for one test."""
    started = []
    directory = run_directory / f"{test_name}_serve"
    directory.mkdir(exist_ok=True)

    def start(database, *more, ready=True, user="reader", **options):
        where = database if isinstance(database, str) else conninfo(database, user)
        one = Serve(directory, where, *more, **{"name": f"serve{len(started)}", **options})
        started.append(one)
        STARTED.append(one)
        return one.ready() if ready else one
    yield start
    for one in started:
        one.kill()
        STARTED.remove(one)


@pytest.fixture(scope="session")
def serve(run_directory, world):
    """One that answers without a cache for the counters of the world; must be alive afterwards."""
    one = Serve(run_directory, conninfo(world.database, password="Xyzzy0"), "--cache", "0").ready()
    STARTED.append(one)
    yield one
    assert one.alive(), one.log_text()[-3000:]
    assert one.terminate() == 0


@pytest.fixture(scope="session")
def quiet_stream(serve):
    """Of a list that never changes, from early on."""
    def read():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # closed below
            stream.event()

    with web.Stream(serve.address, limit=None, window="all_time", counter="empty_views") as stream:
        stream.next_list()
        stream.begun = time.monotonic()
        threading.Thread(target=read, daemon=True).start()
        yield stream


@pytest.fixture
def test_name(request):
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower().removeprefix("test_")).strip("_")
    return name[:45]
