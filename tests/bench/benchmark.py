"""What the benchmarks share: the report with its bars, the machine, statistics, options, and the loop over majors of PostgreSQL.

run() is the whole of a benchmark's main: it makes the report, and turns what does not start or gives a wrong result into a failure.
A bar that is missed is printed, and no failure: the machine may be busy.
"""

import argparse
import contextlib
import platform
import shlex
import shutil
import statistics
import sys
from pathlib import Path

from quantities import counts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig.rig import BUILD, RigError, interrupt_on_signals  # noqa: E402
from servers.servers import Server, ServerError, Unavailable, prepare  # noqa: E402

# A careful operator's, but for checkpoints: there is none after the load, so that no arm pays for another's full page images.
SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica", "wal_compression": "lz4",
            "max_wal_size": "48GB", "checkpoint_timeout": "1d", "effective_cache_size": "12GB", "work_mem": "64MB",
            "maintenance_work_mem": "1GB", "random_page_cost": "1.1", "autovacuum": "on"}


# --- Options ---


def parser(description):
    """With the options that every benchmark has."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--directory", type=Path, default=BUILD / "bench", help="where the report goes, and the servers' data of some")
    return made


def add_majors(made, shared_buffers):
    made.add_argument("--majors", type=counts, default="15,17,18")
    made.add_argument("--shared-buffers", default=shared_buffers)


def parse(made, quick):
    """quick: what --quick changes of the defaults."""
    made.add_argument("--quick", action="store_true", help=f"small sizes, to see that it works: {quick}".replace("%", "%%"))
    args = made.parse_args()
    if args.quick:
        made.set_defaults(**quick)
        args = made.parse_args()
    return args


# --- Statistics ---


def spread(values, form="{:.1f}"):
    """median (smallest, quartiles, largest)"""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    around = " ".join(form.format(value) for value in (min(values), quartiles[0], quartiles[2], max(values)))
    return f"{form.format(quartiles[1])} ({around})"


def median_and_range(values, form="{:.1f}"):
    """median (smallest–largest), for few values"""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}–{form.format(max(values))})"


def percentile(values, share):
    """The nearest rank: an observed value, never an interpolated one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# --- The report ---


class Report:
    """Lines to the terminal and to the file, as they come; the bars at the end."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.file, self.bars = path, open(path, "w"), []

    def line(self, text=""):
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()

    def bar(self, where, what, value, bound, form, at_least=False):
        met = value >= bound if at_least else value <= bound
        self.bars.append((met, f"{where}: {what} {form.format(value)}, bar {'at least ' if at_least else ''}{form.format(bound)}"))

    def close(self):
        for met, text in self.bars:
            self.line(f"{'met   ' if met else 'MISSED'} {text}")
        self.line(f"report: {self.path}")
        self.file.close()


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) / (1 << 20)
    load = open("/proc/loadavg").read().split()[0]
    return f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}; load {load} at the start"


# --- The course of a benchmark ---


def run(name, args, heading, measure):
    """The exit code. heading: what is measured, then a line `load …`; measure(report) does it."""
    interrupt_on_signals()
    report = Report(args.directory / f"{name}.txt")
    try:
        title, *lines = heading.splitlines()
        command = f"tests/bench/run.sh {name} {shlex.join(sys.argv[1:])}".rstrip()
        report.line("\n".join([title, f"machine   {machine()}", *lines, f"command   {command}"]))
        measure(report)
        report.line()
    except KeyboardInterrupt:
        return 130
    except (ServerError, RigError) as error:
        report.line(f"FAILED: {error}")
        return 1
    finally:
        report.close()
    return 0


def each_major(name, report, args, measure):
    """measure(server) with a fresh server of every major in --majors; one that this machine cannot have is reported as not measured."""
    for major in args.majors:
        try:
            with fresh_server(name, major, args) as server:
                measure(server)
        except Unavailable as error:
            report.line(f"\nPostgreSQL {major}: NOT MEASURED: {error}")


@contextlib.contextmanager
def fresh_server(name, major, args):
    """Its data go at the end."""
    prepare(major)
    directory = args.directory / f"{name}-{major}"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        with Server(major, directory, settings={**SETTINGS, "shared_buffers": args.shared_buffers}) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)
