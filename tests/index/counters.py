"""Counters of random shape whose hours and late additions sessions write by hand, while others roll them up by hand, too; and the lists
asked of them.

What a list must be is a sum over the hours and the late additions, by plain SQL, in the same snapshot: roll-ups hold the same views again, so
hours change only beyond the markers. Windows and hours come from topk.hours().
"""
import contextlib
from dataclasses import dataclass, field

# (time zone, an instant of a day on which it is odd)
ZONES = [("UTC", "2026-01-15 12:00Z"), ("America/Havana", "2020-11-01 12:00Z"), ("Asia/Kathmandu", "2026-02-28 20:00Z"),
         ("Australia/Lord_Howe", "2025-10-04 20:00Z")]


@dataclass
class Counter:
    name: str
    videos: int
    skew: float          # 0: all alike; else some videos have most views, in all hours
    hours: list          # (start, day, month)
    steady: bool         # the same videos lead in every hour
    prepared: list = field(default_factory=list)  # (since, until) of prepared sums, to ask for such ranges more often

    def video(self, rng, hour):
        rank = int(self.videos ** (1 - rng.random() * self.skew)) if self.skew else rng.randrange(self.videos)
        if not self.steady:
            rank = (rank * 31 + self.hours.index(hour) * 17) % self.videos
        return f"v{rank}" if rank % 11 else f"v{'x' * 70}{rank}"  # an index keeps the beginning of long ones


def create(database, rng, number):
    zone, instant = ZONES[number % len(ZONES)]
    name = f"merged_{number}"
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT topk.create_counter(%s, %s)", (name, zone))
        cursor.execute("SELECT hour_start::text, day_start::text, month_start::text FROM topk.hours(%s, %s::timestamptz - interval '20 hours', "
                       "%s::timestamptz + interval '15 hours')", (name, instant, instant))
        counter = Counter(name, rng.choice([30, 400, 2000]), rng.choice([0, 0.5, 1]), cursor.fetchall(), rng.random() < 0.5)
        # A flush makes the days' partitions; the sessions then write by hand
        cursor.execute("SELECT 1 FROM topk.claim(%s, 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}')", (name,))
        cursor.execute("SELECT topk.flush(%s, 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(h, t.entry('first', 1)) ORDER BY h))"
                       " FROM unnest(%s::timestamptz[]) h), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])", (name, [hour[0] for hour in counter.hours]))
        cursor.execute("UPDATE topk.counter_data SET sealed_through = '2100-01-01' WHERE name = %s", (name,))  # prepared sums are of sealed hours
        # Few candidates: lists end at their thresholds
        cursor.execute("SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
                       " JOIN pg_class r ON r.oid = i.indrelid WHERE a.amname = 'topk' AND c.relkind = 'i' AND r.relname LIKE %s", (name + "%",))
        for index, in cursor.fetchall():
            cursor.execute(f"ALTER INDEX {index} SET (k = {rng.choice([5, 50, 1000])})")
    return counter


def markers(cursor, counter, lock):
    """{span: (window, video id)}"""
    cursor.execute(f"SELECT span, window_start::text, video_id FROM topk.roll_up_marker WHERE counter = %s ORDER BY span {lock}", (counter.name,))
    return {span: (window, video) for span, window, video in cursor.fetchall()}


def write(cursor, counter, rng):
    """One statement of a writer. Hours that are being rolled up, or were, stay as they are."""
    name = counter.name
    window, _ = markers(cursor, counter, "FOR SHARE")["day"]
    cursor.execute("SELECT hour_start::text FROM topk.hour_map WHERE counter = %s AND hour_start > %s ORDER BY hour_start", (name, window))
    open_hours = {start for start, in cursor.fetchall()}
    hour = rng.choice([hour for hour in counter.hours if hour[0] in open_hours])
    kind = rng.choice(["upsert"] * 6 + ["late", "late", "delete", "lead", "fall", "tie"])
    rows = [(counter.video(rng, hour), rng.choice([1, 1, 2, 5, 1000])) for _ in range(rng.choice([1, 20, 200]))]
    rows = sorted(dict(rows).items())
    ids, views = [row[0] for row in rows], [row[1] for row in rows]
    on_conflict = "DO UPDATE SET views = t.views + excluded.views"
    if kind == "upsert":
        cursor.execute(f"INSERT INTO {name}_hour AS t SELECT %s, * FROM unnest(%s, %s::bigint[]) ON CONFLICT (window_start, video_id) {on_conflict}",
                       (hour[0], ids, views))
    elif kind == "late":
        span, start = rng.choice([("day", hour[1]), ("month", hour[2]), ("all_time", "-infinity")])
        cursor.execute(f"INSERT INTO {name}_late AS t SELECT %s, %s, * FROM unnest(%s, %s::bigint[]) ON CONFLICT (span, window_start, video_id) {on_conflict}",
                       (span, start, ids, views))
    elif kind == "delete":
        cursor.execute(f"DELETE FROM {name}_hour WHERE window_start = %s AND video_id = ANY (%s)", (hour[0], ids))
    elif kind == "lead":
        cursor.execute(f"UPDATE {name}_hour SET views = views * 2 WHERE window_start = %s AND video_id = %s AND views < 1e12", (hour[0], ids[0]))
    elif kind == "fall":
        cursor.execute(f"UPDATE {name}_hour SET views = 1 WHERE window_start = %s AND video_id IN (SELECT video_id FROM {name}_hour"
                       " WHERE window_start = %s ORDER BY views DESC, video_id LIMIT 5)", (hour[0], hour[0]))
    else:
        cursor.execute(f"UPDATE {name}_hour SET views = 7 WHERE window_start = %s AND views < 7", (hour[0],))


