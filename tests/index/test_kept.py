"""Lists that sessions keep of a quiet table equal a sort of the heap under the same snapshot, whatever comes between."""
import contextlib
import random
import threading

import kept
import pytest
import settings
from database import Database, assert_no_crash

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="nothing else keeps lists")


def pages_read(cursor, asked):
    cursor.execute(f"{kept.INDEX_ONLY} EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}")
    plan = cursor.fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


ASKED = "SELECT id, score FROM quiet WHERE g = 1 ORDER BY score DESC, id LIMIT 30"


def lists_kept(cursor):
    """How many lists the session keeps."""
    cursor.execute("SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'topk kept list'")
    return cursor.fetchone()[0]


def four_times(database, asked, isolation="READ COMMITTED", is_kept=True):
    """The pages that one session reads for a list, each time."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        pages = [pages_read(cursor, asked) for _ in range(4)]
        assert lists_kept(cursor) == is_kept, pages
        return pages


def assert_kept(pages):
    first, second, third, fourth = pages
    assert min(first, second) > third == fourth, pages


def test_a_list_is_kept(start):
    """Neither rows nor the way to the group are read again; rows that VACUUM has not come to are. Serializable and unlogged lists are read as ever."""
    database = Database(start(autovacuum="off"))
    kept.create(database)
    database.execute("CREATE UNLOGGED TABLE unlogged (LIKE quiet); INSERT INTO unlogged TABLE quiet; CREATE INDEX ON unlogged USING topk (g, score DESC, id)")
    database.execute("VACUUM ANALYZE unlogged")
    visible = four_times(database, ASKED)
    assert_kept(visible)
    serializable = four_times(database, ASKED, "SERIALIZABLE", is_kept=False)
    assert serializable[3] > 3 * visible[3], (visible, serializable)
    unlogged = four_times(database, ASKED.replace("quiet", "unlogged"), is_kept=False)
    assert unlogged[3] > 0.9 * unlogged[1], unlogged
    database.execute("UPDATE quiet SET note = 1 WHERE g = 1")
    others = four_times(database, ASKED)
    assert_kept(others)
    assert others[3] > 2 * visible[3]


def test_a_list_grows(start):
    """Who asks for more than is kept adds to it, until the group has no more, or a row cannot be kept."""
    database = Database(start(autovacuum="off"))
    kept.create(database, k=1000)
    database.execute("INSERT INTO quiet VALUES (2, %s, 1500, 0, '')", kept.LONG)
    database.execute("VACUUM quiet")
    whole = "SELECT id, score FROM quiet WHERE g = 1 ORDER BY score DESC, id"
    for few, many in (f"{whole} LIMIT 5", f"{whole} LIMIT 60"), (f"{whole} LIMIT 60", whole), (f"{whole} LIMIT 400", whole):
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
            of_few = [pages_read(cursor, few) for _ in range(3)]
            assert lists_kept(cursor) == 1 and of_few[2] < of_few[0], "not kept"
            of_many = [pages_read(cursor, many) for _ in range(3)]
            assert of_many[2] == of_many[1] < of_many[0], "nothing was added"
            assert pages_read(cursor, few) == of_few[2], "what was added delays the first rows"
            for asked in few, many:
                kept.compare(cursor, asked, random.Random(settings.SEED), times=2)
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        whole = whole.replace("g = 1", "g = 2")
        pages = [pages_read(cursor, whole) for _ in range(5)]
        assert pages[2:] == [pages[2]] * 3, "only the rows before the long one are kept"
        first = [pages_read(cursor, f"{whole} LIMIT 10") for _ in range(2)]
        assert first[0] == first[1] < pages[0] / 4
        kept.compare(cursor, whole, random.Random(settings.SEED), times=2)


def test_a_list_of_many_rows_and_one_of_many_steps(start):
    """More rows than are kept; one row more each time."""
    database = Database(start(autovacuum="off"))
    kept.create(database, k=1000)
    database.execute("INSERT INTO quiet SELECT 6, 'id_' || n, n, 0, '' FROM generate_series(1, 3000) n")
    database.execute("VACUUM ANALYZE quiet")
    for group, asked in (6, [f"LIMIT {n}" for n in (10, 10, 3000, 10, 3000, 3000, 2500)]), (1, [f"LIMIT {n}" for n in [*range(1, 120), *[120] * 3]]):
        with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
            pages = []
            for limit in asked:
                one = f"SELECT id, score FROM quiet WHERE g = {group} ORDER BY score DESC, id {limit}"
                pages.append(pages_read(cursor, one))
                kept.compare(cursor, one, random.Random(settings.SEED))
            assert lists_kept(cursor) >= 1
            if group == 6:
                assert pages[3] < pages[0] and pages[5] < pages[2], pages
            else:
                warm = pages_read(cursor, one.replace(limit, "LIMIT 1"))
                assert pages[-1] - warm <= 32, "a page of the visibility map for each section"
    database.execute("SELECT topk.index_check('quiet_top')")


def test_the_same_list_again_and_again(start):
    """What a session has learned of a list does not make it read more and more; ties, scores that have no lead, and a limit that changes."""
    database = Database(start(autovacuum="off"))
    for score in "float8", "bigint", "numeric":
        for value in "n % 7", "1":
            database.execute(f"DROP TABLE IF EXISTS again; CREATE TABLE again (g int, id int, score {score}, padding text)")
            database.execute(f"INSERT INTO again SELECT 1, n, {value}, repeat('x', 300) FROM generate_series(1, 6000) n ORDER BY n * 7919 % 6000")
            database.execute("CREATE INDEX again_top ON again USING topk (g, score DESC, id) WITH (k = 1000)")
            database.execute("ANALYZE again")
            with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                for limit in 10, 100:
                    asked = f"SELECT id, score FROM again WHERE g = 1 ORDER BY score DESC, id LIMIT {limit}"
                    pages = []
                    for number in range(60):
                        cursor.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")  # no lists are kept
                        pages.append(pages_read(cursor, asked))
                        if number % 20 == 0:
                            kept.compare(cursor, asked, random.Random(settings.SEED))
                        cursor.execute("COMMIT")
                    assert max(pages[2:]) <= pages[1], (score, value, limit, pages)


def test_a_table_that_is_emptied_in_place(start):
    """TRUNCATE in the transaction that made the table leaves the file, which the session has read; a parent of partitions has none."""
    database = Database(start(autovacuum="off"))
    asked = "SELECT id, score FROM emptied WHERE g = 1 ORDER BY score DESC, id LIMIT 30"
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; CREATE TABLE emptied (g int, id int, score int); CREATE INDEX ON emptied USING topk (g, score DESC, id)")
        for rows in 5000, 0, 3, 6000, 10:
            cursor.execute("TRUNCATE emptied")
            cursor.execute("INSERT INTO emptied SELECT 1, n, n FROM generate_series(1, %s) n", (rows,))
            for _ in range(3):
                cursor.execute(f"SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; {asked}")
                assert cursor.fetchall() == [(n, n) for n in range(rows, max(0, rows - 30), -1)]
        cursor.execute("CREATE TABLE parent (g int, id int, score int) PARTITION BY LIST (g); CREATE TABLE child PARTITION OF parent FOR VALUES IN (1)")
        cursor.execute("CREATE INDEX ON parent USING topk (g, score DESC, id); INSERT INTO parent SELECT 1, n, n FROM generate_series(1, 100) n; ANALYZE parent")
        cursor.execute(asked.replace("emptied", "parent"))
        assert cursor.fetchall() == [(n, n) for n in range(100, 70, -1)]


def test_pages_without_lsns(start, major):
    """An index that was not logged when it was built, since its table is of the same transaction: LSN 0 tells nothing until a page is changed."""
    database = Database(start(autovacuum="off", wal_level="minimal", max_wal_senders="0", wal_skip_threshold="0"))
    rng = random.Random(f"{settings.SEED}/{major}/lsn")
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {kept.TABLE % 20}")
        cursor.execute("INSERT INTO quiet SELECT 1, 'id_' || n, n, 0, repeat('x', 300) FROM generate_series(1, 3900) n; COMMIT")
        cursor.execute("VACUUM ANALYZE quiet")
        cursor.execute("CREATE EXTENSION pageinspect")
        cursor.execute("SELECT count(*) FROM generate_series(0, pg_relation_size('quiet_top') / 8192 - 1) block"
                       " WHERE (page_header(get_raw_page('quiet_top', block::int))).lsn = '0/0'")
        assert cursor.fetchone()[0] > 2, "every page has an LSN: this proves nothing"
        for _ in range(20):
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            kept.compare(cursor, ASKED, rng, times=3)
            cursor.execute("COMMIT")
            database.execute("UPDATE quiet SET score = score + 100 WHERE g = 1 AND id = %s", f"id_{rng.randint(3000, 3900)}")


def node(database, asked, before=""):
    """The scan that a new session plans, after it has asked for a list or not."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {kept.INDEX_ONLY} {before}")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {asked}")
        plan = cursor.fetchone()[0][0]["Plan"]
        while "Plans" in plan:
            plan = plan["Plans"][0]
        return plan["Node Type"]


