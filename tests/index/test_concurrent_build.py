"""CREATE INDEX CONCURRENTLY beside a statement that began before the index took inserts.

Its row is inserted after the build has read the table, without an entry, and superseded before validation looks: validation sees the new
version only. On the primary no snapshot that sees the old one outlives the build; one of a standby may.
"""
import contextlib
import threading

import pytest
import settings
from database import Database, assert_no_crash
from harness.wait import wait_until

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="about what topk promises beyond other methods")
TOP = "SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM t WHERE g = 1 ORDER BY score DESC, id LIMIT 3"
SECONDS = 30


class Session:
    def __init__(self, database):
        self.connection = database.connect()
        self.cursor = self.connection.cursor()
        self.pid = self.connection.info.backend_pid

    def run(self, sql):
        self.cursor.execute(sql)
        return self.cursor.fetchall() if self.cursor.description else []


def test_version_between_build_and_validation(start, major, run_directory, test_name):
    primary = start("primary", autovacuum="off")  # whose lock the build would wait for, too
    # With feedback nothing is cleaned up that the standby may see, and no conflict holds up replay; the build does not wait for it.
    patient = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s", "max_standby_streaming_delay": "-1"}
    with primary.standby(run_directory / test_name / "standby", patient) as standby, contextlib.ExitStack() as stack:
        start.started.append(standby)
        database, there = Database(primary), Database(standby, create=False)
        wait_until(lambda: database.value("SELECT count(backend_xmin) FROM pg_stat_replication"), SECONDS, "the standby's feedback")
        database.execute("CREATE TABLE t (g int, score int, id int) WITH (fillfactor = 50);"
                         "INSERT INTO t SELECT 1, n % 5, n FROM generate_series(1, 2000) n")
        earlier, inserter, updater, gate, builder = sessions = [Session(database) for _ in range(5)]
        for session in sessions:
            stack.callback(session.connection.close)

        def waits_for(session):
            return lambda: database.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", session.pid)

        earlier.run("BEGIN; LOCK t IN ROW EXCLUSIVE MODE")
        gate.run("SELECT pg_advisory_lock(1)")
        build = in_background(stack, builder, "CREATE INDEX CONCURRENTLY t_top ON t USING topk (g, score DESC, id) WITH (k = 2)")
        wait_until(waits_for(builder), SECONDS, "the build waits for earlier transactions")
        insert = in_background(stack, inserter, "INSERT INTO t SELECT 1, score, id FROM (VALUES (0, -1), (32, -2)) v (score, id) "
                                                "WHERE id = -1 OR pg_advisory_lock_shared(1)::text IS NOT NULL")
        wait_until(waits_for(inserter), SECONDS, "the insert waits for its second row")
        updater.run("BEGIN; LOCK t IN ROW EXCLUSIVE MODE")
        earlier.run("COMMIT")
        wait_until(lambda: database.value("SELECT indisready FROM pg_index WHERE indexrelid = 't_top'::regclass"), SECONDS, "the index is built")
        wait_until(waits_for(builder), SECONDS, "the build waits for those who may not know the index")
        gate.run("SELECT pg_advisory_unlock_all()")
        insert.join()
        primary.wait_for_standby(standby)
        old = Session(there)
        stack.callback(old.connection.close)
        old.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.run("SELECT pg_current_snapshot()")
        updater.run("UPDATE t SET score = 0 WHERE id = -2; COMMIT")
        build.join()
        assert database.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_top'::regclass")
        primary.wait_for_standby(standby)
        assert "t_top" in str(old.run(TOP.replace("SELECT id", "EXPLAIN SELECT id")))
        assert [id for id, in old.run(TOP)] == [-2, 4, 9]
        database.execute("SELECT topk.index_check('t_top')")
        assert_no_crash(standby)


def in_background(stack, session, sql):
    thread = threading.Thread(target=session.run, args=(sql,), daemon=True)
    thread.start()
    stack.callback(thread.join, 30)
    return thread
