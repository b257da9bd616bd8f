"""topkd's programs as far as this layer needs them: they serve their metrics without a database, a broker or a topic."""
import contextlib
import os
import re
import subprocess
import urllib.request
from pathlib import Path

from harness.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
TOPKD = Path(os.environ.get("TOPKD") or ROOT / "build/daemon/topkd")
NOWHERE = "127.0.0.1:9"  # nobody listens on the discard port
START_SECONDS = 20

PROGRAMS = {
    "ingest": ["ingest", "--db", "host=127.0.0.1 port=9", "--brokers", NOWHERE, "--startup-timeout", "10min", "--metrics-listen", "127.0.0.1:0"],
    "serve": ["serve", "--db", "host=127.0.0.1 port=9", "--listen", "127.0.0.1:0"]}


@contextlib.contextmanager
def running(program, log):
    """The address of a program's metrics."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOPKD_")}
    with open(log, "w") as out:
        process = subprocess.Popen([TOPKD, *PROGRAMS[program]], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        found = wait_until(lambda: re.search(r"http://(127\.0\.0\.1:\d+)", log.read_text()) or process.poll() is not None, START_SECONDS, "an address")
        assert process.poll() is None, log.read_text()
        yield found[1]
    finally:
        process.kill()
        process.wait()


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        return response.read().decode()


def promtool(*arguments, **options):
    """Exit code and output; promtool says what it finds on both streams."""
    done = subprocess.run(["promtool", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return done.returncode, done.stdout
