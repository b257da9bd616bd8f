"""One PostgreSQL for the session, a database a test; a failure tells the seed and the last steps of the schedule."""
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import settings  # noqa: E402
from harness import cluster, ports  # noqa: E402

COUNTED = []


def pytest_report_header():
    return f"MODEL_SEED={settings.SEED} MODEL_STEPS={settings.STEPS} MODEL_ROUNDS={settings.ROUNDS}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        report.sections.append(("last steps", "\n".join(item.funcargs.get("steps_log", ())[-12:])))


def pytest_terminal_summary(terminalreporter):
    for line in COUNTED:
        terminalreporter.write_line(f"counted: {line}")


@pytest.fixture(scope="session")
def server():
    directory = Path(tempfile.mkdtemp(prefix="topk-model-"))
    directory.chmod(0o755)  # the server runs as another user
    one = cluster.Cluster(directory / "postgres", ports.free_port(31000))
    one.init()
    one.start()
    yield one
    if one.running():
        one.stop("immediate")
    if settings.KEEP:
        print(f"\nkept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(server, request):
    if not server.running():
        server.start()
    one = KeptDatabase(server, f"model_{zlib.crc32(request.node.name.encode()):08x}")
    one.create()
    yield one
    one.close()
    if not settings.KEEP:
        one.drop()


@pytest.fixture
def steps_log():
    return []


class KeptDatabase(cluster.Database):
    """Keeps one session for its questions: a schedule asks tens of thousands. A server that was restarted gets a new one."""

    session = None

    def query(self, sql, *parameters, user="postgres"):
        if self.session is None or self.session.closed:
            self.session = self.cluster.connect(self.name, user)
        with self.session.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        if self.session is not None:
            self.session.close()
        self.session = None
