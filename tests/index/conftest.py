"""A server of every major for the session, a database a test, and the end of the server's log on failure."""
import functools
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "servers"), str(HERE.parent / "e2e")]

import servers  # noqa: E402
import settings  # noqa: E402

COUNTED = []


def pytest_report_header():
    return " ".join(f"TOPK_{name}={getattr(settings, name)}" for name in
                    ("SEED", "METHOD", "MAJORS", "READERS", "STANDBY_READERS", "CONTROL_READERS", "MERGES", "SNAPSHOTS", "ROLLED_ROWS", "ROLL_UP_KILLS", "UPSERTS", "CRASHES", "DAMAGES", "SIZE", "ASSERT"))


def pytest_ignore_collect(collection_path):
    # Without summarizing indexes (before 16) an entry never outlives an update: nothing for the controls to break
    return collection_path.name == "test_controls.py" and max(settings.MAJORS) < 16


def pytest_generate_tests(metafunc):
    if "major" in metafunc.fixturenames:
        majors = [m for m in settings.MAJORS if m >= 16 or metafunc.module.__name__ != "test_controls"]
        metafunc.parametrize("major", majors, ids=[f"pg{m}" for m in majors], scope="session")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for server in getattr(item.funcargs.get("start"), "started", ()):
            report.sections.append((f"end of {server.log}", server.tail(40)))
        report.sections.append(("seed", f"TOPK_SEED={settings.SEED}"))


@pytest.fixture(scope="session")
def run_directory():
    directory = Path(tempfile.mkdtemp(prefix="topk-index-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    if settings.KEEP:
        print(f"\nkept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def variants(major):
    """Paths of the broken builds, by name."""
    return prepare(major, settings.VARIANTS)


def server_name(major):
    return f"{major}-assert" if settings.ASSERT else major


@functools.cache  # a checkout that is edited meanwhile stays out of the run
def prepare(major, names=()):
    try:
        return servers.prepare(server_name(major), names)
    except servers.Unavailable as error:
        pytest.skip(f"no PostgreSQL {major} here: {error}")


@pytest.fixture
def start(run_directory, test_name, major):
    """Starts servers of the major for one test."""
    prepare(major)

    def make(name="server", library=None, **more):
        server = servers.Server(server_name(major), run_directory / test_name / name, library, {**settings.STORM_SETTINGS, **more})
        make.started.append(server)
        return server.__enter__()
    make.started = []
    (run_directory / test_name).mkdir()
    (run_directory / test_name).chmod(0o755)
    yield make
    for server in make.started:
        if server.running():
            server.stop("immediate")
    if not settings.KEEP:
        shutil.rmtree(run_directory / test_name, ignore_errors=True)


@pytest.fixture
def count_up(request):
    """Notes what a test has done, for the end of the run."""
    return lambda text: COUNTED.append(f"counted: {request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter):
    for line in COUNTED:
        terminalreporter.write_line(line)


@pytest.fixture
def test_name(request):
    return re.sub(r"[^a-z0-9]+", "_", request.node.name.lower().removeprefix("test_")).strip("_")[:50]
