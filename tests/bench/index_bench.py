"""The topk index beside a btree and beside no index on the views: the cost of upserts, WAL and space, the time to read the top.

For every major and number of rows the same table three times: (a) with its primary key only, (b) also with a btree, (c) also with a
topk index. The same batches go to all three, in turns. The report goes to the terminal and to a file; index_tables.py has the
tables, index_phases.py what is measured. Bars are for 16 and later: before, an index on a counter costs every update its HOT.
"""

import contextlib
import random
import statistics
import sys
import time

import index_phases as phases
from benchmark import SETTINGS, add_majors, each_major, parse, parser, run, spread
from index_tables import ARMS, LABELS, NEW_IDS, Tables
from quantities import count, counts
from servers.servers import ServerError

SHOWN = (*SETTINGS, "shared_buffers", "data_checksums", "autovacuum_naptime", "autovacuum_vacuum_scale_factor", "jit")
QUICK = {"rows": "200k", "scale": "100k,200k", "batches": 12, "rounds": 3, "queries": 200, "hold": 12.0}


def rows_text(rows):
    if rows == 0:
        return "an empty hour"
    return f"{rows // 1_000_000} M rows" if rows % 1_000_000 == 0 else f"{rows // 1000} k rows"


def mebibytes(size):
    return f"{size / (1 << 20):.2f} MiB"


# --- One size on one server: each part measures, prints, and holds its figures against the bars ---


def report_upserts(report, where, figures):
    report.line(f"  upserts, a batch: median (min q1 q3 max) of {len(figures['plain']['ms'])} batches; ratios to (a) of the same batch")
    ratios = {}
    for arm, figure in figures.items():
        ratios[arm] = {key: [x / base for x, base in zip(figure[key], figures["plain"][key])] for key in ("ms", "cpu", "wal")}
        hot = figure["hot"] / max(1, figure["updates"])
        report.line(f"    {LABELS[arm]:16} {spread(figure['ms'])} ms, ×{spread(ratios[arm]['ms'], '{:.3f}')}")
        report.line(f"    {'':16} processor {spread(figure['cpu'])} ms, ×{spread(ratios[arm]['cpu'], '{:.3f}')}")
        report.line(f"    {'':16} WAL {spread([b / 1e6 for b in figure['wal']], '{:.2f}')} MB, ×{spread(ratios[arm]['wal'], '{:.3f}')}; "
                    f"HOT {hot:.2%} of {figure['updates']:,} updates; autovacuums {figure['autovacuums']}")
    if "topk" in figures and where.bars and where.rows:
        cold = {arm: 1 - figure["hot"] / max(1, figure["updates"]) for arm, figure in figures.items()}
        report.bar(where, "upserts ×", statistics.median(ratios["topk"]["ms"]), 1.15, "{:.3f}")
        report.bar(where, "WAL ×", statistics.median(ratios["topk"]["wal"]), 1.1, "{:.3f}")
        report.bar(where, "updates not HOT beyond those of (a)", max(0.0, cold["topk"] - cold["plain"]), 0.00005, "{:.3%}")


def report_reads(report, where, title, figures, bars=True):
    report.line(f"  reads, {title}: ms, median (min q1 q3 max) over {len(next(iter(figures.values())))} rounds")
    for (arm, length), rounds in sorted(figures.items(), key=lambda item: (item[0][1], ARMS.index(item[0][0]))):
        p50, p99, spent = (spread([figure[place] for figure in rounds], "{:.3f}") for place in range(3))
        report.line(f"    top-{length:<5} {LABELS[arm]:16} p50 {p50}, p99 {p99}, processor {spent}")
    if bars and where.bars and ("topk", 100) in figures and ("btree", 100) in figures:
        p50, p99 = ({arm: statistics.median(r[place] for r in figures[arm, 100]) for arm in ("btree", "topk")} for place in (0, 1))
        report.bar(where, f"top-100 {title}, p50 in ms", p50["topk"], p50["btree"], "{:.3f}")
        report.bar(where, f"top-100 {title}, p99 in ms", p99["topk"], p99["btree"], "{:.3f}")


