#!/usr/bin/python3
"""Runs the test layers in the order of the data path, cheapest first, and counts them in one closing line.

    run.py test|soak [LAYER...]     run.py --list

Every layer writes build/test-logs/<layer>.log; its tail is printed when it fails. A layer that fails does not stop the
others; one that this machine cannot run counts as skipped. pg17 and pg18 are the SQL layers on those majors; assert and
valgrind, on a build with assertions, are of `soak` (tests/servers). Needs `make deps`; builds what it runs. Seeds and sizes are
set by environment (RC_PARAMS, E2E_SEED, E2E_KILLS …; of the layer index, which runs on the oldest and the newest major, see its
README.md).
"""
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
LOGS = BUILD / "test-logs"
PYTHON = "/usr/bin/python3"
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/servers")]

import servers  # noqa: E402
from harness import ports  # noqa: E402
from harness.cluster import Cluster  # noqa: E402

FUZZ_SECONDS = {"test": 60, "soak": 3600}
SOAK_ENVIRONMENT = {"E2E_KILLS": "200", "E2E_DATABASE_STOPS": "10", "E2E_BROKER_KILLS": "5", "E2E_EVENTS": "3000000",
                    "E2E_ZOMBIE_ROUNDS": "3", "E2E_CUTS": "50", "E2E_LEADER_KILLS": "20", "E2E_TIME_KILLS": "60",
                    "E2E_TIME_DATABASE_STOPS": "10", "E2E_TIME_BROKER_KILLS": "5", "E2E_REPLAY_RECORDS": "1000000", "E2E_DEAD_CONSUMERS": "killed,stopped", "E2E_CATCH_UP_SECONDS": "1800",
                    "RC_PARAMS": "max_success=2000", "MERGE_CASES": "10000000", "SPAN_CASES": "2000000"}
INDEX_SOAK_ENVIRONMENT = {"TOPK_READERS": "50000", "TOPK_STANDBY_READERS": "10000", "TOPK_UPSERTS": "20000", "TOPK_CRASHES": "20", "TOPK_DAMAGES": "600", "TOPK_MERGES": "50000",
                          "TOPK_SNAPSHOTS": "1000", "TOPK_ROLLED_ROWS": "5000000", "TOPK_ROLL_UP_KILLS": "20", "TOPK_SHARE_OF_VIEWS": "0.02",
                          "TOPK_SIZE": "1"}
SERVE_SOAK_ENVIRONMENT = {"SERVE_FUZZ": "100000", "SERVE_OUTAGES": "20", "SERVE_MOMENTS": "200"}
MODEL_SOAK_ENVIRONMENT = {"MODEL_STEPS": "3000", "MODEL_ROUNDS": "20"}
# Each suppression has its reason in tests/unit/sanitizers/README.md
SANITIZER_ENVIRONMENT = {
    "asan": {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
             "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
             "LSAN_OPTIONS": f"suppressions={ROOT}/tests/unit/sanitizers/lsan.supp"},
    "tsan": {"TSAN_OPTIONS": f"halt_on_error=1:suppressions={ROOT}/tests/unit/sanitizers/tsan.supp"},
}

# (what to count, pattern): the closing lines of the runners
COUNTS = [
    ("passed", r"^\[  PASSED  \] (\d+) tests?"), ("failed", r"^\[  FAILED  \] (\d+) tests?, listed"), ("skipped", r"^\[  SKIPPED \] (\d+) tests?, listed"),
    ("passed", r"^(?:# | )?All (\d+) tests passed"), ("failed", r"^(?:# | )?(\d+) of \d+ tests failed"),
    ("passed", r"^Files=\d+, Tests=(\d+)"),
    ("passed", r"^=*.*?\b(\d+) passed\b.* in "), ("failed", r"^=*.*?\b(\d+) (?:failed|error)\b.* in "), ("skipped", r"^=*.*?\b(\d+) skipped\b.* in "),
]