def test_index_only_where_it_spares_something(start):
    """That is where the rows that rank first are all-visible: now, not when the table was vacuumed."""
    database = Database(start(autovacuum="off"))
    kept.create(database)
    assert [node(database, ASKED, before) for before in ("", ASKED)] == ["Index Only Scan"] * 2
    database.execute("UPDATE quiet SET note = 1 WHERE g = 2")
    assert [node(database, ASKED, before) for before in ("", ASKED)] == ["Index Only Scan"] * 2
    database.execute("UPDATE quiet SET note = 1 WHERE g = 1")
    assert [node(database, ASKED, before) for before in ("", ASKED)] == ["Index Scan"] * 2
    database.execute("VACUUM quiet")
    assert [node(database, ASKED, before) for before in ("", ASKED)] == ["Index Only Scan"] * 2


def test_an_error_in_a_list(start):
    """One that is caught, with the group's pages in the scan's hands, and one that ends a cursor: the next list is right, and is kept."""
    database = Database(start(autovacuum="off"))
    kept.create(database)
    rng = random.Random(settings.SEED)
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        kept.compare(cursor, ASKED, rng, times=2)
        for _ in range(3):
            cursor.execute(f"BEGIN; DECLARE open_list NO SCROLL CURSOR FOR {ASKED}; FETCH 3 FROM open_list")
            cursor.execute("""DO $$ BEGIN
                PERFORM 1 / (score - (SELECT score FROM quiet WHERE g = 1 ORDER BY score DESC OFFSET 7 LIMIT 1)) FROM quiet WHERE g = 1 ORDER BY score DESC, id;
                RAISE 'nothing was divided by zero';
            EXCEPTION WHEN division_by_zero THEN END $$""")
            kept.compare(cursor, ASKED, rng, times=3)
            cursor.execute("FETCH 3 FROM open_list; ROLLBACK")
            database.execute("UPDATE quiet SET score = score + 50 WHERE g = 1 AND id = 'id_7'")
            kept.compare(cursor, ASKED, rng)
        database.execute("VACUUM quiet")
        assert_kept(four_times(database, ASKED))


