"""A table that is quiet most of the time, so that sessions keep lists of it, and what happens to it in between."""
import contextlib
import hashlib
import random

import psycopg2
from lists import THROUGH_HEAP, THROUGH_INDEX, Mismatch, first_differences

GROUPS = {1: 400, 2: 400, 3: 60, 4: 8}  # rows; the first three have pages of their own
# Not truncated by an ordinary VACUUM: on a standby replay could wait for the snapshots of readers who wait for the lock that it has replayed
TABLE = """CREATE TABLE quiet (g int, id text, score bigint, note int, pad text, PRIMARY KEY (g, id)) WITH (fillfactor = 60, autovacuum_enabled = off, vacuum_truncate = off);
           CREATE INDEX quiet_top ON quiet USING topk (g, score DESC, id) WITH (k = %d)"""
LONG = "id_long_" + "x" * 400  # too long to be kept
CONFLICTS = (psycopg2.errors.LockNotAvailable, psycopg2.errors.UniqueViolation, psycopg2.errors.SerializationFailure, psycopg2.errors.DeadlockDetected)


def create(database, k=20):
    database.execute(TABLE % k)
    for group, rows in GROUPS.items():
        database.execute("INSERT INTO quiet SELECT %s, 'id_' || n, 1000 + n * 7919 %% 1000, 0, repeat('x', 300) FROM generate_series(1, %s) n", group, rows)
    database.execute("INSERT INTO quiet VALUES (3, %s, 1990, 0, '')", LONG)
    database.execute("VACUUM ANALYZE quiet")


def some_list(rng):
    columns = rng.choice(["id, score", "id, score", "g, id, score", "id, score, note"])  # the last is not in the index
    limit = rng.choice(["LIMIT 1", "LIMIT 5", "LIMIT 10", "LIMIT 10", "LIMIT 30", "LIMIT 120", ""])
    return f"SELECT {columns} FROM quiet WHERE g = {rng.choice([1, 1, 1, 2, 3, 4, 5])} ORDER BY score DESC, id {limit}"


def some_change(rng):
    group = rng.choice([1, 1, 1, 2, 3, 4])
    row = f"g = {group} AND id = 'id_{rng.randint(1, GROUPS[group])}'"
    best = f"g = {group} AND id IN (SELECT id FROM quiet WHERE g = {group} ORDER BY score DESC LIMIT {rng.choice([1, 3, 10])})"
    which = rng.choice([row, best, best])
    return rng.choice([
        f"UPDATE quiet SET score = score + {rng.randint(1, 30)} WHERE {which}",  # often within the bound
        f"UPDATE quiet SET score = score + {rng.randint(1, 30)} WHERE {which}",
        f"UPDATE quiet SET score = score + {rng.randint(100, 900)} WHERE {row}",
        f"UPDATE quiet SET score = greatest(score - {rng.randint(1, 900)}, 0) WHERE {which}",
        f"UPDATE quiet SET note = note + 1 WHERE {which}",
        f"DELETE FROM quiet WHERE {which}",
        f"UPDATE quiet SET g = {rng.choice([1, 2, 3, 4])} WHERE {row}",
        # Side by side on a page that is not all-visible and has none of a list's rows, until one of them is in it
        *[f"INSERT INTO quiet SELECT g, 'new_{rng.randrange(10**9)}', coalesce((SELECT max(score) FROM quiet q WHERE q.g = n.g), 0) + 1, 0, repeat('x', 300) "
          f"FROM (VALUES ({rng.choice([1, 5, 5])})) n (g)"] * 3,
        f"INSERT INTO quiet SELECT {group}, 'id_' || n, {rng.randint(900, 2600)}, 0, repeat('x', 300) FROM generate_series(1, {GROUPS[group]}) n "
        f"ORDER BY hashint4(n + {rng.randint(0, 10**6)}) LIMIT {rng.choice([1, 5, 20])} ON CONFLICT DO NOTHING",
    ])


def rows(cursor, how, asked):
    cursor.execute(how + asked)
    return cursor.fetchall()


INDEX_ONLY = THROUGH_INDEX.replace("enable_indexonlyscan = off", "enable_indexonlyscan = on")


def prepared(cursor, asked):
    """The rows, by a plan of some time ago: index-only if the leaders' pages were all-visible then, whatever they are now."""
    name = "list_" + hashlib.md5(asked.encode()).hexdigest()
    cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = %s", (name,))
    if not cursor.fetchone():
        cursor.execute(f"PREPARE {name} AS {asked}")
    return rows(cursor, INDEX_ONLY, f"EXECUTE {name}")


def compare(cursor, asked, rng, times=1):
    """In a transaction that keeps its snapshot."""
    expected = rows(cursor, THROUGH_HEAP, asked)
    for _ in range(times):
        how = rng.choice([THROUGH_INDEX, INDEX_ONLY, None])
        actual = rows(cursor, how, asked) if how else prepared(cursor, asked)
        if actual != expected:
            raise Mismatch(f"wrong list: {asked}\n{first_differences(actual, expected)}")


