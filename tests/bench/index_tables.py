"""The tables that the index benchmark compares, and the batches that are upserted into them.

Every size has a schema of its own with a table for each arm, filled alike: rank r of n rows has max(1, n / r) views, and rows
lie in the order in which Zipf arrivals would first have brought them, the hot ones together. A batch is what a flush sends:
distinct ids in key order with their increments, drawn from Zipf (s = 1.0) over a quarter more ids than there are rows, so
that a few are new.
"""

import base64
import collections
import functools
import hashlib
import math
import random
import time

ARMS = ("plain", "btree", "topk")
LABELS = {"plain": "(a) primary key", "btree": "(b) + btree", "topk": "(c) + topk"}
HOUR = "2026-01-01 00:00:00+00"
NEW_IDS = 0.25

INDEXES = {"btree": "CREATE INDEX {name} ON {table} (window_start, views DESC, video_id)",
           "topk": "CREATE INDEX {name} ON {table} USING topk (window_start, views DESC, video_id) WITH (k = 1000)"}

# Eleven characters, like a video's; the same in video_id() and in VIDEO_ID.
VIDEO_ID = "translate(substr(encode(decode(md5(r::text), 'hex'), 'base64'), 1, 11), '+/', '-_')"


@functools.lru_cache(200_000)
def video_id(rank):
    return base64.urlsafe_b64encode(hashlib.md5(str(rank).encode()).digest())[:11].decode()


def zipf_batch(draw, ids, keys):
    """{id: increment} in key order; int(exp(u ln(n + 1))) has a density of 1/rank."""
    counts = collections.Counter()
    spread = math.log(ids + 1)
    while len(counts) < keys:
        counts[int(math.exp(draw.random() * spread))] += 1
    return dict(sorted((video_id(rank), count) for rank, count in counts.items()))