def test_cursors_of_one_list(start):
    """They are opened on the same kept list and read on, side by side, when others have added to it, and when others have made it forgotten."""
    database = Database(start(autovacuum="off"))
    kept.create(database, k=1000)
    whole = "SELECT id, score FROM quiet WHERE g = 1 ORDER BY score DESC, id"
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        few = [pages_read(cursor, f"{whole} LIMIT 5") for _ in range(3)]
        assert lists_kept(cursor) == 1 and few[2] < few[0], "not kept: this proves nothing"
        expected = kept.rows(cursor, kept.THROUGH_HEAP, whole)
        for changes in (False, True):
            for name in "ab":
                cursor.execute(f"{kept.INDEX_ONLY} DECLARE {name} NO SCROLL CURSOR FOR {whole}")
            for place, name, count in ((0, "a", 3), (0, "b", 60), (3, "a", 100), (60, "b", 20), (103, "a", 1000)):
                cursor.execute(f"FETCH {count} FROM {name}")
                assert cursor.fetchall() == expected[place:place + count]
                if changes:
                    database.execute("UPDATE quiet SET score = score + 2000 WHERE g = 1 AND id = %s", expected[place][0])
                    kept.compare(cursor, f"{whole} LIMIT 30", random.Random(settings.SEED), times=2)
            cursor.execute("CLOSE b; CLOSE a")
        kept.compare(cursor, whole, random.Random(settings.SEED), times=4)