class Reader:
    """A session. It asks for the same few lists again and again, and holds snapshots and cursors while others write."""

    def __init__(self, connection, rng):
        self.connection, self.rng = connection, rng
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.open = None  # the isolation level of the open transaction
        self.expected = None  # of the cursor that is declared in it: the rows not yet fetched
        self.asked = some_list(rng)

    def step(self):
        try:
            self.ask()
        except psycopg2.errors.SerializationFailure:
            self.cursor.execute("ROLLBACK")
            self.open = self.expected = None

    def ask(self):
        rng = self.rng
        if rng.random() < 0.15:
            self.asked = some_list(rng)
        if self.open is None:
            self.open = rng.choice(["REPEATABLE READ", "REPEATABLE READ", "READ COMMITTED", "SERIALIZABLE"])
            self.cursor.execute(f"BEGIN ISOLATION LEVEL {self.open}")
        if self.expected is None and rng.random() < 0.2:
            asked = some_list(rng)
            self.expected = rows(self.cursor, THROUGH_HEAP, asked)  # nobody writes meanwhile
            self.cursor.execute(f"{INDEX_ONLY} DECLARE kept NO SCROLL CURSOR FOR {asked}")
        if rng.random() < 0.04:
            self.write()
        compare(self.cursor, self.asked, rng, times=rng.choice([1, 3, 4]))
        if self.expected is not None and rng.random() < 0.3:
            self.fetch(rng.choice([1, 2, 5, 20, 1000]))
        if rng.random() < 0.5:
            self.cursor.execute(rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            self.open = self.expected = None

    def fetch(self, count):
        """The next rows of the cursor; the last close it."""
        self.cursor.execute(f"FETCH {count} FROM kept")
        actual, expected, left = self.cursor.fetchall(), self.expected[:count], self.expected[count:]
        if actual != expected:
            raise Mismatch(f"wrong list by a cursor\n{first_differences(actual, expected)}")
        if count > len(actual):
            self.cursor.execute("CLOSE kept")
        self.expected = left if count == len(actual) else None

    def write(self):
        """Its own changes, which it sees, or not any more."""
        self.cursor.execute("SET LOCAL lock_timeout = '20ms'; SAVEPOINT own")
        try:
            self.cursor.execute(some_change(self.rng))
            self.cursor.execute(self.rng.choice(["RELEASE own", "ROLLBACK TO own"]))
        except CONFLICTS:
            self.cursor.execute("ROLLBACK TO own")


class Writer:
    def __init__(self, connection, rng):
        self.rng = rng
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.cursor.execute("SET lock_timeout = '20ms'")
        self.is_open = False

    def step(self):
        rng = self.rng
        try:
            if not self.is_open and rng.random() < 0.4:
                self.cursor.execute("BEGIN")
                self.is_open = True
            self.cursor.execute(some_change(rng))
            if self.is_open and rng.random() < 0.5:
                self.cursor.execute(rng.choice(["COMMIT", "ROLLBACK"]))
                self.is_open = False
        except CONFLICTS:
            if self.is_open:
                self.cursor.execute("ROLLBACK")
            self.is_open = False


def play(database, seed, steps):
    """One step of one session at a time: what a list should be is known exactly. Returns how often each did something."""
    rng = random.Random(seed)
    done = {"lists": 0, "changes": 0, "vacuum": 0, "rebuilt": 0}
    with contextlib.ExitStack() as stack:
        def connect():
            return stack.enter_context(contextlib.closing(database.connect()))
        readers = [Reader(connect(), rng) for _ in range(3)]
        writers = [Writer(connect(), rng) for _ in range(2)]
        keeper = connect()
        keeper.autocommit = True
        keeper = keeper.cursor()
        keeper.execute("SET lock_timeout = '20ms'")
        for _ in range(steps):
            draw = rng.random()
            if draw < 0.72:
                rng.choice(readers).step()
                done["lists"] += 1
            elif draw < 0.92:
                rng.choice(writers).step()
                done["changes"] += 1
            elif draw < 0.995:
                # To freeze, it would wait for a cursor that is half read, and pins a page
                freezing = ["VACUUM (FREEZE) quiet"] * all(reader.expected is None for reader in readers)
                keeper.execute(rng.choice(["VACUUM quiet", "VACUUM (TRUNCATE ON) quiet", "VACUUM ANALYZE quiet", *freezing]))
                done["vacuum"] += 1
            else:
                with contextlib.suppress(*CONFLICTS):
                    keeper.execute(rng.choice(["VACUUM FULL quiet", "REINDEX INDEX quiet_top", "SELECT topk.index_refill('quiet_top')"]))
                    done["rebuilt"] += 1
    return done
