"""Many rows, long names, many groups, one group: exact, and without reading the heap where that is promised."""
import concurrent.futures
import contextlib
import random
import time

import pytest
import settings
from database import Database

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="what an index of another method does is not promised")
OFF = "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off; "


@pytest.fixture
def database(start):
    return Database(start(autovacuum="off", max_wal_size="4GB"))


def ask(database, table, query):
    """The list, the milliseconds of the faster of two executions, and whether anything but the index was scanned: the table as a whole
    or its primary key, as the fallback does. Counted by the session itself, since others publish what they count whenever they end."""
    scans = ("SELECT sum(pg_stat_get_xact_numscans(relation)) FROM (SELECT %s::regclass::oid UNION ALL SELECT conindid FROM pg_constraint "
             "WHERE conrelid = %s::regclass AND contype = 'p') of (relation)")
    best = None
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(OFF + "BEGIN")
        cursor.execute(scans, (table, table))
        before = cursor.fetchone()
        for _ in range(2):
            started = time.monotonic()
            cursor.execute(query)
            rows = [row[0] for row in cursor.fetchall()]
            best = min(best or 1e9, (time.monotonic() - started) * 1000)
        cursor.execute(scans, (table, table))
        return rows, best, cursor.fetchone() != before


def test_flat_scores(database, count_up):
    """A million rows of one group, all with one view: ties must not push a query into the fallback."""
    rows = int(1_000_000 * settings.SIZE)
    database.execute("CREATE TABLE flat (g int, id text COLLATE \"C\", views bigint, PRIMARY KEY (g, id));"
                     "CREATE INDEX flat_top ON flat USING topk (g, views DESC, id)")
    # Scattered, so that the best arrive at any time
    database.execute_long(f"INSERT INTO flat SELECT 1, 'vid_' || lpad((n::bigint * 7919 % {rows})::text, 7, '0'), 1 "
                          f"FROM generate_series(0, {rows} - 1) n ON CONFLICT DO NOTHING")
    database.execute_long("VACUUM ANALYZE flat")
    query = "SELECT id FROM flat WHERE g = 1 ORDER BY views DESC, id LIMIT 100"
    for moment in ("inserted", "rebuilt"):
        found, milliseconds, fell_back = ask(database, "flat", query)
        assert found == [f"vid_{n:07d}" for n in range(100)]
        count_up(f"{moment}: {rows} rows, top 100 in {milliseconds:.2f} ms, fallback: {fell_back}")
        assert not fell_back
        database.execute_long("REINDEX INDEX flat_top")
    database.execute_long("SELECT topk.index_check('flat_top')")


def test_long_common_prefixes(database, count_up):
    """Ids of 200 bytes that agree in the first 100: longer than what an entry stores of them."""
    rows = int(200_000 * settings.SIZE)
    database.execute("CREATE TABLE long (g int, id text COLLATE \"C\", views bigint, PRIMARY KEY (g, id));"
                     "CREATE INDEX long_top ON long USING topk (g, views DESC, id) WITH (k = 100)")
    query = "SELECT id FROM long WHERE g = 1 ORDER BY views DESC, id LIMIT 100"
    for views, scores in (("1", "tied"), ("1 + n % 1000", "spread")):
        database.execute("TRUNCATE long")
        id = f"repeat('p', 100) || lpad((n::bigint * 7919 % {rows})::text, 7, '0') || repeat('s', 93)"
        database.execute_long(f"INSERT INTO long SELECT 1, {id}, {views} FROM generate_series(0, {rows} - 1) n ON CONFLICT DO NOTHING")
        found, milliseconds, fell_back = ask(database, "long", query)
        expected = [row for row, in database.query("SET enable_indexscan = off; " + query)]
        assert found == expected
        count_up(f"{scores} scores: {rows} rows, top 100 in {milliseconds:.2f} ms, fallback: {fell_back}")
        assert scores == "tied" or not fell_back
        database.execute_long("SELECT topk.index_check('long_top')")


