"""A server, a counter with a past, `topkd serve` before it, one browser; and after every test: nothing on the console, no request
that left the origin."""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), *(str(HERE.parent / folder) for folder in ("servers", "citizen", "e2e"))]

import servers  # noqa: E402
from browser import CHROMIUM, DRIVER, Browser  # noqa: E402
from harness import settings, topkd  # noqa: E402
from harness.clock import running_hour  # noqa: E402
from harness.wait import wait_until  # noqa: E402
from views import Views  # noqa: E402

MAJOR = servers.native_major()
COUNTED = []


def pytest_terminal_summary(terminalreporter):
    for line in COUNTED:
        terminalreporter.write_line(line)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed and "serve" in item.funcargs:
        serve = item.funcargs["serve"]
        report.sections.append(("end of the log of serve", serve.process.log_text()[-3000:]))
        shot = ROOT / "build/page" / f"failed-{item.name}.png"
        item.funcargs["browser"].screenshot(shot)
        report.sections.append(("what was on the screen", str(shot)))


@pytest.fixture
def count_up(request):
    """Notes what a test has measured, for the end of the run."""
    return lambda text: COUNTED.append(f"counted: {request.node.name}: {text}")


@pytest.fixture(scope="session")
def run_directory():
    for needed, how in ((settings.TOPKD, "make test-builds"), (CHROMIUM, "make deps"), (DRIVER, "make deps")):
        if not needed.exists():
            pytest.exit(f"{needed} is missing: {how}", 3)
    directory = Path(tempfile.mkdtemp(prefix="topk-page-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server(run_directory):
    servers.prepare(MAJOR)
    with servers.Server(MAJOR, run_directory / "server") as one:
        yield one


@pytest.fixture(scope="session")
def views(server):
    """Counters with views of now, of earlier hours, days and of last month, sealed up to the running hour."""
    made = Views(server)
    yield made
    made.close()


class Serve:
    """`topkd serve` on a port that it keeps when it is started again."""

    def __init__(self, directory, views):
        self.log, self.db = directory / "serve.log", views.conninfo()
        self.port, self.process = 0, None

    def start(self):
        self.process = topkd.Process(settings.TOPKD, ["serve", "--db", self.db, "--listen", f"127.0.0.1:{self.port}", "--max-connections", "1000"], self.log)

        def listening():
            assert self.process.alive(), self.process.log_text()
            return re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.process.log_text())
        self.port = int(wait_until(listening, 20, "serve listens")[1])

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def session_serve(run_directory, views):
    serve = Serve(run_directory, views)
    serve.start()
    yield serve
    assert serve.process.terminate() == 0


@pytest.fixture
def serve(session_serve, server):
    yield session_serve
    if not server.running():
        server.start()
    if session_serve.process.alive():
        session_serve.process.wake()
    else:
        session_serve.start()


@pytest.fixture(scope="session")
def session_browser(run_directory):
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def expected_console():
    """A test that breaks things adds patterns of what the browser may say about it."""
    return []


@pytest.fixture(autouse=True)
def room_in_the_hour():
    """What a test counts and what the page shows are of one hour."""
    running_hour()


@pytest.fixture
def browser(session_browser, serve, expected_console):
    session_browser.driver.get("about:blank")
    session_browser.look()
    session_browser.console(), session_browser.requests()
    yield session_browser
    console = [entry for entry in session_browser.console() if not any(re.search(pattern, entry["message"]) for pattern in expected_console)]
    assert not console, console
    requests = session_browser.requests()
    assert requests, "the log of requests is empty"
    # data: what Chromium draws its own inputs with
    left = [url for url in requests if not url.startswith((f"{serve.origin}/", "about:blank", "data:"))]
    assert not left, left


@pytest.fixture(scope="session")
def axe():
    """The text of axe-core."""
    path = subprocess.run([HERE / "axe.sh"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return Path(path).read_text()
