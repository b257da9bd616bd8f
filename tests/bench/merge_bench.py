"""topk('day', k), which merges the tops of a day's hours, beside the sum of all its rows: GROUP BY … ORDER BY … LIMIT k.

A day of 24 hours whose videos follow Zipf, with a log-normal factor drawn for every video and hour (drift), and late additions. Both lists
are compared in one snapshot; a difference fails the run. The report goes to the terminal and to a file.
"""
import argparse
import contextlib
import shlex
import shutil
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
from index_bench import SETTINGS, Report, count, machine, spread  # noqa: E402
from rig.rig import BUILD, interrupt_on_signals  # noqa: E402
from servers.servers import Server, ServerError, Unavailable, prepare  # noqa: E402

LENGTHS = (10, 100, 1000)
DAY = "2026-01-02"
HOURS = (f"SELECT '{DAY} 00:00Z'::timestamptz + h * interval '1 hour' AS w, r, substr(md5(r::text), 1, 11) AS id"
         " FROM generate_series(0, 23) h, generate_series(1, %(videos)s) r")
# The sum of six uniform draws, centred, has a deviation of 0.707
LOAD = (f"INSERT INTO video_views_hour SELECT * FROM (SELECT w, id, floor(%(events)s / (r * (ln(%(videos)s) + 0.5772)) * exp(%(drift)s * 1.414 *"
        " (random() + random() + random() + random() + random() + random() - 3)) + random())::bigint AS v"
        f" FROM ({HOURS}) all_videos) drawn WHERE v > 0 ORDER BY w, id COLLATE \"C\"")
LATE = (f"INSERT INTO video_views_late SELECT 'day', '{DAY} 00:00Z', substr(md5(ceil(random() ^ 3 * %(videos)s)::bigint::text), 1, 11),"
        " 1 + floor(random() * 3) FROM generate_series(1, %(videos)s / 50) ON CONFLICT DO NOTHING")
MERGED = f"SELECT video_id, views FROM topk('day', %s, '{DAY} 12:00Z')"
SUMMED = (f"SELECT video_id, sum(views)::bigint FROM (SELECT video_id, views FROM video_views_hour WHERE window_start >= '{DAY} 00:00Z'"
          f" AND window_start < '{DAY} 00:00Z'::timestamptz + interval '1 day' UNION ALL SELECT video_id, views FROM video_views_late"
          f" WHERE span = 'day' AND window_start = '{DAY} 00:00Z') p GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT %s")


def load(connection, args):
    values = {"videos": args.videos, "events": args.events, "drift": args.drift}
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION topk; CREATE EXTENSION pg_prewarm")
        cursor.execute((HERE.parents[1] / "sql/init.sql").read_text())
        cursor.execute("SELECT topk.create_counter(); SELECT setseed(%s)", (args.seed / 1000,))
        cursor.execute("SELECT 1 FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}')")
        cursor.execute(f"SELECT topk.flush('video_views', 'events', t.deltas(t.hour('{DAY} 00:00Z', t.entry('first', 1))), NULL, NULL,"
                       " ARRAY[t.advance(0, 1, 0, 1)])")  # makes the day's partition
        cursor.execute(LOAD, values)
        cursor.execute(LATE, values)
        cursor.execute("VACUUM ANALYZE video_views_hour")
        cursor.execute("VACUUM ANALYZE video_views_late")
        cursor.execute("SELECT sum(pg_prewarm(c.oid)) FROM pg_class c WHERE c.relname LIKE 'video_views%' AND c.relkind IN ('r', 'i')")
        cursor.execute("SELECT count(*), count(DISTINCT video_id), pg_size_pretty(pg_total_relation_size('video_views_hour_20260102')) FROM video_views_hour")
        return cursor.fetchone()


def timed(cursor, query, length):
    began = time.perf_counter()
    cursor.execute(query, (length,))
    rows = cursor.fetchall()
    return (time.perf_counter() - began) * 1000, rows


def measure(report, connection, length, args):
    merged, summed = [], []
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        for _ in range(args.rounds):  # in turns: what slows the machine slows both
            took, by_sum = timed(cursor, SUMMED, length)
            summed.append(took)
            for _ in range(args.queries):
                took, by_merge = timed(cursor, MERGED, length)
                merged.append(took)
                if by_merge != by_sum:
                    raise ServerError(f"top {length}: the merge and the sum differ")
        cursor.execute(f"SELECT rows_read, lookups, ended FROM topk.explain('day', %s, '{DAY} 12:00Z') WHERE list = 'all'", (length,))
        rows, lookups, ended = cursor.fetchone()
        cursor.execute("COMMIT")
    factor = statistics.median(summed) / statistics.median(merged)
    report.line(f"  top-{length:<5} topk() {spread(merged, '{:.2f}')} ms; sum of all {spread(summed, '{:.0f}')} ms; {factor:,.0f} times as fast; "
                f"{rows:,} rows read, {lookups:,} look-ups, {ended}")
    if ended == "merge":
        report.bar(f"top-{length}", "topk() as a part of the sum's time", 1 / factor, 1, "{:.4f}")


def measure_major(report, major, args):
    prepare(major)
    directory = args.directory / f"merge-{major}"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        with Server(major, directory, settings={**SETTINGS, "shared_buffers": args.shared_buffers}) as server, \
                contextlib.closing(server.connect()) as connection:
            began = time.monotonic()
            rows, videos, size = load(connection, args)
            with connection.cursor() as cursor:
                cursor.execute("SHOW server_version")
                version = cursor.fetchone()[0]
            report.line(f"\nPostgreSQL {version}: {rows:,} rows of {videos:,} videos, {size} with indexes, loaded in {time.monotonic() - began:.0f} s\n"
                        f"  ms, median (min q1 q3 max) of {args.rounds} rounds, each of one sum and {args.queries} merges")
            for length in LENGTHS:
                measure(report, connection, length, args)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=count, default=count("1M"))
    parser.add_argument("--events", type=count, default=count("1M"), help="views an hour")
    parser.add_argument("--drift", type=float, default=0.5, help="deviation of the logarithm of the factor by video and hour")
    parser.add_argument("--majors", default="15,17,18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=50, help="merges a round")
    parser.add_argument("--shared-buffers", default="4GB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=BUILD / "bench", help="where the servers' data go, and the report")
    parser.add_argument("--quick", action="store_true", help="50k videos, 2 rounds")
    args = parser.parse_args()
    if args.quick:
        parser.set_defaults(videos=count("50k"), events=count("50k"), rounds=2, queries=10)
        args = parser.parse_args()
    interrupt_on_signals()
    report = Report(args.directory / "merge.txt")
    try:
        report.line(f"merge: topk('day', k) beside GROUP BY, a day of 24 hours\nmachine   {machine()}\n"
                    f"load      {args.videos:,} videos, Zipf 1.0, {args.events:,} views an hour, drift {args.drift}; seed {args.seed}\n"
                    f"command   tests/bench/run.sh merge {shlex.join(sys.argv[1:])}".rstrip())
        for major in (int(part) for part in args.majors.split(",")):
            try:
                measure_major(report, major, args)
            except Unavailable as error:
                report.line(f"\nPostgreSQL {major}: NOT MEASURED: {error}")
        report.line()
    except KeyboardInterrupt:
        return 130
    except ServerError as error:
        report.line(f"FAILED: {error}")
        return 1
    finally:
        report.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
