"""The systemd units as `make install-units` lays them: systemd-analyze finds nothing wrong, and rates them well exposed to nothing."""
import functools
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness.wait import wait_until
from programs import ROOT, TOPKD, Running, topkd
from topk_database import READ_PASSWORD

UNITS = ("topkd-ingest@.service", "topkd-serve@.service")
EXPOSURE_AT_MOST = 1.5  # 0 to 10; systemd calls it OK below 4

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The installed tree's folder of units; their program is the built one, which need not be installed."""
    tree = tmp_path_factory.mktemp("units")
    subprocess.run(["make", "--no-print-directory", "-C", ROOT, "install-units", f"DESTDIR={tree}"], check=True, stdout=subprocess.DEVNULL)
    folder = tree / "usr/local/lib/systemd/system"
    assert sorted(path.name for path in folder.iterdir()) == sorted(UNITS)
    for unit in folder.iterdir():
        text = unit.read_text()
        assert "\nExecStart=/usr/local/bin/topkd " in text
        unit.write_text(text.replace("/usr/local/bin/topkd", str(TOPKD)))
    return folder


def analyze(folder, *arguments):
    return subprocess.run(["systemd-analyze", *arguments], env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_verify(units):
    done = analyze(units, "verify", "--man=no", *(unit.replace("@", "@name") for unit in UNITS))
    assert (done.returncode, done.stdout) == (0, "")


def test_verify_can_fail(units, tmp_path):
    shutil.copytree(units, tmp_path / "spoilt")
    unit = tmp_path / "spoilt" / UNITS[0]
    unit.write_text(unit.read_text().replace("DynamicUser=yes", "DynamicUsr=yes"))
    assert "DynamicUsr" in analyze(unit.parent, "verify", "--man=no", UNITS[0].replace("@", "@name")).stdout


@pytest.mark.parametrize("unit", UNITS)
def test_exposure(units, unit):
    done = analyze(units, "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    print(f"\n{found[0]}")
    assert float(found[1]) <= EXPOSURE_AT_MOST, done.stdout


# --- The system calls that the units allow are enough ---

@functools.cache
def calls_of(group):
    """A group's system calls, of its groups, too."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], check=True, stdout=subprocess.PIPE, text=True).stdout
    names = {line.strip() for line in text.splitlines()[1:] if re.fullmatch(r" +@?[a-z0-9_-]+", line)}
    return {call for name in names for call in (calls_of(name) if name.startswith("@") else [name])}


def allowed(unit):
    """By the unit's SystemCallFilter lines; what every process needs anyhow is in @default."""
    calls = set(calls_of("@default"))
    for line in re.findall(r"^SystemCallFilter=(.*)$", (ROOT / "docker/systemd" / unit).read_text(), re.MULTILINE):
        groups = set().union(*(calls_of(group) for group in line.removeprefix("~").split()))
        calls = calls - groups if line.startswith("~") else calls | groups
    return calls


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
def test_system_calls(database, kafka, tmp_path):
    """A whole life of ingest, with TLS on both sides, and one of serve."""
    kafka.create_topic("traced")
    database.make_counter("traced")
    topkd("produce", "--brokers", f"127.0.0.1:{kafka.plain}", "--topic", "traced", "--count", 1000).expect_success()
    trace = ["strace", "-f", "-qq", "-e", "signal=none", "-o"]
    ingest = Running("ingest", "--db", database.conninfo("topk_ingest", **database.with_certificate()), "--counter", "traced", "--topic", "traced",
                     "--brokers", f"localhost:{kafka.secure}", "--exit-at-end", *(f"--kafka={pair}" for pair in kafka.plain_login()),
                     wrapper=[*trace, tmp_path / "ingest"])
    ingest.end().expect_success()
    serve = Running("serve", "--db", database.conninfo("topk_read", password=READ_PASSWORD), "--counter", "traced", "--listen", f"unix:{tmp_path}/http",
                    wrapper=[*trace, tmp_path / "serve"])
    wait_until((tmp_path / "http").exists, 30, "serve does not listen")
    get = ["curl", "-sS", "--max-time", "10", "--unix-socket", tmp_path / "http"]
    for path in ("/views/top-k?window=all_time", "/readyz", "/metrics", "/"):
        subprocess.run([*get, f"http://serve{path}"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.kill(next(child_of(serve.process.pid)), signal.SIGTERM)
    serve.end().expect_success()
    for unit, file in zip(UNITS, ("ingest", "serve")):
        made = set(re.findall(r"^\d+\s+(\w+)\(", (tmp_path / file).read_text(), re.MULTILINE))
        assert "sendto" in made and not made - allowed(unit)
    assert allowed(UNITS[0]) & {"read", "sendto"} and not allowed(UNITS[0]) & {"mount", "ptrace", "reboot", "setuid"}


def child_of(pid):
    yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
