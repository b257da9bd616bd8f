"""topk() for every span as a counter lives: a month of day roll-ups, the stored hours, the roll-ups of month and all time.

The running hour is 12:00 to 13:00 in the counter's time zone, which is chosen for that: trailing spans then have hours at both ends. Counts
follow Zipf with a log-normal factor by video and window, and are written straight into the tables, with markers that say so. Each list is
compared with the plain sum (GROUP BY … ORDER BY … LIMIT k) of the same rows in one snapshot; a difference fails the run. The report goes to
the terminal and to a file.
"""
import contextlib
import math
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from benchmark import add_majors, each_major, parse, parser, run
from quantities import count, counts
from rig.rig import ROOT
from servers.servers import ServerError

LENGTHS = (10, 100, 1000)
SPANS = ("hour", "day", "month", "all_time", "24 hours", "7 days")
TRAILING = ("24 hours", "7 days")
# ms at p50, by (span, k, is it prepared)
BARS = {("hour", 100): 0.5, ("hour", 1000): 5,
        **{(span, length): bar for span in ("day", "month", "all_time") for length, bar in ((100, 3), (1000, 15))},
        **{(span, length, False): bar for span in TRAILING for length, bar in ((100, 60), (1000, 500))},
        **{(span, length, True): bar for span in TRAILING for length, bar in ((100, 5), (1000, 30))}}
HOUR = timedelta(hours=1)
QUICK = {"videos": "20k,50k", "shape_videos": "20k", "roll_up": "50k", "roll_up_day": "60k", "flush_rows": "1k", "alone": 2.0, "rounds": 2, "queries": 20, "shared_buffers": "1GB"}


@dataclass
class Counter:
    name: str
    shape: str      # zipf, opposite: what leads in one window is last in the next, flat
    videos: int
    views: float    # a day
    drift: float
    now: datetime   # start of the running hour
    rows: int = 0

    @property
    def today(self):
        return self.now - 12 * HOUR


# One window's rows: the head of the distribution rank by rank, and of the tail, where a video has a view or none, draws by their density.
# The sum of six uniform draws, centred, has a deviation of 0.707.
DRAW = """
WITH head AS (
    SELECT r, floor(%(views)s / (r * %(norm)s) * exp(%(drift)s * 1.414 * (random() + random() + random() + random() + random() + random() - 3)) + random())::bigint AS v
    FROM generate_series(1, %(head)s) r),
tail AS (SELECT DISTINCT least(%(videos)s, floor(%(head)s * exp(random() * %(reach)s)))::bigint + 1 AS r FROM generate_series(1, %(draws)s)),
drawn AS (SELECT r, v FROM head WHERE v > 0 UNION ALL SELECT r, 1 FROM tail WHERE r > %(head)s)
"""
FLAT = "WITH drawn AS (SELECT r, 1 + floor(random() * 3)::bigint AS v FROM generate_series(1, %(videos)s) r WHERE random() < %(share)s) "
ID = "substr(md5(({rank})::text), 1, 11)"


def draw(cursor, counter, table, window, days, turned=False):
    """Fills a window with the views of so many days; turned: the ranks from the other end."""
    norm = math.log(counter.videos) + 0.5772
    views = counter.views * days
    head = min(counter.videos, max(1, int(2 * views / norm)))
    values = {"views": views, "norm": norm, "drift": counter.drift, "head": head, "videos": counter.videos,
              "reach": math.log(counter.videos / head) if head < counter.videos else 0.0,
              "draws": int(views / norm * math.log(counter.videos / head)) if head < counter.videos else 0,
              "share": min(1.0, 0.05 + days), "window": window, "turn": counter.videos + 1}
    rank = "%(turn)s - r" if turned and counter.shape == "opposite" else "r"
    source = FLAT if counter.shape == "flat" else DRAW
    cursor.execute(f"INSERT INTO {table} {source}SELECT DISTINCT ON (id COLLATE \"C\") %(window)s, id, v FROM (SELECT {ID.format(rank=rank)} AS id, v FROM drawn) d"
                   " ORDER BY id COLLATE \"C\", v DESC", values)
    counter.rows += cursor.rowcount