# Of the first 30 that lie on no page with one of the 16 that are read for the first five
ELSEWHERE = f"""WITH top AS ({ASKED.replace("score FROM", "(ctid::text::point)[0] AS page, row_number() OVER (ORDER BY score DESC, id) FROM")})
                SELECT id FROM top WHERE page NOT IN (SELECT page FROM top WHERE row_number <= 16)"""


def test_what_ranks_below_is_not_looked_at(start, major):
    """A change of which the index knows nothing, of a row that ranks 17th or below, is none for who asks for five; who asks for 30 meets it on the way.
    (Since 17.12 and 18.6 the map's page tells of any change of a page that was all-visible, and the list is read anew.)"""
    database = Database(start(autovacuum="off"))
    kept.create(database)
    few = ASKED.replace("LIMIT 30", "LIMIT 5")
    rng = random.Random(settings.SEED)
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        def two_pages_read():
            return pages_read(cursor, few), pages_read(cursor, ASKED)

        assert_kept([pages_read(cursor, ASKED) for _ in range(4)])
        assert lists_kept(cursor) == 1
        for change in ("note = note + 1", *(("score = score - 1", "score = score - 400") if major >= 16 else ())):
            before = two_pages_read()
            (id,), *_ = kept.rows(cursor, kept.THROUGH_HEAP, ELSEWHERE)
            database.execute(f"UPDATE quiet SET {change} WHERE g = 1 AND id = %s", id)
            after = two_pages_read()
            assert after[1] > before[1] and (major >= 17 or after[0] == before[0]), (change, before, after)
            for asked in ASKED, few, ASKED:
                kept.compare(cursor, asked, rng, times=2)
            database.execute("VACUUM quiet")
            for asked in ASKED, few, ASKED:
                kept.compare(cursor, asked, rng, times=2)


@contextlib.contextmanager
def session(database):
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


TOP = "SELECT id FROM quiet WHERE g = 1 ORDER BY score DESC, id LIMIT 5"


def top(cursor):
    found = [id for id, in kept.rows(cursor, f"BEGIN; {kept.THROUGH_INDEX}", TOP)]
    cursor.execute("COMMIT")
    return found


def test_a_list_that_changes_while_it_is_read(start):
    """By a cursor that reads on: its first rows are not of the pages' last state."""
    database = Database(start(autovacuum="off"))
    database.execute(kept.TABLE % 1000)
    database.execute("INSERT INTO quiet SELECT 1, 'id_' || n, 10000 - n, 0, repeat('x', 300) FROM generate_series(1, 3900) n")
    database.execute("VACUUM ANALYZE quiet")
    database.execute("INSERT INTO quiet VALUES (2, 'side by side', 1, 0, repeat('x', 300))")  # its page, and that of what comes next, is not all-visible
    with session(database) as cursor, session(database) as writer:
        before = top(cursor)
        cursor.execute(f"BEGIN; {kept.THROUGH_INDEX} DECLARE all_rows CURSOR FOR {TOP.replace('LIMIT 5', '')}; FETCH 100 FROM all_rows")
        writer.execute("INSERT INTO quiet VALUES (1, 'above', 20000, 0, repeat('x', 300))")
        cursor.execute("FETCH 3000 FROM all_rows")
        cursor.execute("CLOSE all_rows; COMMIT")
        assert top(cursor) == ["above", *before[:4]]