def run(command, log, **environment):
    """Appends the command's output to the log; True when it succeeded."""
    with open(log, "ab") as out:
        out.write(f"\n$ {shlex.join(map(str, command))}\n".encode())
        out.flush()
        return subprocess.run(list(map(str, command)), cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                              stdout=out, stderr=subprocess.STDOUT).returncode == 0


def note(log, *lines):
    with open(log, "a") as out:
        out.write("".join(f"\n{line}\n" for line in lines))


def count(text):
    totals = dict(passed=0, failed=0, skipped=0)
    for line in text.splitlines():
        for kind, pattern in COUNTS:
            if found := re.search(pattern, line):
                totals[kind] += int(found.group(1))
    return totals


# Of the SQL layers: a snapshot of autovacuum's keeps what a test's VACUUM is to remove.
SQL_SETTINGS = {"autovacuum": "off"}


@contextlib.contextmanager
def cluster():
    """A throwaway server with the extension's files installed; the SQL layers share its shape, not its data."""
    with tempfile.TemporaryDirectory(prefix="topk-test-") as parent:
        os.chmod(parent, 0o755)
        server = Cluster(Path(parent) / "pg", ports.free_port(30500))
        server.init()
        with open(server.data / "postgresql.conf", "a") as conf:
            conf.writelines(f"{key} = {value}\n" for key, value in SQL_SETTINGS.items())
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


def as_client(server, database="postgres"):
    return dict(PGHOST="127.0.0.1", PGPORT=str(server.port), PGUSER="postgres", PGDATABASE=database)


def build(log, mode):
    install = ["make", "-C", "extension", "install"]
    return run(["make", "test-builds"], log) and run(install if os.geteuid() == 0 else ["sudo", *install], log)


def style(log, mode):
    return run(["tests/lint.sh", "quick"], log)


def unit(log, mode):
    return run([BUILD / "fault/tests/unit/topkd_unit", "--gtest_brief=1"], log, **(SOAK_ENVIRONMENT if mode == "soak" else {}))


def sanitized(kind):
    return lambda log, mode: run([BUILD / kind / "tests/unit/topkd_unit", "--gtest_brief=1"], log, **SANITIZER_ENVIRONMENT[kind])


def fuzz(log, mode):
    corpus = BUILD / "fuzz-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    seed = os.environ.get("FUZZ_SEED", "20260607")
    return run([BUILD / "fuzz/decode_fuzz", f"-max_total_time={FUZZ_SECONDS[mode]}", f"-seed={seed}", "-max_len=2048", "-timeout=5",
                "-print_final_stats=1", f"-artifact_prefix={LOGS}/", corpus, ROOT / "tests/unit/fuzz/corpus"], log)