def test_many_groups(database, count_up):
    groups = int(1_000_000 * settings.SIZE)
    database.execute("CREATE TABLE many (g bigint, id int, views int)")
    database.execute_long(f"INSERT INTO many SELECT n % {groups}, n, n % 977 "
                     f"FROM generate_series(0, {groups} * 10 - 1) n")
    database.execute_long("VACUUM ANALYZE many")
    started = time.monotonic()
    database.execute_long("CREATE INDEX many_top ON many USING topk (g, views DESC, id) WITH (k = 10)")
    built = time.monotonic() - started
    for rows in (10, 11):
        for group in (0, groups // 2, groups - 1, *random.Random(settings.SEED).choices(range(groups), k=20)):
            query = f"SELECT id FROM many WHERE g = {group} ORDER BY views DESC, id LIMIT 20"
            found, milliseconds, fell_back = ask(database, "many", query)
            assert found == sorted((group + groups * n for n in range(rows)), key=lambda id: (-(id % 977), id)) and not fell_back
        database.execute_long("SELECT topk.index_check('many_top')")
        if rows == 10:
            database.execute_long(f"INSERT INTO many SELECT n % {groups}, n, n % 977 "
                             f"FROM generate_series({groups} * 10, {groups} * 11 - 1) n")
    sizes = database.query("SELECT pg_size_pretty(pg_relation_size('many_top')), pg_size_pretty(pg_relation_size('many'))")[0]
    count_up(f"{groups} groups, 11 rows each: built in {built:.1f} s, lookup {milliseconds:.2f} ms, index {sizes[0]}, table {sizes[1]}")
    # Absent groups are empty lists, without a scan of the table
    found, _, fell_back = ask(database, "many", "SELECT id FROM many WHERE g = -1 ORDER BY views DESC, id LIMIT 10")
    assert found == [] and not fell_back


def test_longest_keys_beside_old_snapshot(database, count_up):
    """The longest keys an entry can have, in the smallest group: what an old snapshot still needs must never fill a page for good."""
    longest = [repeat * 64 for repeat in "xyzu"]
    database.execute("CREATE TABLE longest (g int, score bigint, a bigint, b bigint, c bigint, d bigint, "
                     "t text COLLATE \"C\", u text COLLATE \"C\", v text COLLATE \"C\", w text COLLATE \"C\");"
                     "CREATE INDEX longest_top ON longest USING topk (g, score DESC, a, b, c, d, t, u, v, w) WITH (k = 1)")
    rounds = 40
    query = OFF + "SELECT score, a FROM longest WHERE g = 1 ORDER BY score DESC, a, b, c, d, t, u, v, w LIMIT 5"
    with contextlib.closing(database.connect()) as old, old.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(query)
        for base in range(100, 100 * (rounds + 1), 100):
            database.execute(f"INSERT INTO longest SELECT 1, {base} + n, n, n, n, n, %s, %s, %s, %s FROM generate_series(1, 15) n", *longest)
            database.execute("DELETE FROM longest WHERE score >= %s", base + 13)
            assert database.query(query) == [(base + n, n) for n in range(12, 7, -1)]
            if base == 100 * rounds // 2:
                database.execute("VACUUM longest")
        cursor.execute(query)
        assert cursor.fetchall() == []
    database.execute("SELECT topk.index_check('longest_top')")
    count_up(f"{rounds} rounds of longest keys beside an old snapshot")


def in_threads(work, count):
    """Raises what the first of them raised."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, number) for number in range(count)]:
            done.result()


def test_one_group_filled_by_many(database, count_up):
    """Sessions that insert into one group of large entries: its pages are split as far as they can be, by whoever comes first."""
    batches, batch = int(400 * settings.SIZE), 600
    database.execute("CREATE TABLE crowd (views bigint, a text COLLATE \"C\", b text COLLATE \"C\", c text COLLATE \"C\", id int);"
                     "CREATE INDEX crowd_top ON crowd USING topk (views DESC, a, b, c, id) WITH (k = 10000)")

    def write(number):
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
            for step in range(batches):
                cursor.execute("INSERT INTO crowd SELECT n % 50, repeat('a', 60), repeat('b', 60), repeat('c', 60), n "
                               f"FROM generate_series({(number * batches + step) * batch} + 1, {(number * batches + step + 1) * batch}) n")

    query = "SELECT id FROM crowd ORDER BY views DESC, a, b, c, id LIMIT "
    in_threads(write, 4)
    rows = 4 * batches * batch
    expected = sorted(range(1, rows + 1), key=lambda id: (-(id % 50), id))
    for limit in (100, 10_000):
        found, milliseconds, fell_back = ask(database, "crowd", query + str(limit))
        assert found == expected[:limit] and not fell_back
    database.execute("SELECT topk.index_check('crowd_top')")
    pages = database.value("SELECT group_pages FROM topk.index_stats('crowd_top')")
    assert pages > 512
    count_up(f"{rows} rows by 4 sessions: {pages} pages, top 10000 in {milliseconds:.2f} ms")
