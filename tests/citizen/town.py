"""A database full of counters, and what must be right about it wherever it went: the same rows, indexes that agree with their
tables, exact lists and views, an audit without a difference, and ingest that goes on.

Times are of the last days: nothing is old enough to expire.
"""
import random
from datetime import datetime, timedelta, timezone

from feed import Feed
from psycopg2 import sql

HOUR = timedelta(hours=1)
TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
START, END = TODAY - timedelta(days=3), TODAY - timedelta(days=1)
OWNER = "o'wn\"er é"
VIDEOS = [f"vid_{number:03}" for number in range(150)] + ["quo'te", "tab\t", "日本語"]
# (name, schema, owner, time zone)
COUNTERS = [("video_views", "public", "postgres", "UTC"), ("we\"ird 'né", "Sch e\"ma", OWNER, "Europe/Berlin"),
            ("video_views_hour", "public", "postgres", "Asia/Kolkata"), ("x" * 40, "second", OWNER, "UTC")]
SPANS = ["hour", "day", "month", "all_time", "5 hours", "2 days"]


def identifier(*names):
    return sql.Identifier(*names)


def make_roles(database):
    for role in (OWNER, "reader", "on\"call"):
        if not database.query("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            database.execute(sql.SQL("CREATE ROLE {} LOGIN").format(identifier(role)))


class Counter:
    def __init__(self, database, name, schema, owner, zone):
        self.database, self.name, self.schema, self.zone = database, name, schema, zone
        self.owner = database if owner == database.user else database.as_user(owner)
        self.feed = None

    def make(self):
        self.database.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(identifier(self.schema), identifier(self.owner.user)))
        self.owner.execute(sql.SQL("SET search_path = {}").format(identifier(self.schema)))
        self.owner.execute("SELECT topk.create_counter(%s, %s)", self.name, self.zone)

    def table(self, suffix):
        return identifier(self.schema, f"{self.name}_{suffix}")

    def moved_to(self, database):
        return Counter(database, self.name, self.schema, self.owner.user, self.zone)

    # --- Ingest ---

    def first_hours(self, seed):
        """Two days of views, late ones, dead letters, a seal, a hold that ended, a correction, a reset, grants."""
        rng = random.Random(f"{seed}/{self.name}")
        self.feed = Feed(self.owner, self.name)
        hours = [self.hour_of(START + n * HOUR) for n in range(48)]
        for first in range(0, len(hours), 8):
            deltas = {(hour, video): rng.randint(1, 30) for hour in hours[first:first + 8] for video in rng.sample(VIDEOS, 60)}
            self.feed.flush(deltas, dead=int(first == 8), watermark=hours[first] + 8 * HOUR)
            self.maintain()
        late = [(hours[n], rng.choice(VIDEOS), rng.randint(1, 9)) for n in (1, 20, 40)]
        self.feed.flush({}, late=late)
        self.owner.execute("SELECT topk.correct(%s, %s, 'vid_001', 1000, 'a reason')", self.name, hours[3])
        self.maintain()  # lists of before the correction are not final
        self.owner.execute("SELECT topk.hold_seal(%s, 'a backfill')", self.name)
        self.owner.execute("SELECT topk.resume_seal(%s)", self.name)
        self.owner.execute("SELECT topk.reset_progress(%s, 'events', 0, %s, 'lost some')", self.name, self.feed.next + 5)
        for role, privilege in (("reader", "read"), ("on\"call", "admin"), ("on\"call", "ingest")):
            self.owner.execute("SELECT topk.grant_access(%s, %s, %s)", role, privilege, self.name)

    def more_hours(self, seed):
        """As a consumer that comes to a database that was moved: it claims, counts on beyond the frontier, and hours are sealed."""
        rng = random.Random(f"{seed}/{self.name}/more")
        self.feed = Feed(self.owner, self.name)
        before = self.frontier()
        first = max(END, START if before < 0 else datetime.fromtimestamp(int(before), timezone.utc) + HOUR)
        hours = [self.hour_of(first + n * HOUR) for n in range(4)]
        self.feed.flush({(hour, video): rng.randint(1, 30) for hour in hours for video in rng.sample(VIDEOS, 40)}, watermark=hours[-1])
        self.maintain()
        assert self.frontier() > before
        self.feed.flush({}, late=[(hours[0], "vid_002", 3)])

    def hour_of(self, instant):
        return self.owner.value("SELECT hour_start FROM topk.hours(%s, %s, %s)", self.name, instant, instant + timedelta(seconds=1))

    def maintain(self):
        """All of the maintenance that the extension's version has."""
        old = self.owner.value("SELECT extversion = '1.0' FROM pg_extension WHERE extname = 'topk'")
        self.owner.execute(f"CALL topk.{'seal' if old else 'maintain'}(%s)", self.name)

    def require_all_kinds(self):
        """What is moved is worth it: there are rows everywhere, and the roll-up has come to months."""
        tables = ["hour", "late"]
        if self.owner.value("SELECT extversion <> '1.0' FROM pg_extension WHERE extname = 'topk'"):
            tables += ["day_rollup", "month_rollup", "all_time_rollup"]
            assert self.owner.value("SELECT count(DISTINCT span) FROM topk.leaderboard WHERE counter = %s AND sealed", self.name) == 2
        for table in tables:
            assert self.owner.value(sql.SQL("SELECT count(*) FROM {}").format(self.table(table))) > 0, (self.name, table)

    def frontier(self):
        return self.owner.value("SELECT extract(epoch FROM sealed_through) FROM topk.counter WHERE name = %s", self.name)

    # --- What must be right ---

    def lists(self):
        """Every span, at several instants, as topk() has them now."""
        return {(span, at): self.owner.query("SELECT * FROM topk.top(%s, 50, %s, %s)", span, at, self.name)
                for at in (START + 5 * HOUR, START + 30 * HOUR, END) for span in SPANS}

    def check(self):
        """Lists and views against sums of the rows; the audit."""
        for span, late in (("day", "late_in_day"), ("month", "late_in_month"), ("all_time", "late_views")):
            for at in (START + 5 * HOUR, START + 30 * HOUR, END):
                wanted = self.owner.query(sql.SQL(
                    "SELECT row_number() OVER (ORDER BY views DESC, video_id), video_id, views FROM {} WHERE window_start = {} ORDER BY 1 LIMIT 50").format(
                        self.table(span), sql.SQL("'-infinity'") if span == "all_time" else sql.SQL(
                            "(SELECT {} FROM topk.hours({}, {}, {}))").format(identifier(f"{span}_start"), *map(sql.Literal, (self.name, at, at + timedelta(seconds=1))))))
                assert wanted or at == END  # where the rest begins, with more_hours
                assert wanted == self.owner.query("SELECT * FROM topk.top(%s, 50, %s, %s)", span, at, self.name), (self.name, span, at)
            whole = self.owner.value(sql.SQL("SELECT sum(views) FROM {}").format(self.table(span)))
            assert whole == self.booked(late), (self.name, span)
        differing = self.owner.query("SELECT * FROM topk.audit(%s) WHERE NOT ok", self.name)
        assert differing == [], differing

    def booked(self, late):
        """All views that came in, and corrections, by the books: nothing of it is read from the counter's tables."""
        return self.owner.value(f"SELECT (SELECT sum(views + {late}) FROM topk.hour_book WHERE counter = %s)"
                                " + coalesce((SELECT sum(delta) FROM topk.correction WHERE counter = %s), 0)", self.name, self.name)