# Commands of a client in the checkout, which run against every major: (database, command)
REGRESS = [("postgres", ["make", "-C", "extension", "installcheck"])]
PGTAP = [("pgtap", ["createdb", "pgtap"]),
         ("pgtap", ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", "CREATE EXTENSION topk", "-c", "CREATE EXTENSION pgtap"]),
         ("pgtap", ["pg_prove", "--ext", ".sql", "tests/pgtap"])]


def sql(commands):
    def layer(log, mode):
        with cluster() as server:
            return all(run(command, log, **as_client(server, database)) for database, command in commands)
    return layer


@contextlib.contextmanager
def other_server(major, **options):
    """A server of tests/servers, with the extension built for it."""
    servers.prepare(major)
    with tempfile.TemporaryDirectory(prefix=f"topk-test-{major}-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o755)
        with servers.Server(major, Path(parent) / "pg", settings=SQL_SETTINGS, **options) as server:
            yield server


def on_major(major, *layers):
    """The commands of several layers on a server of tests/servers; all of them, whatever fails."""
    def layer(log, mode):
        with other_server(major) as server:
            good = all([all(run(server.client(*command, dbname=database), log) for database, command in commands)
                        for commands in layers])
            server.stop("fast")
            traps = [line for line in server.log.read_text(errors="replace").splitlines() if line.startswith("TRAP:")]
            note(log, *traps)
            return good and not traps
    return layer


def assertions(log, mode):
    """The SQL layers and those of the index on servers with assertions. pgTAP is the distribution's, of 15."""
    layers = [on_major("15-assert", REGRESS, PGTAP), on_major("18-assert", REGRESS)]
    majors = [name.removesuffix("-assert") for name in servers.FROM_SOURCE]
    return all([*(layer(log, mode) for layer in layers), index_tests(log, majors, {"TOPK_ASSERT": "1"})])


def valgrind(log, mode):
    return all([under_memcheck(name, log) for name in servers.FROM_SOURCE])


def under_memcheck(name, log):
    """The regression tests with every process of the server under memcheck, on a build with assertions."""
    command = ["valgrind", "--quiet", "--leak-check=no", "--trace-children=yes", "--num-callers=30", "--gen-suppressions=all",
               "--error-markers=BEGIN-ERROR,END-ERROR", f"--suppressions={servers.SERVERS}/{name}/valgrind.supp"]
    with tempfile.TemporaryDirectory(prefix="topk-valgrind-") as reports:
        shutil.chown(reports, servers.server_ids()[0])
        with other_server(name, wrapper=[*command, f"--log-file={reports}/%p"], start_seconds=300) as server:
            good = run(server.client("make", "-C", "extension", "installcheck", "ISOLATION="), log)
            server.stop("fast", seconds=300)  # the ends of the processes are looked at too
        errors = [text for report in Path(reports).iterdir() if "BEGIN-ERROR" in (text := report.read_text(errors="replace"))]
        note(log, *errors, f"valgrind on {name}: {len(list(Path(reports).iterdir()))} processes, {len(errors)} with errors")
        return good and not errors


def side_by_side(log, runs):
    """Runs (name, pytest's arguments, environment) at once; their output one after the other. True when all succeeded."""
    started = []
    for name, arguments, environment in runs:
        part = log.with_suffix(f".{name}.log")
        command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", *arguments]
        with open(part, "wb") as out:
            started.append((part, command, subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                                            stderr=subprocess.STDOUT)))
    ends = [process.wait() for *_, process in started]
    for part, command, _ in started:
        note(log, f"$ {shlex.join(command)}", part.read_text(errors="replace"))
        part.unlink()
    return not any(ends)


def index_tests(log, majors, environment):
    return side_by_side(log, [(major, ["tests/index"], {**environment, **os.environ, "TOPK_MAJORS": str(major)}) for major in majors])


def index(log, mode):
    """Lists of the index against sorts of the table, on the oldest and the newest major at once."""
    return index_tests(log, sorted({servers.native_major(), 18}), INDEX_SOAK_ENVIRONMENT if mode == "soak" else {})


def citizen(log, mode):
    """What administrators do with an extension. The jobs of pg_cron, which are waited for, beside the rest."""
    waiting = "tests/citizen/test_schedule.py"
    return side_by_side(log, [("rest", ["tests/citizen", f"--ignore={waiting}"], os.environ), ("schedule", [waiting], os.environ)])


def model(log, mode):
    """Random schedules of consumers and operators against the naive model, and errors planted for the audit."""
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", "tests/model"], log,
               **{**(MODEL_SOAK_ENVIRONMENT if mode == "soak" else {}), **os.environ})


def ops(log, mode):
    """Init SQL, compose file, units, TLS and SASL."""
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", "tests/ops", "--ignore=tests/ops/test_images.py"], log)


def images(log, mode):
    """The Dockerfiles executed, and what the compose file runs of them."""
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", "tests/ops/test_images.py"], log)


def promtool(log, mode):
    """The alert rules, the dashboard and both expositions, by Debian's promtool and Prometheus."""
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", "tests/promtool"], log)


def e2e(log, mode):
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "tests/e2e"], log, **(SOAK_ENVIRONMENT if mode == "soak" else {}))