def without_indexes(cursor, table, fill):
    """fill() while the table has neither key nor topk index; they are made again afterwards."""
    cursor.execute("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", (table,))
    key, definition = cursor.fetchone()
    cursor.execute("SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = %s::regclass AND NOT i.indisprimary", (table,))
    others = cursor.fetchall()
    cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {key}")
    for index, _ in others:
        cursor.execute(f"DROP INDEX {index}")
    fill()
    cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {key} {definition}")
    for _, index in others:
        cursor.execute(index)


def create(cursor, counter, zone):
    name, now = counter.name, counter.now
    cursor.execute("SELECT topk.create_counter(%s, %s)", (name, zone))
    cursor.execute("SELECT 1 FROM topk.claim(%s, 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}')", (name,))
    # A flush makes the partitions: of the week before, whose first hours '7 days' begins with, of yesterday, today, and all days between
    days = [counter.today - timedelta(days=n) for n in range(30, -1, -1)]
    cursor.execute("SELECT topk.flush(%s, 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(d, t.entry('first', 1)) ORDER BY d)) FROM unnest(%s::timestamptz[]) d),"
                   " NULL, NULL, ARRAY[t.advance(0, 1, 0, 10)])", (name, days))
    cursor.execute(f"TRUNCATE {name}_hour")
    hours = [now - n * HOUR for n in range(24)] + [counter.today - timedelta(days=7) + n * HOUR for n in range(13, 24)]
    for number, hour in enumerate(sorted(hours)):
        draw(cursor, counter, f"{name}_hour", hour, 1 / 24, number % 2 == 1)
    # The days are those of the zone: they have 24 hours
    without_indexes(cursor, f"{name}_day_rollup", lambda: [draw(cursor, counter, f"{name}_day_rollup", day, 1, number % 2 == 1) for number, day in enumerate(days[:-1])])
    cursor.execute(f"INSERT INTO {name}_day_rollup SELECT %s, video_id, sum(views) FROM {name}_hour WHERE window_start >= %s AND window_start < %s GROUP BY video_id",
                   (counter.today, counter.today, now))
    cursor.execute("SELECT month_start FROM topk.hour_map WHERE counter = %s AND hour_start = %s", (name, now))
    month, = cursor.fetchone()
    draw(cursor, counter, f"{name}_month_rollup", month, 29)
    without_indexes(cursor, f"{name}_all_time_rollup", lambda: draw(cursor, counter, f"{name}_all_time_rollup", "-infinity", 400))
    for span, window in (("day", counter.today), ("month", month), ("all_time", "-infinity")):
        cursor.execute(f"INSERT INTO {name}_late SELECT %s, %s, {ID.format(rank='ceil(random() ^ 3 * %s)::bigint')}, 1 + floor(random() * 3)"
                       " FROM generate_series(1, %s) ON CONFLICT DO NOTHING", (span, window, counter.videos, counter.videos // 500))
    cursor.execute("UPDATE topk.roll_up_marker SET window_start = CASE span WHEN 'day' THEN %s ELSE %s END WHERE counter = %s", (now, counter.today, name))
    cursor.execute("UPDATE topk.counter_data SET sealed_through = %s WHERE name = %s", (now, name))
    for table in ("hour", "late", "day_rollup", "month_rollup", "all_time_rollup"):
        cursor.execute(f"VACUUM ANALYZE {name}_{table}")
    cursor.execute("SELECT sum(pg_prewarm(c.oid)) FROM pg_class c WHERE c.relname LIKE %s AND c.relkind IN ('r', 'i')", (name + "%",))
    return month


def plain(counter, span, month):
    """The sum of the rows that make the span: what one would write without topk()."""
    name = counter.name
    hours = f"SELECT video_id, views FROM {name}_hour WHERE window_start >= %s AND window_start < %s"
    parts, values = [hours], [counter.now, counter.now + HOUR]
    if span == "24 hours":
        values[0] = counter.now - 23 * HOUR
    elif span == "7 days":
        week = counter.today - timedelta(days=7)
        parts.append(f"SELECT video_id, views FROM {name}_hour WHERE window_start >= %s AND window_start < %s")
        parts.append(f"SELECT video_id, views FROM {name}_day_rollup WHERE window_start > %s AND window_start < %s")
        values = [counter.today, counter.now + HOUR, week + 13 * HOUR, week + 24 * HOUR, week, counter.today]
    else:
        window = {"day": counter.today, "month": month, "all_time": "-infinity"}[span]
        parts.append(f"SELECT video_id, views FROM {name}_day_rollup WHERE window_start = %s")
        parts.append(f"SELECT video_id, views FROM {name}_late WHERE span = %s AND window_start = %s")
        values += [counter.today, span, window]
        if span != "day":
            parts.append(f"SELECT video_id, views FROM {name}_{span}_rollup WHERE window_start = %s")
            values.append(window)
    return f"SELECT video_id, sum(views)::bigint FROM ({' UNION ALL '.join(parts)}) p GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT %s", values


def timed(cursor, query, values):
    began = time.perf_counter()
    cursor.execute(query, values)
    rows = cursor.fetchall()
    return (time.perf_counter() - began) * 1000, rows


def p99(values):
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def repeated(cursor, query, values, times, expected):
    took = []
    for _ in range(times):
        ms, rows = timed(cursor, query, values)
        if rows != expected:
            raise ServerError(f"{query} {values}: differs from the plain sum")
        took.append(ms)
    return took


def queries(counter, args):
    return args.queries if counter.shape == "zipf" else max(1, args.queries // 10)


def measure_span(report, cursor, counter, span, length, month, args, prepared=None):
    """prepared: of trailing spans, whether their sealed part is; what was measured in ms at p50."""
    name = counter.name
    cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    if span == "hour":  # a copy with a btree is the rival
        query, values = (f"SELECT video_id, views FROM {name}_btree WHERE window_start = %s ORDER BY views DESC, video_id LIMIT %s", [counter.now])
    else:
        query, values = plain(counter, span, month)
    summed, expected = [], None
    for _ in range(queries(counter, args) if span == "hour" else args.rounds):
        ms, expected = timed(cursor, query, values + [length])
        summed.append(ms)
    merged = repeated(cursor, "SELECT video_id, views FROM topk(%s, %s, %s, %s)", (span, length, counter.now, name),
                      queries(counter, args), expected)
    cursor.execute("SELECT rows_read, lookups, ended, (SELECT count(*) - 1 FROM topk.explain(%s, %s, %s, %s)) FROM topk.explain(%s, %s, %s, %s) WHERE list = 'all'",
                   (span, length, counter.now, name) * 2)
    rows, lookups, ended, lists = cursor.fetchone()
    cursor.execute("COMMIT")
    state = {None: "", True: " prepared", False: " cold"}[prepared]
    other = "btree" if span == "hour" else "plain sum"
    how = "" if span == "hour" else f"; {lists} lists, {rows:,} rows read, {lookups:,} look-ups, {ended}"
    median = statistics.median(merged)
    report.line(f"    {span + state:18} top-{length:<5} p50 {median:8.2f}, p99 {p99(merged):8.2f} ms; {other} p50 {statistics.median(summed):9.2f}, p99 {p99(summed):9.2f} ms{how}")
    bar = BARS.get((span, length) if prepared is None else (span, length, prepared))
    if bar and counter.shape == "zipf":
        report.bar(f"{counter.videos:,} videos", f"{span}{state}, top-{length}, p50 in ms", median, bar, "{:.2f}")
    return median


def measure(report, connection, counter, month, args):
    """{(span, k, prepared): ms}"""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {counter.name}_btree AS SELECT * FROM {counter.name}_hour WHERE window_start = %s", (counter.now,))
        cursor.execute(f"CREATE INDEX ON {counter.name}_btree (window_start, views DESC, video_id); VACUUM ANALYZE {counter.name}_btree".split(";")[0])
        cursor.execute(f"VACUUM ANALYZE {counter.name}_btree")
        for span in SPANS:
            for length in LENGTHS:
                found[span, length, None] = measure_span(report, cursor, counter, span, length, month, args, False if span in TRAILING else None)
        began = time.perf_counter()
        ranges, prepared = 0, 1
        while prepared:
            cursor.execute("SELECT topk.prepare_step(%s)", (counter.name,))
            prepared, = cursor.fetchone()
            ranges += prepared
        report.line(f"    topk.prepare_step: {ranges} ranges in {time.perf_counter() - began:.1f} s")
        for span in TRAILING:
            for length in LENGTHS:
                found[span, length, True] = measure_span(report, cursor, counter, span, length, month, args, True)
    return found


class Load(threading.Thread):
    """Calls step(cursor, number) on its connection, every so many seconds or without a pause, until the block ends; took: ms each."""

    def __init__(self, connection, step, every=0.0):
        super().__init__(daemon=True)
        self.connection, self.step, self.every, self.took, self.ended, self.error = connection, step, every, [], threading.Event(), None

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                number, due = 0, time.perf_counter()
                while not self.ended.wait(max(0.0, due - time.perf_counter())):
                    began = time.perf_counter()
                    self.step(cursor, number)
                    self.took.append((time.perf_counter() - began) * 1000)
                    number, due = number + 1, max(due + self.every, began)
        except Exception as error:  # told by whoever waits for the thread
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        if self.error:
            raise ServerError(f"beside the roll-up: {self.error}")

    def __str__(self):
        return f"p50 {statistics.median(self.took):.2f}, p99 {p99(self.took):.2f} ms"


class Beside:
    """What is felt beside a roll-up: flushes of --flush-rows views of tomorrow, Zipf-distributed, twice a second, and the day's list without a pause."""

    def __init__(self, flusher, reader, counter, args):
        self.flusher, self.reader, self.counter, self.rows, self.offset = flusher, reader, counter, args.flush_rows, 10
        cursor = flusher.cursor()
        cursor.execute("SELECT epoch FROM topk.claim(%s, 'events', 'cluster', 'group', 'flusher', 1, '{0}', '{0}', '{100}')", (counter.name,))
        self.epoch, = cursor.fetchone()
        cursor.execute(f"CREATE TABLE {counter.name}_flushes AS SELECT n, t.deltas(t.hour(%s, VARIADIC array_agg(t.entry(id, v) ORDER BY id COLLATE \"C\"))) AS deltas"
                       f" FROM (SELECT n, {ID.format(rank='r')} AS id, count(*) AS v FROM (SELECT n, floor(exp(random() * ln(%s)))::bigint AS r"
                       " FROM generate_series(0, 19) n, generate_series(1, %s)) d GROUP BY n, r) e GROUP BY n", (counter.today + 24 * HOUR, counter.videos, args.flush_rows))
        cursor.execute(f"SELECT n, deltas FROM {counter.name}_flushes ORDER BY n")
        self.deltas = [bytes(deltas) for _, deltas in cursor.fetchall()]
        cursor.execute(f"DROP TABLE {counter.name}_flushes")

    def flush(self, cursor, number):
        cursor.execute("SELECT topk.flush(%s, 'events', %s, NULL, NULL, ARRAY[t.advance(0, %s, %s, %s)])",
                       (self.counter.name, self.deltas[number % len(self.deltas)], self.epoch, self.offset, self.offset + self.rows))
        self.offset += self.rows

    def read(self, cursor, _):
        cursor.execute("SELECT * FROM topk('day', 100, %s, %s)", (self.counter.now, self.counter.name))
        cursor.fetchall()

    def beside(self, work):
        """What work() returns, and in words what flushes and reads took meanwhile."""
        with Load(self.flusher, self.flush, 0.5) as flushes, Load(self.reader, self.read) as reads:
            result = work()
        return result, f"flushes {flushes}, topk('day', 100) {reads}"


def roll_up(cursor, counter, through):
    """Seals up to a time and rolls up: (seconds, bytes of WAL)."""
    cursor.execute("UPDATE topk.counter_data SET sealed_through = %s WHERE name = %s", (through, counter.name))
    cursor.execute("CHECKPOINT")
    cursor.execute("SELECT pg_current_wal_insert_lsn()")
    before, = cursor.fetchone()
    began = time.perf_counter()
    cursor.execute("CALL topk.roll_up(%s)", (counter.name,))
    seconds = time.perf_counter() - began
    cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", (before,))
    return seconds, float(cursor.fetchone()[0])


def measure_roll_up(report, server, connection, counter, args):
    """The running hour is filled up, sealed and rolled up to its day; then the day, to its month and all time. Flushes and reads go on."""
    name = counter.name
    with connection.cursor() as cursor, contextlib.closing(server.connect()) as flusher, contextlib.closing(server.connect()) as reader:
        beside = Beside(flusher, reader, counter, args)
        _, alone = beside.beside(lambda: time.sleep(args.alone))
        report.line(f"    beside no roll-up for {args.alone:.0f} s, flushes of {args.flush_rows:,} views twice a second: {alone}")

        def measured(what, rows, through):
            (seconds, wal), felt = beside.beside(lambda: roll_up(cursor, counter, through))
            report.line(f"    roll-up of {what} of {rows:,} rows: {seconds:.1f} s, {rows / seconds:,.0f} rows/s, WAL with the flushes' {wal / 1e6:,.0f} MB, "
                        f"{wal / rows:.0f} bytes a row; meanwhile {felt}")

        # First the videos that are known, then new ones
        cursor.execute(f"INSERT INTO {name}_hour SELECT %s, video_id, 1 FROM {name}_all_time_rollup LIMIT %s ON CONFLICT DO NOTHING", (counter.now, args.roll_up))
        cursor.execute(f"SELECT count(*) FROM {name}_hour WHERE window_start = %s", (counter.now,))
        missing = max(0, args.roll_up - cursor.fetchone()[0])
        cursor.execute(f"INSERT INTO {name}_hour SELECT %s, id, 1 FROM (SELECT 'roll' || md5(n::text) AS id FROM generate_series(1, %s) n) i ORDER BY id COLLATE \"C\"",
                       (counter.now, missing))
        cursor.execute(f"VACUUM ANALYZE {name}_hour")
        cursor.execute(f"SELECT count(*) FROM {name}_hour WHERE window_start = %s", (counter.now,))
        measured("an hour", cursor.fetchone()[0], counter.now + HOUR)
        cursor.execute(f"INSERT INTO {name}_day_rollup SELECT %s, video_id, 1 FROM {name}_all_time_rollup ON CONFLICT DO NOTHING", (counter.today,))
        cursor.execute(f"SELECT count(*) FROM {name}_day_rollup WHERE window_start = %s", (counter.today,))
        missing = max(0, args.roll_up_day - cursor.fetchone()[0])
        cursor.execute(f"INSERT INTO {name}_day_rollup SELECT %s, id, 1 FROM (SELECT 'day' || md5(n::text) AS id FROM generate_series(1, %s) n) i ORDER BY id COLLATE \"C\"",
                       (counter.today, missing))
        cursor.execute(f"VACUUM ANALYZE {name}_day_rollup")
        cursor.execute(f"SELECT count(*) FROM {name}_day_rollup WHERE window_start = %s", (counter.today,))
        measured("a day, to month and all time,", cursor.fetchone()[0], counter.today + 24 * HOUR)


def measure_server(report, server, args):
    with contextlib.closing(server.connect()) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            report.line(f"\nPostgreSQL {cursor.fetchone()[0]}")
            cursor.execute("CREATE EXTENSION topk; CREATE EXTENSION pg_prewarm")
            cursor.execute((ROOT / "sql/init.sql").read_text())
            cursor.execute("SELECT setseed(%s)", (args.seed / 1000,))
        by_size = {}
        shapes = [("zipf", videos) for videos in args.videos] + [(shape, min(args.shape_videos, min(args.videos))) for shape in ("opposite", "flat")]
        for number, (shape, videos) in enumerate(shapes):
            found = measure_counter(report, server, connection, number, shape, videos, args)
            if shape == "zipf":
                by_size[videos] = found
        compare_sizes(report, by_size)


def measure_counter(report, server, connection, number, shape, videos, args):
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    offset = 12 - now.hour  # POSIX signs: Etc/GMT+5 is west of Greenwich
    zone = f"Etc/GMT{'-' if offset >= 0 else '+'}{abs(offset)}" if offset else "UTC"
    counter = Counter(f"spans_{number}", shape, videos, args.views * videos, args.drift, now)
    began = time.monotonic()
    with connection.cursor() as cursor:
        month = create(cursor, counter, zone)
        cursor.execute("SELECT pg_size_pretty(sum(pg_total_relation_size(oid))) FROM pg_class WHERE relname LIKE %s AND relkind = 'r'", (counter.name + "%",))
        size, = cursor.fetchone()
    report.line(f"  {shape}, {videos:,} videos, {counter.views:,.0f} views a day, {counter.rows:,} rows, {size}, loaded in {time.monotonic() - began:.0f} s; "
                f"{queries(counter, args)} lists, {args.rounds} sums")
    found = measure(report, connection, counter, month, args)
    if shape == "zipf":
        measure_roll_up(report, server, connection, counter, args)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {counter.name}_btree")
        cursor.execute("SELECT topk.drop_counter(%s)", (counter.name,))
        cursor.execute("CHECKPOINT")
    return found


def compare_sizes(report, by_size):
    if len(by_size) < 2:
        return
    least, most = min(by_size), max(by_size)
    report.line(f"  from {least:,} to {most:,} videos, p50: " + ", ".join(
        f"{span}{' prepared' if prepared else ''} top-{length} ×{by_size[most][span, length, prepared] / by_size[least][span, length, prepared]:.2f}"
        for span, length, prepared in by_size[most] if length == 100))


def main():
    made = parser(__doc__)
    made.add_argument("--videos", type=counts, default="1M,10M", help="one counter each")
    made.add_argument("--shape-videos", type=count, default="1M", help="of the counters whose windows are opposite or flat")
    made.add_argument("--views", type=float, default=1.0, help="views a day by video, on average")
    made.add_argument("--drift", type=float, default=0.5, help="deviation of the logarithm of the factor by video and window")
    made.add_argument("--roll-up", type=count, default="5M", help="rows added to the hour that is rolled up")
    made.add_argument("--roll-up-day", type=count, default="10M", help="rows of the day that is rolled up")
    made.add_argument("--flush-rows", type=count, default="10k", help="views of a flush beside the roll-up")
    made.add_argument("--alone", type=float, default=20, help="seconds of flushes and reads without a roll-up")
    made.add_argument("--rounds", type=int, default=3, help="plain sums of a span")
    made.add_argument("--queries", type=int, default=200, help="lists of a span; of opposite and flat windows a tenth")
    add_majors(made, shared_buffers="8GB")
    args = parse(made, QUICK)
    heading = (f"spans: topk(span, k) beside GROUP BY\n"
               f"load      {', '.join(f'{videos:,}' for videos in args.videos)} videos, Zipf 1.0, {args.views} views a day by video, drift {args.drift}; seed {args.seed}")
    return run("spans", args, heading, lambda report: each_major("spans", report, args, lambda server: measure_server(report, server, args)))


if __name__ == "__main__":
    sys.exit(main())
