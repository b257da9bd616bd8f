#!/usr/bin/python3
"""Which lines of the index no test executes: each must have a reason in unreached.txt.

Builds a copy of the checkout for the machine's own PostgreSQL, without optimisation and with gcov's counters, runs the regression and
isolation tests and this folder's, and lists the lines of extension/src/index that were not executed and that unreached.txt does not
name. Fails if there is one. Needs gcovr; some ten minutes on two cores. The copy stays below build/coverage.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPY = ROOT / "build/coverage/checkout"
OBJECTS = COPY / "extension/src"
# What a session needs to meet everything, without the long ones
SIZES = {"TOPK_READERS": "1000", "TOPK_STANDBY_READERS": "150", "TOPK_CRASHES": "2", "TOPK_DAMAGES": "240", "TOPK_SIZE": "0.1"}


def copy_checkout():
    """Of the files that git knows; new objects, and no counters of an earlier run."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    subprocess.run(["git", "init", "-q"], cwd=COPY, check=True)  # the tests ask git which files are theirs


def run_tests():
    os.environ.update(TOPK_SERVERS=str(COPY / "build/servers"), PROFILE="--coverage", EXTRA_CXXFLAGS="--coverage -O0", **SIZES)
    sys.path.insert(0, str(COPY / "tests/servers"))
    import servers
    major = servers.native_major()
    servers.prepare(major)
    subprocess.run(["chmod", "-R", "a+rwX", OBJECTS], check=True)  # the server's processes write the counters, as another user
    with tempfile.TemporaryDirectory(prefix="topk-coverage-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o755)
        with servers.Server(major, Path(parent) / "pg") as server:
            subprocess.run(server.client("make", "-C", "extension", "installcheck"), check=True)
            server.stop("fast")  # processes write their counters when they end in order
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/index"], check=True, cwd=COPY,
                   env={**os.environ, "TOPK_MAJORS": str(major)})


def unreached():
    """[(file, line number, text)] and the number of all lines."""
    report = subprocess.run(["gcovr", "-r", OBJECTS, "--json", "-", OBJECTS], check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, cwd=COPY / "extension").stdout
    lines, number = [], 0
    for source in json.loads(report)["files"]:
        name = source["file"].removeprefix("src/")
        if name.startswith("index/"):
            text = (OBJECTS / name).read_text().splitlines()
            counted = [line for line in source["lines"] if not line.get("gcovr/noncode")]
            number += len(counted)
            lines += [(name.removeprefix("index/"), line["line_number"], text[line["line_number"] - 1].strip())
                      for line in counted if not line["count"]]
    return lines, number


def reasons():
    """[(file, beginning of a line)]"""
    lines = (HERE / "unreached.txt").read_text().splitlines()
    return [tuple(line.split(": ", 1)) for line in lines if line and not line.startswith("#")]


def main():
    if not shutil.which("gcovr"):
        print("coverage.py: there is no gcovr; apt-get install gcovr", file=sys.stderr)
        return 2
    if sys.argv[1:] != ["--report"]:
        copy_checkout()
        run_tests()
    lines, number = unreached()
    named = reasons()
    missing = [line for line in lines if not any(line[0] == name and line[2].startswith(text) for name, text in named)]
    for name, place, text in missing:
        print(f"FAILED {name}:{place}: no test executes: {text}")
    print(f"counted: {number} lines of the index, {len(lines)} of them executed by no test, {len(missing)} without a reason")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
