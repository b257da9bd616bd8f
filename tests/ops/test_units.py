"""The systemd units as `make install-units` lays them: systemd-analyze finds nothing wrong, and rates them well exposed to nothing."""
import re
import shutil
import subprocess

import pytest
from programs import ROOT, TOPKD

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
