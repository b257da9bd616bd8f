"""What stands in the day, the month and all time before a run of the ingest benchmark begins with an empty hour.

A template database for each design's tables, made once for a catalogue and copied for every run. Its videos are the first ones by rank of
`topkd produce`, and beyond its catalogue others; views are Zipf's, one at least. Tables are loaded in the order that videos come in,
without their indexes, and vacuumed.
"""

import contextlib
from dataclasses import dataclass
from math import gcd

from spans_bench import without_indexes

FINGERPRINT = "coalesce(sum(views), 0)::numeric, coalesce(sum(views * hashtextextended(video_id, 0)::numeric), 0)"
DAYS = {"day": 1, "month": 20, "all_time": 400}  # whose views stand there
ONE_VIEW = 10  # beyond every tenth rank a video has one view a day
MORNING_HOURS = 12  # what topkd rolled up came by hours, each in the order of its key


def numbers_step(videos):
    """By which `topkd produce` goes through the numbers of its videos (SyntheticSequence::video_number)."""
    step = int(videos * 0.6180339887) | 1
    while gcd(step, videos) != 1:
        step += 2
    return step


@dataclass
class Standing:
    videos: int
    catalogue: int
    start: str  # time of the first event of the run
    all_time: str  # its window
    database: str
    sums: dict = None  # by span, the fingerprint of its table

    def window(self, span):
        """An expression."""
        return f"timestamptz '{self.all_time}'" if span == "all_time" else f"date_trunc('{span}', timestamptz '{self.start}', 'UTC')"

    def hour(self):
        return f"date_trunc('hour', timestamptz '{self.start}', 'UTC')"

    def rows(self, span):
        """A query: video_id, views, rank."""
        first = max(1, self.videos // ONE_VIEW) * DAYS[span]
        number = f"CASE WHEN rank <= {self.catalogue} THEN rank * {numbers_step(self.catalogue)} % {self.catalogue} + 1 ELSE rank END"
        return f"SELECT 'vid_' || {number} AS video_id, greatest(1, {first} / rank) AS views, rank FROM generate_series(1::bigint, {self.videos}) rank"

    def came_by_hours(self):
        return f"(rank - 1) * {MORNING_HOURS} / {self.videos}, video_id COLLATE \"C\""


class Templates:
    def __init__(self, rig, videos, progress):
        self.rig, self.videos, self.progress = rig, videos, progress
        self.made = {}

    def standing(self, kind, catalogue, start):
        """None if nothing is to stand."""
        if not self.videos:
            return None
        key = (kind.tables, catalogue, start)
        if any(other[1:] != key[1:] for other in self.made):
            self.drop()
        if key not in self.made:
            self.made[key] = self._make(kind, Standing(self.videos, catalogue, start, kind.all_time, f"standing_{kind.tables}"))
        return self.made[key]

    def drop(self):
        while self.made:
            self.rig.admin(f"DROP DATABASE {self.made.popitem()[1].database} WITH (FORCE)")

    def _make(self, kind, standing):
        with self.rig.fresh_database(standing.database, keep=True), contextlib.closing(self.rig.connect()) as connection, connection.cursor() as cursor:
            arm = kind(self.rig, None, None)
            arm.setup_tables()
            cursor.execute("CREATE EXTENSION pg_prewarm")
            for span in DAYS:
                table = arm.standing_table.format(span=span)
                without_indexes(cursor, table, lambda span=span, table=table: cursor.execute(
                    f"INSERT INTO {table} SELECT {standing.window(span)}, video_id, views FROM ({standing.rows(span)}) r ORDER BY {arm.standing_order(standing)}"))
            arm.after_standing(cursor, standing)
            cursor.execute("VACUUM (ANALYZE)")
            standing.sums = {}
            for span in DAYS:
                cursor.execute(f"SELECT {FINGERPRINT} FROM {arm.standing_table.format(span=span)}")
                standing.sums[span] = cursor.fetchone()
        self.progress.say(f"{standing.videos:,} videos stand in the tables of {kind.tables}")
        return standing


def warm(rig):
    """Tables and indexes of the current database are in shared buffers, as a running system's are, as far as these go."""
    rig.query("SELECT pg_prewarm(c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'i') AND c.relnamespace = 'public'::regnamespace "
              "ORDER BY pg_relation_size(c.oid) DESC")
