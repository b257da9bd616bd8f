"""Counters of random shape whose hours, roll-ups and late additions sessions write by hand, and the lists asked of them.

What a list must be is a sum over the tables, by plain SQL, in the same snapshot. Windows and hours come from topk.hours().
"""
import contextlib
from dataclasses import dataclass

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
        # Few candidates: lists end at their thresholds
        cursor.execute("SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
                       " JOIN pg_class r ON r.oid = i.indrelid WHERE a.amname = 'topk' AND c.relkind = 'i' AND r.relname LIKE %s", (name + "%",))
        for index, in cursor.fetchall():
            cursor.execute(f"ALTER INDEX {index} SET (k = {rng.choice([5, 50, 1000])})")
    return counter


def write(cursor, counter, rng):
    """One statement of a writer."""
    name, hour = counter.name, rng.choice(counter.hours)
    kind = rng.choice(["upsert"] * 6 + ["late", "late", "rollup", "delete", "lead", "fall", "tie"])
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
    elif kind == "rollup":
        span, start = rng.choice([("day", hour[1]), ("month", hour[2]), ("all_time", "-infinity")])
        cursor.execute(f"INSERT INTO {name}_{span}_rollup AS t SELECT %s, * FROM unnest(%s, %s::bigint[]) ON CONFLICT (window_start, video_id) {on_conflict}",
                       (start, ids, views))
    elif kind == "delete":
        cursor.execute(f"DELETE FROM {name}_hour WHERE window_start = %s AND video_id = ANY (%s)", (hour[0], ids))
    elif kind == "lead":
        cursor.execute(f"UPDATE {name}_hour SET views = views * 2 WHERE window_start = %s AND video_id = %s AND views < 1e12", (hour[0], ids[0]))
    elif kind == "fall":
        cursor.execute(f"UPDATE {name}_hour SET views = 1 WHERE window_start = %s AND video_id IN (SELECT video_id FROM {name}_hour"
                       " WHERE window_start = %s ORDER BY views DESC, video_id LIMIT 5)", (hour[0], hour[0]))
    else:
        cursor.execute(f"UPDATE {name}_hour SET views = 7 WHERE window_start = %s AND views < 7", (hour[0],))


def ask(counter, rng):
    """(call, its arguments, what it must be: a query of video_id and views, its arguments, the call of topk.explain or None)"""
    name = counter.name
    at = rng.randrange(len(counter.hours))
    hour, day, month = counter.hours[at]
    k = rng.choice([1, 3, 10, 10, 100, 1000])
    span = rng.choice(["day", "day", "day", "month", "all_time", "trailing", "trailing", "between"])
    of_hours = f"SELECT video_id, views FROM {name}_hour WHERE window_start = ANY (%s::timestamptz[])"
    if span in ("trailing", "between"):
        count = rng.randint(1, at + 1)
        parts, values = of_hours, [[start for start, _, _ in counter.hours[at + 1 - count:at + 1]]]
        if span == "between" and at + 1 < len(counter.hours):
            call, given = "topk.between(%s, %s, %s, %s)", [values[0][0], counter.hours[at + 1][0], k, name]
            return call, given, summed(parts), values + [k], None
        span = f"{count} hours"
    else:
        hours = [start for start, *windows in counter.hours if span == "all_time" or (day, month)[span == "month"] in windows]
        start = {"day": day, "month": month, "all_time": "-infinity"}[span]
        parts = (f"{of_hours} UNION ALL SELECT video_id, views FROM {name}_late WHERE span = %s AND window_start = %s"
                 f" UNION ALL SELECT video_id, views FROM {name}_{span}_rollup WHERE window_start = %s")
        values = [hours, span, start, start]
    given = [span, k, hour, name]
    return "topk(%s, %s, %s, %s)", given, summed(parts), values + [k], "topk.explain(%s, %s, %s, %s)"


def summed(parts):
    return f"SELECT video_id, sum(views)::bigint FROM ({parts}) p GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT %s"