def report_held(report, where, figures, args):
    whose = " of a writing transaction" if args.hold_with_xid else ""
    report.line(f"  top-1000 beside a repeatable-read snapshot{whose} held {args.hold:.0f} s, its 1000 leaders updated every second: ms")
    for arm, figure in figures.items():
        quarters = "; ".join(f"{p50:.2f}, {p99:.2f}" for p50, p99 in figure["fresh"])
        report.line(f"    {LABELS[arm]:16} fresh snapshots, p50 and p99 by quarter: {quarters}; slowest {figure['slowest']:.1f}")
        report.line(f"    {'':16} the holder's own {figure['old'][0]:.2f} at first, {figure['old'][1]:.2f} at last; "
                    f"{figure['head_updates']} rounds of updates")
        if not figure["stable"]:
            raise ServerError(f"{where}: the holder of the snapshot read two different lists from {arm}")
    if where.bars and "topk" in figures:
        worst = max(p99 for _, p99 in figures["topk"]["fresh"])
        report.bar(where, "top-1000 beside a held snapshot, worst quarter's p99 in ms", worst, 10, "{:.2f}")


def report_sizes(report, where, tables, connection, shared_buffers):
    sizes = tables.bytes(connection)
    for arm, (heap, key, index) in sizes.items():
        has_index = f", index {mebibytes(index)} for one group, built in {tables.build_seconds[arm]:.1f} s" if index is not None else ""
        report.line(f"    {LABELS[arm]:16} heap {mebibytes(heap)}, primary key {mebibytes(key)}{has_index}")
    total = sum(size or 0 for triple in sizes.values() for size in triple)
    if total > shared_buffers:
        report.line(f"    together {mebibytes(total)}: more than shared_buffers holds")
    if where.bars and "topk" in sizes:
        report.bar(where, "index bytes a group", sizes["topk"][2], 1 << 20, "{:,.0f}")


def check(where, tables, connection):
    for arm in tables.arms[1:]:
        for length in phases.LENGTHS:
            if difference := tables.differs_from_sort(connection, arm, length):
                raise ServerError(f"{where}: {arm} gives a wrong list: {difference}")


class Where:
    """Which server and size, for messages; and whether the bars apply."""

    def __init__(self, major, rows):
        self.major, self.rows, self.bars = major, rows, major >= 16

    def __str__(self):
        return f"PostgreSQL {self.major}, {rows_text(self.rows)}"


def measure(report, server, arms, rows, args):
    """Everything for a size in --rows; of a size in --scale only sizes and idle reads."""
    where, everything = Where(server.major, rows), rows in args.rows
    # (a) has no quick way to the top: nothing to measure beside the writes
    tables = Tables(rows, arms if everything else arms[1:])
    readers = [arm for arm in arms if arm != "plain"]
    draw = random.Random(f"{args.seed} {server.major} {rows}")
    session = phases.Session(lambda: server.connect("bench"), tables, draw)
    report.line(f"\n{where}{'' if everything else ' (sizes and idle reads only)'}")
    with contextlib.closing(server.connect("bench")) as connection:
        began = time.monotonic()
        tables.load(connection, args.seed)
        tables.make_batches(connection, args.warm_up + args.batches, args.keys, int(rows * (1 + NEW_IDS)), args.seed)
        tables.prepare(connection, phases.LENGTHS)
        for arm in readers:
            plan = tables.plan(connection, arm, 100)
            if not any(f"{arm}_by_views" in line for line in plan):
                raise ServerError(f"{where}: the planner does not use {tables.index(arm)}:\n" + "\n".join(plan))
        report.line(f"  loaded in {time.monotonic() - began:.0f} s")
        report_sizes(report, where, tables, connection, args.shared_bytes)
        if everything:
            report_upserts(report, where, phases.upserts(session, args.warm_up, args.batches))
            tables.settle(connection, "AUTO")
            report_reads(report, where, "idle, after VACUUM", phases.reads(session, readers, args.rounds, args.queries), bars=False)
        tables.settle(connection)
        report_reads(report, where, "idle, after VACUUM (INDEX_CLEANUP ON)", phases.reads(session, readers, args.rounds, args.queries))
        if everything:
            written = phases.reads(session, readers, args.rounds, args.queries, args.warm_up + args.batches)
            report_reads(report, where, "beside a writer", written)
            check(where, tables, connection)
            report_held(report, where, phases.held_snapshot(session, readers, args.hold, args.hold_with_xid), args)
            report.line("  sizes at the end")
            report_sizes(report, where, tables, connection, args.shared_bytes)
        check(where, tables, connection)
        report.line("  every list read by an index equals a sort of the heap in the same snapshot")
        tables.drop(connection)


