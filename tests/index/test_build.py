"""CREATE INDEX says how far it is, and can be cancelled; afterwards nothing is left of it.

A group column's hash function stops at one row, for as long as somebody holds a lock.
"""
import contextlib
import threading

import psycopg2
import pytest
import settings
from database import Database, assert_no_crash
from harness.wait import wait_until

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="about the build of a topk index")
ROWS, STOP = 20000, 15000
PROGRESS = """SELECT phase, command, blocks_done, blocks_total, tuples_done FROM pg_stat_progress_create_index
    WHERE relid = 't'::regclass"""


@pytest.fixture
def database(start):
    server = start()
    database = Database(server)
    database.execute(f"""
        CREATE FUNCTION stopping_hash(int, bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
        BEGIN
            IF $1 = -1 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
            RETURN hashint4extended($1, $2);
        END $$;
        CREATE OPERATOR CLASS stopping_ops FOR TYPE int4 USING topk AS
            OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int4, int4), FUNCTION 11 stopping_hash(int4, int8);
        CREATE TABLE t (g int, score int, id int);
        INSERT INTO t SELECT CASE n WHEN {STOP} THEN -1 ELSE n % 3 END, n % 101, n FROM generate_series(1, {ROWS}) n""")
    yield database
    assert_no_crash(server)


@pytest.mark.parametrize("how", ("", "CONCURRENTLY"))
def test_progress_and_cancel(database, how):
    pages = database.value("SELECT pg_relation_size('t') / current_setting('block_size')::int")
    with contextlib.closing(database.connect()) as gate, contextlib.closing(database.connect()) as builder:
        gate.cursor().execute("SELECT pg_advisory_lock(1)")
        outcome = []

        def build():
            try:
                builder.cursor().execute(f"CREATE INDEX {how} t_top ON t USING topk (g stopping_ops, score DESC, id) WITH (k = 100)")
                outcome.append(None)
            except psycopg2.Error as error:
                outcome.append(error.pgcode)

        thread = threading.Thread(target=build, daemon=True)
        thread.start()
        wait_until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), 30, "the build is at the row")
        ((phase, command, done, total, tuples),) = database.query(PROGRESS)
        assert command == f"CREATE INDEX {how}".strip() and phase.startswith("building index")
        assert total == pages and 0 < done < total
        assert ROWS // 2 < tuples < STOP  # the rows of the pages that are done
        database.execute("SELECT pg_cancel_backend(%s)", builder.info.backend_pid)
        thread.join(30)
        assert outcome == ["57014"]
        gate.cursor().execute("SELECT pg_advisory_unlock(1)")
    left = database.query("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_top')")
    assert left == ([(False,)] if how else [])  # CONCURRENTLY leaves what it made, as core's own does
    database.execute("DROP INDEX IF EXISTS t_top")
    database.execute(f"CREATE INDEX {how} t_top ON t USING topk (g stopping_ops, score DESC, id) WITH (k = 100)")
    database.execute("SELECT topk.index_check('t_top')")
    assert not database.query(PROGRESS)
    top = "SELECT id FROM t WHERE g = 1 ORDER BY score DESC, id LIMIT 100"
    assert database.query(f"SET enable_seqscan = off; SET enable_sort = off; {top}") == database.query(f"SET enable_indexscan = off; {top}")