def test_a_snapshot_of_another_session(start):
    """It is older than what the index has given up, and than a list that was kept since."""
    database = Database(start(autovacuum="off"))
    kept.create(database)
    with session(database) as exporter, session(database) as writer, session(database) as cursor:
        before = top(writer)
        exporter.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()")
        snapshot, = exporter.fetchone()
        writer.execute("UPDATE quiet SET score = 0 WHERE g = 1 AND id = %s", (before[0],))
        for number in range(40):  # more than the group keeps
            writer.execute("INSERT INTO quiet SELECT 1, 'more_' || %s || '_' || n, 1900, 0, repeat('x', 300) FROM generate_series(1, 10) n", (number,))
        assert database.value("SELECT histories FROM topk.index_stats('quiet_top')") > 0
        assert top(cursor)[:4] == before[1:]
        cursor.execute("BEGIN")
        for _ in range(3):
            pages_read(cursor, TOP)
        assert lists_kept(cursor) == 1, "this proves nothing"
        cursor.execute("COMMIT")
        cursor.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'")
        assert [id for id, in kept.rows(cursor, kept.THROUGH_INDEX, TOP)] == before


def test_whatever_comes_between(start, major, count_up):
    server = start(autovacuum="off")
    database = Database(server)
    kept.create(database)
    done = kept.play(database, f"{settings.SEED}/{major}/kept", 6 * settings.READERS)
    assert done["vacuum"] and done["changes"]
    database.execute("SELECT topk.index_check('quiet_top')")
    count_up(", ".join(f"{number} {what}" for what, number in done.items()))
    assert_no_crash(server)


@pytest.mark.parametrize("where", ["primary", "standby"])
def test_at_the_same_time(where, start, major, run_directory, test_name, count_up):
    """Bursts of changes and VACUUM beside readers, who have enough time between two to keep lists; on a standby they are replayed."""
    patient = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "-1"}
    with contextlib.ExitStack() as stack:
        primary = start("primary", autovacuum="off")
        database = there = Database(primary)
        kept.create(database)
        if where == "standby":
            standby = stack.enter_context(primary.standby(run_directory / test_name / "standby", patient))
            start.started.append(standby)
            primary.wait_for_standby(standby)
            there = Database(standby, create=False)
        assert_kept(four_times(there, ASKED))
        lists, failures, ended = [0] * 3, [], threading.Event()

        def read(number):
            rng = random.Random(f"{settings.SEED}/{major}/{where}/{number}")
            try:
                with contextlib.closing(there.connect()) as connection, connection.cursor() as cursor:
                    connection.autocommit = True
                    asked = kept.some_list(rng)
                    while not ended.is_set():
                        if rng.random() < 0.1:
                            asked = kept.some_list(rng)
                        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                        kept.compare(cursor, asked, rng, times=rng.choice([1, 4]))
                        cursor.execute("COMMIT")
                        lists[number] += 1
            except BaseException as error:
                failures.append(error)
                ended.set()
        readers = [threading.Thread(target=read, args=(number,)) for number in range(len(lists))]
        for reader in readers:
            reader.start()
        try:
            rng = random.Random(f"{settings.SEED}/{major}/{where}/writer")
            keeper = stack.enter_context(contextlib.closing(database.connect()))
            keeper.autocommit = True
            keeper = keeper.cursor()
            writer = kept.Writer(stack.enter_context(contextlib.closing(database.connect())), rng)
            while sum(lists) < 3 * settings.READERS and not ended.is_set():
                for _ in range(rng.choice([1, 3, 10])):
                    writer.step()
                if rng.random() < 0.8:
                    keeper.execute("VACUUM quiet")
                seen = sum(lists)
                ended.wait(0.001)
                while sum(lists) < seen + rng.choice([0, 3, 12]) and not ended.wait(0.001):
                    pass
        finally:
            ended.set()
            for reader in readers:
                reader.join()
        if failures:
            raise failures[0]
        count_up(f"{sum(lists)} lists")
        assert_no_crash(primary)
