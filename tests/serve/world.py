"""Counters with everything that a list can be of: sealed and open windows, corrected ones, late views, hours that expired, two time zones,
names that want quoting, videos whose ids want escaping, nothing at all.

Times end with the running hour: it and the one before it are open.
"""
import random

from feed import Feed
from harness.clock import HOUR, hour_of, now
from serving import make_reader

HOURS = 50
ODD = "we\"ird 'né"
# Ids that break a body that is put together without care: quotes, backslashes, control characters, ends of lines and scripts, the longest
ESCAPED = ['quo"te', "back\\slash", "tab\tline\nreturn\r", "bell\x07\x01\x1f", "del\x7f", "</script><!--", "\u2028\u2029", "日本語", "\U0001f3ac film", "%00%22&amp;",
           "n" * 256, "é" * 128, " ", "null", "{}"]


class World:
    def __init__(self, database):
        self.database = database
        database.execute("CREATE EXTENSION topk")
        database.execute("CREATE EXTENSION pg_stat_statements")
        self.hour = hour_of(now())
        self.first = self.hour - HOURS * HOUR
        for name, zone in (("video_views", "UTC"), (ODD, "Asia/Kolkata"), ("empty_views", "UTC"), ("secret_views", "UTC"), ("old_views", "UTC")):
            database.execute("SELECT topk.create_counter(%s, %s)", name, zone)
        make_reader(database, "video_views", ODD, "empty_views", "old_views")
        self._fill("video_views", HOURS, 60)
        self._fill(ODD, 30, 40)
        self._correct()
        self._expire()

    def _fill(self, counter, hours, videos):
        """Sealed up to two hours before the end of the running one. Some videos are late for their hours."""
        rng = random.Random(f"serve/{counter}")
        feed = Feed(self.database, counter)
        starts = [start for start, in self.database.query("SELECT hour_start FROM topk.hours(%s, %s, %s) ORDER BY 1", counter,
                                                          self.hour - hours * HOUR, self.hour + HOUR)][-hours - 1:]
        for number, start in enumerate(starts):
            names = [f"vid_{rng.randrange(400):04}" for _ in range(videos)] + (ESCAPED if number % 5 == 0 or start == starts[-1] else [])
            if number in (10, hours):
                names += [f"many_{n:04}" for n in range(1300)]
            feed.flush({(start, name): rng.randint(1, 50) for name in sorted(set(names))}, watermark=start)
            if number in (20, 35):
                self._maintain(counter)
                feed.flush({}, late=[(starts[number - 8], "vid_0001", 3), (starts[number - 8], "only_late", 70)])
        feed.flush({(starts[-1], "vid_0001"): 7}, watermark=starts[-1] + HOUR / 3600 * 1.234)
        self._maintain(counter)

    def _maintain(self, counter):
        self.database.execute("CALL topk.maintain(%s)", counter)

    def _correct(self):
        """One hour twice: its window, its day and its month have a revision."""
        self.corrected = self.first + 12 * HOUR
        for delta in (500, 40):
            self.database.execute("SELECT topk.correct('video_views', %s, 'vid_0002', %s, 'a test')", self.corrected, delta)
        self._maintain("video_views")

    def _expire(self):
        """Of old_views: the hours of four days ago, without a final list."""
        self.expired = self.hour - 96 * HOUR
        feed = Feed(self.database, "old_views")
        feed.flush({(self.expired + n * HOUR, f"vid_{n % 3}"): 5 for n in range(96)}, watermark=self.hour)
        for statement in ("SELECT topk.set_retention('old_views', '1 day', '2 days', hour_lists => '1 hour')", "CALL topk.maintain('old_views')"):
            self.database.execute(statement)
        self.database.execute("DELETE FROM topk.leaderboard_window_data WHERE counter = 'old_views'")

    def instants(self):
        """Of every kind of window."""
        return {"open": self.hour, "before": self.hour - HOUR, "sealed": self.hour - 5 * HOUR, "corrected": self.corrected, "late": self.first + 12 * HOUR,
                "first": self.first, "without": self.first - 24 * HOUR, "future": self.hour + 24 * HOUR, "within": self.hour - 7 * HOUR + HOUR / 3600 * 61.5}