def measure_empty(report, server, arms, args):
    """The first batches of an hour: most rows are new, and the leaders grow by a large part of what they have each time."""
    where, tables = Where(server.major, 0), Tables(0, arms)
    report.line(f"\n{where}: the first {args.batches} batches")
    with contextlib.closing(server.connect("bench")) as connection:
        tables.load(connection, args.seed)
        tables.make_batches(connection, args.batches, args.keys, int(max(args.rows) * (1 + NEW_IDS)), args.seed)
        session = phases.Session(lambda: server.connect("bench"), tables, random.Random(f"{args.seed} {server.major}"))
        report_upserts(report, where, phases.upserts(session, 0, args.batches))
        report_sizes(report, where, tables, connection, args.shared_bytes)
        tables.settle(connection)
        tables.prepare(connection, phases.LENGTHS)
        check(where, tables, connection)
        tables.drop(connection)


def measure_server(report, server, args):
    with contextlib.closing(server.connect()) as connection:
        connection.cursor().execute("CREATE DATABASE bench")
    with contextlib.closing(server.connect("bench")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION topk; CREATE EXTENSION pg_prewarm")
        cursor.execute("SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'topk'),"
                       " pg_size_bytes(current_setting('shared_buffers')), EXISTS (SELECT FROM pg_am WHERE amname = 'topk')")
        version, extension, args.shared_bytes, has_index = cursor.fetchone()
        cursor.execute("SELECT name || '=' || current_setting(name) FROM pg_settings WHERE name = ANY (%s) ORDER BY 1", (list(SHOWN),))
        report.line(f"\nPostgreSQL {version}, topk {extension}\nsettings  {', '.join(row[0] for row in cursor)}")
    arms = [arm for arm in args.arms if has_index or arm != "topk"]
    if not has_index:
        report.line("(c) is missing: this build of the extension has no access method topk")
    if args.rows:
        measure_empty(report, server, arms, args)
    for rows in sorted({*args.rows, *args.scale}):
        measure(report, server, arms, rows, args)


def arguments():
    made = parser(__doc__)
    made.add_argument("--rows", type=counts, default="2M,10M", help="sizes at which everything is measured")
    made.add_argument("--scale", type=counts, default="1M,10M", help="sizes at which size and reading time are compared")
    made.add_argument("--batches", type=int, default=40, help="measured upserts an arm")
    made.add_argument("--warm-up", type=int, default=8, help="batches before them")
    made.add_argument("--keys", type=count, default="20k", help="distinct ids a batch")
    made.add_argument("--rounds", type=int, default=5, help="of reads")
    made.add_argument("--queries", type=int, default=500, help="a round, arm and length")
    made.add_argument("--hold", type=float, default=60, help="seconds that a snapshot is held; 300 for the full time")
    made.add_argument("--hold-with-xid", action="store_true", help="its transaction has written")
    made.add_argument("--arms", default=",".join(ARMS), help="plain is always one of them")
    add_majors(made, shared_buffers="4GB")
    args = parse(made, QUICK)
    args.arms = [arm for arm in ARMS if arm == "plain" or arm in args.arms.split(",")]
    return args


def main():
    args = arguments()
    heading = (f"topk index: (a) primary key only, (b) and a btree, (c) and a topk index, on (window_start, views DESC, video_id)\n"
               f"load      batches of {args.keys:,} ids, Zipf 1.0; {args.warm_up} to warm up, {args.batches} measured; "
               f"reads {args.rounds} rounds of {args.queries}; seed {args.seed}")
    return run("index", args, heading, lambda report: each_major("index", report, args, lambda server: measure_server(report, server, args)))


if __name__ == "__main__":
    sys.exit(main())