def serve(log, mode):
    """The HTTP API. What stops and starts servers beside the rest."""
    servers_move = ["tests/serve/test_standby.py", "tests/serve/test_restart.py"]
    environment = {**(SERVE_SOAK_ENVIRONMENT if mode == "soak" else {}), **os.environ}
    return side_by_side(log, [("rest", ["tests/serve", *(f"--ignore={path}" for path in servers_move)], environment), ("moving", servers_move, environment)])


def page(log, mode):
    """The live page in Chromium."""
    return run([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "-rfEs", "tests/page"], log)


def demo(log, mode):
    return run(["make", "demo", "SECONDS=20"], log)


LAYERS = {"build": build, "style": style, "unit": unit, "asan": sanitized("asan"), "tsan": sanitized("tsan"), "fuzz": fuzz,
          "regress": sql(REGRESS), "pgtap": sql(PGTAP), "pg17": on_major(17, REGRESS, PGTAP), "pg18": on_major(18, REGRESS, PGTAP),
          "index": index, "assert": assertions, "valgrind": valgrind, "model": model, "citizen": citizen,
          "promtool": promtool, "ops": ops, "images": images, "e2e": e2e, "serve": serve, "page": page, "demo": demo}
# Layers of `soak` only, unless named
SOAK_ONLY = {"assert", "valgrind", "images"}
# Lines of the logs that name a failed test or its cause, of pytest, make installcheck, prove and Catch
FAILURE = re.compile(r"(FAILED|ERROR) |E   |not ok |test .* FAILED|.*: FAILED:$|.*\berror: ")
# Layers that are one check, without a runner that counts
SINGLE = {"build", "style", "fuzz", "demo"}


def run_layer(name, mode):
    log = LOGS / f"{name}.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    try:
        good = LAYERS[name](log, mode)
    except servers.Unavailable as reason:
        print(f"SKIP {name:8} {reason}", flush=True)
        return dict(passed=0, failed=0, skipped=1)
    except servers.ServerError as error:
        good = False
        note(log, error)
    text = log.read_text(errors="replace")
    totals = dict(passed=int(good), failed=int(not good), skipped=0) if name in SINGLE else count(text)
    if good and not totals["passed"]:
        good = False
        text += f"\n{name} executed no test\n"
    if not good:
        totals["failed"] = totals["failed"] or 1
    print(f"{'ok  ' if good else 'FAIL'} {name:8} {totals['passed']:5} passed {totals['failed']:3} failed {totals['skipped']:3} skipped "
          f"{time.monotonic() - started:7.1f} s", flush=True)
    lines = text.splitlines()
    if good:
        shown = [line for line in lines if line.startswith("counted: ")]
    else:  # what failed comes first: who reads this may see the beginning only
        shown = [line for line in lines if FAILURE.match(line)][:40] + lines[-60:]
    print("".join(f"    {line[:1000]}\n" for line in shown), end="", flush=True)
    return totals


def main():
    if sys.argv[1:2] == ["--list"] or sys.argv[1:2] not in (["test"], ["soak"]):
        print(__doc__ + "\nlayers: " + " ".join(LAYERS))
        return 0 if sys.argv[1:2] == ["--list"] else 2
    mode = sys.argv[1]
    wanted = sys.argv[2:] or [name for name in LAYERS if mode == "soak" or name not in SOAK_ONLY]
    if unknown := [name for name in wanted if name not in LAYERS]:
        print(f"run.py: no layer {unknown}; there are: {' '.join(LAYERS)}", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    totals = dict(passed=0, failed=0, skipped=0)
    for name in wanted:
        layer = run_layer(name, mode)
        totals = {kind: totals[kind] + layer[kind] for kind in totals}
        if name == "build" and layer["failed"]:
            break
    if totals["skipped"]:
        print(f"\nSKIPPED: {totals['skipped']} tests did not run; see build/test-logs", flush=True)
    print("\n{passed} passed, {failed} failed, {skipped} skipped".format(**totals), flush=True)
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