class Town:
    """All the counters, and a table with a topk index that has nothing to do with them."""

    def __init__(self, database):
        self.database = database
        self.counters = [Counter(database, *about) for about in COUNTERS]

    def build(self, seed=1):
        make_roles(self.database)
        for counter in self.counters:
            counter.make()
            counter.first_hours(seed)
            counter.require_all_kinds()
        self.database.execute("SET search_path = public, pg_catalog")
        self.database.execute("CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy')")
        self.database.execute("CREATE TABLE public.plays (genre text, mood mood, views bigint, video_id text COLLATE \"C\", PRIMARY KEY (video_id))")
        self.database.execute("CREATE INDEX plays_top ON public.plays USING topk (genre, mood, views DESC, video_id) WITH (k = 10)")
        self.database.execute("INSERT INTO public.plays SELECT 'genre ' || n % 3, (enum_range(NULL::mood))[1 + n % 2], n * 7919 % 5000, 'v' || n"
                              " FROM generate_series(1, 4000) n")
        self.database.execute("UPDATE public.plays SET views = views + 100 WHERE video_id < 'v2'")
        self.database.execute("DELETE FROM public.plays WHERE views % 7 = 0")
        return self

    def moved_to(self, database):
        town = Town(database)
        town.counters = [counter.moved_to(database) for counter in self.counters]
        return town

    def close(self):
        for counter in self.counters:
            counter.owner.close()

    def state(self):
        """Every row of every table, in words; the tables' names with their schemas. But prepared sums: they are made again, and not dumped."""
        self.database.execute("SET search_path = ''")
        tables = self.database.query("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace NOT IN"
                                     " ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY 1")
        return {name: self.database.query(f"SELECT t::text FROM {name} t ORDER BY 1") for name, in tables if name not in ("topk.prepared_sum_data", "topk.list_failure_data")}

    def lists(self):
        return {counter.name: counter.lists() for counter in self.counters}

    def check(self):
        for counter in self.counters:
            counter.check()
        self.check_indexes()
        self.check_plays()

    def check_indexes(self):
        self.database.execute("SET search_path = ''")
        indexes = self.database.query("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid"
                                      " WHERE a.amname = 'topk' AND c.relkind = 'i' AND i.indisvalid AND i.indisready")
        assert len(indexes) >= 6 * len(self.counters) + 1, indexes
        for index, in indexes:
            self.database.execute("SELECT topk.index_check(%s::regclass)", index)

    def check_plays(self):
        self.database.execute("SET search_path = public, pg_catalog")
        query = "SELECT video_id, views FROM plays WHERE genre = 'genre 1' AND mood = 'ok' ORDER BY views DESC, video_id LIMIT 10"
        self.database.execute("ANALYZE plays")
        plan = "\n".join(line for line, in self.database.query(f"EXPLAIN {query}"))
        assert "plays_top" in plan, plan
        found = self.database.query(query)
        rows = self.database.query("SELECT video_id, views FROM plays WHERE genre = 'genre 1' AND mood = 'ok'")
        assert found == sorted(rows, key=lambda row: (-row[1], row[0]))[:10] and len(found) == 10

    def go_on(self, seed=2):
        """Ingest, maintenance and changes after the move."""
        for counter in self.counters:
            counter.more_hours(seed)
        self.database.execute("UPDATE public.plays SET views = views * 2 WHERE views % 3 = 0")
        self.check()

    def drop(self):
        for counter in self.counters:
            counter.owner.execute("SELECT topk.drop_counter(%s)", counter.name)
        assert self.database.value("SELECT count(*) FROM topk.counter_data") == 0
