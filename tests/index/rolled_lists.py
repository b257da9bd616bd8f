"""Lists and views of a counter that is rolled up, against what its hours and late additions say in the same snapshot."""
import heapq

from rolling import NAME, SPANS


class Truth:
    """Sums of all hours in one pass: {window: {video: views}}."""

    def __init__(self, cursor, rolling, at, between):
        hour = rolling.hours[at]
        index = rolling.calendar.index(hour)
        ranges = {"hour": (hour.start, hour.end), "day": self.bounds(rolling.calendar, "day", hour.day), "month": self.bounds(rolling.calendar, "month", hour.month),
                  "all_time": ("-infinity", "infinity"), "between": between,
                  "24 hours": (rolling.calendar[index - 23].start, hour.end), "7 days": (rolling.calendar[index - 167].start, hour.end)}
        # int4, because sums of bigint are numeric, which is slow; views beyond it would be an error
        sums = ", ".join("sum(views::int4) FILTER (WHERE window_start >= %s AND window_start < %s)" for _ in ranges)
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute(f"SELECT video_id, {sums} FROM {NAME}_hour GROUP BY video_id", [bound for pair in ranges.values() for bound in pair])
        self.sums = {span: {} for span in ranges}
        for video, *values in cursor.fetchall():
            for span, value in zip(ranges, values):
                if value is not None:
                    self.sums[span][video] = value
        cursor.execute(f"SELECT span, video_id, views FROM {NAME}_late WHERE (span, window_start) IN (('day', %s), ('month', %s), ('all_time', '-infinity'))",
                       (hour.day, hour.month))
        for span, video, views in cursor.fetchall():
            self.sums[span][video] = self.sums[span].get(video, 0) + views

    @staticmethod
    def bounds(calendar, span, start):
        hours = [hour for hour in calendar if getattr(hour, span) == start]
        return hours[0].start, hours[-1].end

    def top(self, span, k):
        rows = heapq.nsmallest(k, self.sums[span].items(), key=lambda row: (-row[1], row[0]))  # ids are ASCII: by character is by byte
        return [(rank, *row) for rank, row in enumerate(rows, 1)]


def compare_snapshot(cursor, rolling, rng, at=None, first=0, spans=SPANS):
    """Lists at one moment, of an hour, and between two from the `first` on. The lists are asked for first: how they are found depends on
    nothing that the sums did."""
    if at is None:
        at = rng.randrange(24, len(rolling.hours))
    since = rng.randrange(first, len(rolling.hours) - 1)
    between = (rolling.hours[since].start, rolling.hours[rng.randrange(since, len(rolling.hours))].end)
    between_k = rng.choice((1, 10, 100, 1000))
    found = {}
    for span, k in spans:
        cursor.execute("SELECT rank, video_id, views FROM topk(%s, %s, %s, %s)", (span, k, rolling.hours[at].start, NAME))
        found[span, k] = cursor.fetchall()
    cursor.execute("SELECT rank, video_id, views FROM topk.between(%s, %s, %s, %s)", (*between, between_k, NAME))
    found["between", between_k] = cursor.fetchall()
    truth = Truth(cursor, rolling, at, between)
    for (span, k), rows in found.items():
        expected = truth.top(span, k)
        if rows != expected:
            place = next((i for i, pair in enumerate(zip(rows, expected)) if pair[0] != pair[1]), min(len(rows), len(expected)))
            cursor.execute("SELECT span, window_start, video_id FROM topk.roll_up_marker WHERE counter = %s", (NAME,))
            raise AssertionError(f"{span} {between if span == 'between' else ''} k = {k} at {rolling.hours[at].start}, rank {place + 1}: found "
                                 f"{rows[place:place + 3]}, by sums {expected[place:place + 3]}; markers {cursor.fetchall()}")
        rolling.count("lists")
        if rng.random() < 0.3 and span != "between":
            cursor.execute("SELECT ended FROM topk.explain(%s, %s, %s, %s) WHERE list = 'all'", (span, k, rolling.hours[at].start, NAME))
            for ended, in cursor.fetchall():
                rolling.count(f"by {ended.split(':')[0]}")
        rolling.count("rows compared", len(rows))


def compare_views(cursor, rolling):
    """Every row of the three views."""
    for span, start in (("day", "m.day_start"), ("month", "m.month_start"), ("all_time", "'-infinity'::timestamptz")):
        cursor.execute(
            f"SELECT window_start, video_id, t.views, v.views FROM (SELECT window_start, video_id, sum(views) AS views FROM ("
            f"  SELECT {start} AS window_start, h.video_id, h.views FROM {NAME}_hour h JOIN topk.hour_map m ON m.counter = %s AND m.hour_start = h.window_start"
            f"  UNION ALL SELECT window_start, video_id, views FROM {NAME}_late WHERE span = %s) p GROUP BY 1, 2) t"
            f" FULL JOIN {NAME}_{span} v USING (window_start, video_id) WHERE t.views IS DISTINCT FROM v.views LIMIT 5", (NAME, span))
        assert not (rows := cursor.fetchall()), f"{NAME}_{span}: (window, video, by sums, in the view) {rows}"
    rolling.count("views compared", 3)


def audit(cursor, rolling):
    cursor.execute("SELECT check_name, subject, expected, found, detail FROM topk.audit(%s) WHERE NOT ok", (NAME,))
    assert not (rows := cursor.fetchall()), f"topk.audit: {rows}"
    rolling.count("audits")
