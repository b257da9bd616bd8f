"""One broker and one PostgreSQL for the session, one topic and one database a test, and the logs' tails on failure."""
import re
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import cluster, kafka, ports, proxy, settings, topkd  # noqa: E402


def pytest_report_header():
    return (f"E2E_SEED={settings.SEED} E2E_EVENTS={settings.EVENTS} E2E_KILLS={settings.KILLS} "
            f"TOPKD={settings.TOPKD} TOPKD_FAULTY={settings.TOPKD_FAULTY}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    launcher = item.funcargs.get("launcher")
    for log, tail in launcher.log_tails() if launcher else ():
        report.sections.append((f"tail of {log}", tail))
    postgres = item.funcargs.get("postgres")
    if postgres and postgres.log.exists():
        report.sections.append(("tail of the server's log", "\n".join(postgres.log.read_text(errors="replace").splitlines()[-40:])))
    report.sections.append(("seed", f"E2E_SEED={settings.SEED}"))


@pytest.fixture(scope="session")
def run_directory():
    directory = Path(tempfile.mkdtemp(prefix="topk-e2e-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    if settings.KEEP:
        print(f"\nkept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def binaries():
    for binary in (settings.TOPKD, settings.TOPKD_FAULTY):
        if not binary.exists():
            pytest.exit(f"{binary} is not built; `make test-builds` does", 3)


@pytest.fixture(scope="session")
def session_broker(run_directory):
    broker = kafka.Broker(run_directory / "kafka", ports.free_port(19192))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def broker(session_broker):
    yield session_broker
    session_broker.start()  # nothing to do unless the test left it dead


@pytest.fixture(scope="session")
def session_postgres(run_directory):
    server = cluster.Cluster(run_directory / "postgres", ports.free_port(30000))
    server.init()
    server.start()
    yield server
    if server.running():
        server.stop("immediate")


@pytest.fixture
def postgres(session_postgres):
    yield session_postgres
    if not session_postgres.running():
        session_postgres.start()


@pytest.fixture
def test_name(request):
    """Usable as a name everywhere: topic, database (63 bytes at most), folder."""
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower().removeprefix("test_")).strip("_")
    return name if len(name) <= 55 else f"{name[:46]}_{zlib.crc32(name.encode()):08x}"


@pytest.fixture
def empty_database(postgres, test_name):
    """Extension created, no counter."""
    database = cluster.Database(postgres, test_name)
    database.create()
    yield database
    if not postgres.running():
        postgres.start()
    if not settings.KEEP:
        database.drop()


@pytest.fixture
def database(empty_database):
    """With the counter video_views."""
    empty_database.create_counter()
    return empty_database


@pytest.fixture
def topic(broker, test_name):
    """Four partitions."""
    return broker.create_topic(test_name, 4)


@pytest.fixture
def launcher(binaries, run_directory, test_name, broker, postgres, request):
    directory = run_directory / test_name
    directory.mkdir()
    started = topkd.Launcher(directory, broker.address)
    yield started
    started.end_all()


@pytest.fixture
def proxied(postgres):
    """Makes proxies in front of the server; all are closed at the end."""
    made = []

    def make():
        made.append(proxy.Proxy(postgres.port))
        return made[-1]
    yield make
    for one in made:
        one.close()