class Tables:
    """One size; 0 rows: an hour that begins. Connections are the caller's; prepare() makes what upsert() and read() execute."""

    def __init__(self, rows, arms):
        self.rows, self.arms = rows, arms
        self.schema = f"rows_{rows}"
        self.build_seconds = {}

    def table(self, arm):
        return f"{self.schema}.{arm}"

    def index(self, arm):
        return f"{self.schema}.{arm}_by_views"

    def load(self, connection, seed):
        with connection.cursor() as cursor:
            cursor.execute("SET synchronize_seqscans = off")
            cursor.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE; CREATE SCHEMA {self.schema}")
            cursor.execute("SELECT setseed(%s)", (random.Random(seed).uniform(-1, 1),))
            for number, arm in enumerate(self.arms):
                cursor.execute(f'CREATE TABLE {self.table(arm)} (window_start timestamptz NOT NULL, video_id text COLLATE "C" NOT NULL,'
                               " views bigint NOT NULL CHECK (views > 0)) WITH (fillfactor = 70)")
                # the first of a rank's arrivals is exponential with its share as the rate
                source = (f"SELECT * FROM {self.table(self.arms[0])}" if number else
                          f"SELECT '{HOUR}'::timestamptz, {VIDEO_ID}, greatest(1, {self.rows} / r) FROM generate_series(1, {self.rows}) r"
                          " ORDER BY -ln(1 - random()) * r")
                cursor.execute(f"INSERT INTO {self.table(arm)} {source}")
            for arm in self.arms:
                cursor.execute(f"ALTER TABLE {self.table(arm)} ADD PRIMARY KEY (window_start, video_id)")
                began = time.perf_counter()
                if arm in INDEXES:
                    cursor.execute(INDEXES[arm].format(name=f"{arm}_by_views", table=self.table(arm)))
                self.build_seconds[arm] = time.perf_counter() - began
        self.settle(connection)

    def settle(self, connection, index_cleanup="ON"):
        """Vacuumed, analyzed and in shared buffers. With AUTO, VACUUM leaves dead line pointers, and the pages that have them not all-visible, where
        they are few: in the hottest pages of a table whose updates are nearly all HOT. In (b), in which none is, they never are."""
        with connection.cursor() as cursor:
            for arm in self.arms:
                cursor.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP {index_cleanup}) {self.table(arm)}")
                cursor.execute("SELECT sum(pg_prewarm(c)) FROM (SELECT %s::regclass UNION ALL"
                               " SELECT indexrelid FROM pg_index WHERE indrelid = %s::regclass) r (c)", (self.table(arm),) * 2)

    def make_batches(self, connection, number, keys, ids, seed):
        draw = random.Random(seed)
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {self.schema}.batches (n int PRIMARY KEY, ids text[], views bigint[]);"
                           f" ALTER TABLE {self.schema}.batches ALTER ids SET STORAGE EXTERNAL, ALTER views SET STORAGE EXTERNAL")
            for n in range(number):
                batch = zipf_batch(draw, ids, keys)
                cursor.execute(f"INSERT INTO {self.schema}.batches VALUES (%s, %s, %s)", (n, list(batch), list(batch.values())))
            cursor.execute(f"SELECT pg_prewarm('{self.schema}.batches'), pg_prewarm(reltoastrelid)"
                           f" FROM pg_class WHERE oid = '{self.schema}.batches'::regclass")

    def drop(self, connection):
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {self.schema} CASCADE")

    # --- Statements ---

    def top(self, arm, length):
        return (f"SELECT video_id, views FROM {self.table(arm)} WHERE window_start = '{HOUR}'"
                f" ORDER BY views DESC, video_id LIMIT {length}")

    def prepare(self, connection, lengths):
        with connection.cursor() as cursor:
            for arm in self.arms:
                cursor.execute(f"PREPARE upsert_{self.rows}_{arm} (int) AS"
                               f" INSERT INTO {self.table(arm)} AS t (window_start, video_id, views) SELECT '{HOUR}', u.id, u.views"
                               f" FROM {self.schema}.batches b, unnest(b.ids, b.views) u (id, views) WHERE b.n = $1"
                               " ON CONFLICT (window_start, video_id) DO UPDATE SET views = t.views + excluded.views")
                for length in lengths:
                    cursor.execute(f"PREPARE top_{self.rows}_{arm}_{length} AS {self.top(arm, length)}")

    def upsert(self, cursor, arm, batch):
        """In milliseconds, with its commit."""
        began = time.perf_counter()
        cursor.execute(f"EXECUTE upsert_{self.rows}_{arm} ({batch})")
        return (time.perf_counter() - began) * 1000

    def grow(self, cursor, arm, ids, views):
        cursor.execute(f"UPDATE {self.table(arm)} SET views = views + %s WHERE window_start = %s AND video_id = ANY (%s)",
                       (views, HOUR, ids))

    def read(self, cursor, arm, length):
        """(milliseconds, the list)"""
        began = time.perf_counter()
        cursor.execute(f"EXECUTE top_{self.rows}_{arm}_{length}")
        rows = cursor.fetchall()
        return (time.perf_counter() - began) * 1000, rows

    # --- What the server knows ---

    def plan(self, connection, arm, length):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {self.top(arm, length)}")
            return [row[0] for row in cursor]

    def differs_from_sort(self, connection, arm, length):
        """The first place where the list and a sort of the heap differ in one snapshot, as text."""
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            _, by_index = self.read(cursor, arm, length)
            cursor.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off")
            cursor.execute(self.top(arm, length))
            by_sort = cursor.fetchall()
            cursor.execute("ROLLBACK")
        if by_index == by_sort:
            return None
        place = next((i for i, pair in enumerate(zip(by_index, by_sort)) if pair[0] != pair[1]), min(len(by_index), len(by_sort)))
        return f"place {place + 1} of {length}: {by_index[place:place + 1]}, by sort {by_sort[place:place + 1]}"

    def updates(self, connection, arm):
        """(updates, HOT updates, autovacuum runs) so far; the session's own pending counts are flushed first."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT n_tup_upd, n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables WHERE relid = %s::regclass",
                           (self.table(arm),))
            return cursor.fetchone()

    def bytes(self, connection):
        """{arm: (heap, primary key, index)}; index is None for (a)."""
        sizes = {}
        with connection.cursor() as cursor:
            for arm in self.arms:
                cursor.execute("SELECT pg_table_size(%s), pg_relation_size(%s || '_pkey'), pg_relation_size(to_regclass(%s))",
                               (self.table(arm), self.table(arm), self.index(arm)))
                sizes[arm] = cursor.fetchone()
        return sizes
