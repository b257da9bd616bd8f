#!/usr/bin/python3
"""Which lines and branches of the index no test reaches: each must have a reason in unreached.txt.

    coverage.py [MAJOR]              default: the machine's own PostgreSQL
    coverage.py --report [MAJOR]     of what ran before

Builds a copy of the checkout without optimisation and with gcov's counters, runs the regression and isolation tests and this folder's, and
lists the lines of extension/src/index that were not executed, or of which a branch was never taken, and that unreached.txt does not
name. Fails if there is one, and if unreached.txt names a line that is not in the source. Some fifteen minutes on two cores. The copy stays
below build/coverage.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPY = ROOT / "build/coverage/checkout"
# What a session needs to meet everything, without the long ones
SIZES = {"TOPK_READERS": "1000", "TOPK_STANDBY_READERS": "150", "TOPK_CRASHES": "2", "TOPK_DAMAGES": "240", "TOPK_SIZE": "0.1"}
# Macros of PostgreSQL's headers; their branches are not ours. The latter are inline functions from 16 on, where these lines count.
MACROS = (r"\b(ereport|elog|CHECK_FOR_INTERRUPTS|foreach|COMP_CRC32C|RelationNeedsWAL|VARSIZE_ANY|VARSIZE_ANY_EXHDR|VARATT_IS_EXTERNAL_ONDISK"
          r"|TOPK_SQL_FUNCTION)\b")
MACROS_15 = MACROS + r"|\b(BufferGetPage|index_getattr|HeapTupleHeaderGetXmin|HeapTupleHeaderGetUpdateXid)\b"


def copy_checkout():
    """Of the files that git knows; new objects, and no counters of an earlier run."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    subprocess.run(["git", "init", "-q"], cwd=COPY, check=True)  # the tests ask git which files are theirs


def objects(server):
    """Where they lie, and where the server's processes write their counters: under the same path, but in a chroot if they are in one."""
    folder = server.source / "extension/src"
    return folder, folder if server.name == servers.native_major() else servers.SERVERS / str(server.name) / folder.relative_to("/")


def run_tests(server):
    servers.prepare(server.name)
    for folder in objects(server):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)  # the server's processes are another user's
        for file in folder.rglob("*.gcda"):  # of an earlier run
            file.unlink()
    with tempfile.TemporaryDirectory(prefix="topk-coverage-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o755)
        with servers.Server(server.name, Path(parent) / "pg") as running:
            subprocess.run(running.client("make", "-C", "extension", "installcheck"), check=True)
            running.stop("fast")  # processes write their counters when they end in order
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/index"], check=True, cwd=COPY,
                   env={**os.environ, **SIZES, "TOPK_MAJORS": str(server.name)})


def counted(server):
    """{(file, line number): [how often, {number of branches: how often each}]} of the index; templates and inline functions once."""
    folder, counters = objects(server)
    if counters != folder:
        for file in counters.rglob("*.gcda"):
            shutil.copy2(file, folder / file.relative_to(counters))
    files = [file.relative_to(folder) for file in folder.rglob("*.gcda") if "." not in file.stem]  # not of the variants
    output = subprocess.run(server.command(["gcov", "--json-format", "--stdout", "--branch-probabilities", *files],
                                           folders=[server.extension], folder=folder),
                            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    lines = collections.defaultdict(lambda: [0, {}])
    for unit in map(json.loads, output.splitlines()):
        for source in unit["files"]:
            name = Path(os.path.normpath(source["file"]))
            if name.parts[:2] != ("src", "index"):
                continue
            for line in source["lines"]:
                entry = lines[name.name, line["line_number"]]
                entry[0] += line["count"]
                taken = [branch["count"] for branch in line["branches"]]
                known = entry[1].setdefault(len(taken), [0] * len(taken))
                entry[1][len(taken)] = [a + b for a, b in zip(known, taken)]
    return lines


def unreached(server):
    """[(file, line number, text, how)], the number of all lines and that of all branches."""
    missed, branches = [], 0
    text = {file.name: file.read_text().splitlines() for file in (COPY / "extension/src/index").iterdir() if file.suffix in (".cpp", ".h")}
    lines = counted(server)
    for (name, number), (count, taken) in sorted(lines.items()):
        line = text[name][number - 1].strip()
        known = [] if re.search(MACROS_15 if server.name == 15 else MACROS, line) else [branch for branches_of in taken.values() for branch in branches_of]
        branches += len(known)
        if not count:
            missed.append((name, number, line, "no test executes"))
        elif not all(known):
            missed.append((name, number, line, f"no test takes {known.count(0)} of {len(known)} branches"))
    return missed, len(lines), branches


def reasons():
    """[(file, beginning of a line)]"""
    lines = (HERE / "unreached.txt").read_text().splitlines()
    return [tuple(line.split(": ", 1)) for line in lines if line and not line.startswith("#")]


def main():
    arguments = sys.argv[1:]
    is_report = arguments[:1] == ["--report"]
    if not is_report:
        copy_checkout()
    os.environ.update(TOPK_SERVERS=os.environ.get("TOPK_SERVERS") or str(ROOT / "build/servers"), PROFILE="--coverage",
                      EXTRA_CXXFLAGS="--coverage -O0")
    os.environ.pop("TOPK_BUILD", None)
    sys.path.insert(0, str(COPY / "tests/servers"))
    global servers
    import servers
    server = servers.installation(int(arguments[is_report]) if len(arguments) > is_report else servers.native_major())
    if not is_report:
        run_tests(server)
    missed, lines, branches = unreached(server)
    named = reasons()
    without = [line for line in missed if not any(line[0] == name and line[2].startswith(text) for name, text in named)]
    for name, number, text, how in without:
        print(f"FAILED {name}:{number}: {how}: {text}")
    stale = [f"{name}: {text}" for name, text in named
             if not any(line.strip().startswith(text) for line in (COPY / "extension/src/index" / name).read_text().splitlines())]
    for line in stale:
        print(f"FAILED unreached.txt: not in the source: {line}")
    never = sum(how == "no test executes" for *_, how in missed)
    print(f"counted: {lines} lines of the index with {branches} branches, on {server.name}; {never} lines executed by no test, "
          f"{len(missed) - never} with a branch not taken, {len(without)} of both without a reason")
    return 1 if without or stale else 0


if __name__ == "__main__":
    sys.exit(main())