def roll_up(cursor, counter, rng):
    """One step of a roll-up: rows of an hour to their day, or of a day to its month or all time. After the last but some hours all is
    taken back, so that it never ends."""
    name, at = counter.name, markers(cursor, counter, "FOR UPDATE")
    span = rng.choice(["day", "day", "month", "all_time"])
    window, video = at[span]
    if span == "day":
        source, target = "hour", "day_start"
        cursor.execute("SELECT hour_start::text, hour_end::text, day_start::text FROM topk.hour_map WHERE counter = %s AND hour_start >= %s ORDER BY hour_start LIMIT 1",
                       (name, window))
        found = cursor.fetchone()
        if found[0] >= counter.hours[-4][0] or rng.random() < 0.01:
            cursor.execute(f"DELETE FROM {name}_day_rollup; DELETE FROM {name}_month_rollup; DELETE FROM {name}_all_time_rollup;"
                           " UPDATE topk.roll_up_marker SET window_start = '-infinity', video_id = '' WHERE counter = %s;"
                           " DELETE FROM topk.prepared_sum_data WHERE counter = %s", (name, name))
            counter.prepared = []
            return "start over"
        if found[0] > counter.hours[0][0] and rng.random() < 0.2:
            return prepare(cursor, counter, rng, found[0])
    else:
        source, target = "day_rollup", "month_start" if span == "month" else "'-infinity'"
        cursor.execute(f"SELECT day_start::text, max(hour_end)::text, {target}::text FROM topk.hour_map WHERE counter = %s AND day_start >= %s"
                       " GROUP BY day_start, month_start HAVING max(hour_end) <= %s ORDER BY day_start LIMIT 1", (name, window, at["day"][0]))
        found = cursor.fetchone()
        if not found:
            return "nothing to roll up"
    start, end, into = found
    count = rng.choice([1, 20, 300, 100000])
    cursor.execute(f"WITH part AS MATERIALIZED (SELECT video_id, views FROM {name}_{source} WHERE window_start = %s AND video_id > %s ORDER BY video_id LIMIT %s),"
                   f" added AS (INSERT INTO {name}_{span}_rollup AS t SELECT %s, video_id, views FROM part"
                   "  ON CONFLICT (window_start, video_id) DO UPDATE SET views = t.views + excluded.views) SELECT count(*), max(video_id) FROM part",
                   (start, video if start == window else "", count, into))
    done, last = cursor.fetchone()
    cursor.execute("UPDATE topk.roll_up_marker SET window_start = %s, video_id = %s WHERE counter = %s AND span = %s",
                   (*((start, last) if done == count else (end, "")), name, span))
    return f"rolled up to {span}"


def prepare(cursor, counter, rng, until):
    """Prepared sums up to an hour, from several, as topk.prepare_step would make them of the hours before the running one; few, so that
    many videos are not among them."""
    starts = [start for start, _, _ in counter.hours if start < until]
    for since in rng.sample(starts, min(len(starts), 25)):
        depth = rng.choice([1, 10, 100, 2048])
        cursor.execute(f"INSERT INTO topk.prepared_sum_data (counter, since, until, corrections, complete, video_ids, views)"
                       f" SELECT %s, %s, %s, 0, count(*) < %s, coalesce(array_agg(video_id ORDER BY n), '{{}}'), coalesce(array_agg(views ORDER BY n), '{{}}')"
                       f" FROM (SELECT video_id, sum(views)::bigint AS views, row_number() OVER (ORDER BY sum(views) DESC, video_id) AS n FROM {counter.name}_hour"
                       f"  WHERE window_start >= %s AND window_start < %s GROUP BY video_id ORDER BY n LIMIT %s) s ON CONFLICT (counter, since, until) DO NOTHING",
                       (counter.name, since, until, depth, since, until, depth))
        counter.prepared = counter.prepared[-100:] + [(since, until)]
    return "prepared"


def ask(counter, rng):
    """(call, its arguments, what it must be: a query of video_id and views, its arguments, the call of topk.explain or None)"""
    name = counter.name
    at = rng.randrange(len(counter.hours))
    hour, day, month = counter.hours[at]
    k = rng.choice([1, 3, 10, 10, 100, 1000])
    span = rng.choice(["day", "day", "day", "month", "all_time", "trailing", "trailing", "trailing", "between"])
    of_hours = f"SELECT video_id, views FROM {name}_hour WHERE window_start = ANY (%s::timestamptz[])"
    if span in ("trailing", "between"):
        count = rng.randint(1, at + 1)
        if prepared := [since for since, until in counter.prepared if until <= hour] if rng.random() < 0.7 else []:
            count = at + 1 - [start for start, _, _ in counter.hours].index(rng.choice(prepared))
        parts, values = of_hours, [[start for start, _, _ in counter.hours[at + 1 - count:at + 1]]]
        if span == "between" and at + 1 < len(counter.hours):
            call, given = "topk.between(%s, %s, %s, %s)", [values[0][0], counter.hours[at + 1][0], k, name]
            return call, given, summed(parts), values + [k], None
        span = f"{count} hours"
    else:
        hours = [start for start, *windows in counter.hours if span == "all_time" or (day, month)[span == "month"] in windows]
        start = {"day": day, "month": month, "all_time": "-infinity"}[span]
        parts = f"{of_hours} UNION ALL SELECT video_id, views FROM {name}_late WHERE span = %s AND window_start = %s"
        values = [hours, span, start]
    given = [span, k, hour, name]
    return "topk(%s, %s, %s, %s)", given, summed(parts), values + [k], "topk.explain(%s, %s, %s, %s)"


def summed(parts):
    return f"SELECT video_id, sum(views)::bigint FROM ({parts}) p GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT %s"
