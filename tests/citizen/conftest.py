"""A server of each major for the session, databases for each test, and the end of the server's log on failure."""
import functools
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "servers"), str(HERE.parent / "e2e")]

import servers  # noqa: E402
from database import Database  # noqa: E402

NEWEST = max(servers.CHROOTED)
MAJORS = [int(major) for major in os.environ.get("TOPK_MAJORS", f"{servers.native_major()} {NEWEST}").split()]
KEEP = os.environ.get("CITIZEN_KEEP")
SETTINGS = {"wal_level": "logical", "max_worker_processes": "20", "max_logical_replication_workers": "12", "max_replication_slots": "20"}


def pytest_generate_tests(metafunc):
    if "major" in metafunc.fixturenames:
        metafunc.parametrize("major", MAJORS, ids=[f"pg{major}" for major in MAJORS])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for one in STARTED:
            report.sections.append((f"end of {one.log}", "\n".join(line[:500] for line in one.tail(40).splitlines())))


STARTED = []


@functools.cache  # a checkout that is edited meanwhile stays out of the run
def prepare(major):
    try:
        return servers.prepare(major)
    except servers.Unavailable as error:
        pytest.skip(f"no PostgreSQL {major} here: {error}")


@pytest.fixture(scope="session")
def run_directory():
    directory = Path(tempfile.mkdtemp(prefix="topk-citizen-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    for one in STARTED:
        if one.running():
            one.stop("immediate")
    if KEEP:
        print(f"\nkept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def make_server(run_directory):
    """A new cluster that is not started yet; ends with the session."""
    def make(major, name, **options):
        prepare(major)
        one = servers.Server(major, run_directory / name, **options)
        one.init()
        STARTED.append(one)
        return one
    return make


@pytest.fixture(scope="session")
def server_of(make_server):
    @functools.cache
    def started(major):
        one = make_server(major, f"server-{major}", settings=SETTINGS)
        one.start()
        return one
    return started


@pytest.fixture
def server(server_of, major):
    return server_of(major)


@pytest.fixture
def new_database(server, request):
    """Databases of the test, dropped after it."""
    test = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower())[:40].strip("_")
    made = []

    def make(name, extension="CREATE EXTENSION topk", options=""):
        database = Database(server, f"{test}_{name}")
        database.create(options)
        made.append(database)
        if extension:
            database.execute(extension)
        return database
    yield make
    for database in made:
        database.close()
        if not KEEP:
            database.drop()
