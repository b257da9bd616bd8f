"""topk.expire beside what keeps snapshots or locks for long, with the real thing each time: a prepared transaction, a logical slot and its
walsender, a reader on a standby that gives feedback, and pg_dump. The partition stays for who needs it, nobody waits behind the expiry,
no row is lost to anybody, and it goes once they are done."""
import contextlib
import re
import subprocess
import threading
from datetime import datetime, timezone

import psycopg2
import pytest
from conftest import SETTINGS
from database import Database, psql
from feed import Feed
from harness.wait import wait_until
from psycopg2 import errors, extras
from town import HOUR

SECONDS = 60
# Who waits behind the expiry waits for its 100 ms and a busy machine, not for those whom the expiry waits for: they end when the test says.
PATIENCE = "10s"
OLD, LATER = datetime(2020, 1, 1, 5, tzinfo=timezone.utc), datetime(2020, 1, 3, 5, tzinfo=timezone.utc)
PARTITION = "c_hour_20200101"


class Aging:
    """A counter whose first day is rolled up, and may expire by its age."""

    def __init__(self, database):
        self.database = database
        database.execute("SELECT topk.create_counter('c')")
        database.execute("SELECT topk.set_retention('c', hours => '1 day')")
        self.feed = Feed(database, "c")
        # So many views that the lists are out of Traffic's reach, however long it goes on.
        self.feed.flush({(at, f"v{n:03}"): 1_000_000 * n for at in (OLD, OLD + HOUR, LATER) for n in range(1, 200)}, watermark=datetime(2020, 1, 4, 6, 5, tzinfo=timezone.utc))
        for part in ("seal", "roll_up", "refresh"):
            database.execute(f"CALL topk.{part}('c')")
        self.rows = self.read(database)
        self.lists = self.all_lists(database)
        assert self.has_partition() and len(self.rows) == 3 * 199

    def read(self, database):
        return database.query("SELECT window_start, video_id, views FROM c_hour ORDER BY 1, 2")

    def all_lists(self, database):
        return {span: database.query("SELECT * FROM topk.top(%s, 100, %s, 'c')", span, OLD) for span in ("hour", "day", "month", "all_time")}

    def has_partition(self):
        return self.database.value("SELECT to_regclass(%s) IS NOT NULL", PARTITION)

    def frontier(self):
        return self.database.value("SELECT hours_expired_through FROM topk.counter WHERE name = 'c'")

    def move_frontier(self):
        assert self.database.value("SELECT topk.expire_step('c')") == 1
        assert self.frontier() > OLD

    def stays(self, because):
        """Expiry ends, leaves the partition, and knows why; readers and writers that come meanwhile do not wait for whom it waits."""
        with Traffic(self) as traffic:
            for _ in range(3):
                self.database.execute("CALL topk.expire('c')")
            traffic.has_gone_on()
        assert self.has_partition()
        # Told from the start if it is a lock, and once an hour has passed if it is a snapshot.
        self.database.execute("UPDATE topk.counter_data SET hours_expired_at = hours_expired_at - interval '2 hours', drop_trouble = NULL, drop_trouble_told_at = NULL")
        del (self.database.session.notices or [])[:]
        self.database.execute("CALL topk.expire('c')")
        assert re.search(because, "".join(self.database.session.notices)), self.database.session.notices
        assert self.has_partition()

    def goes(self):
        def gone():
            self.database.execute("CALL topk.expire('c')")
            return not self.has_partition()
        wait_until(gone, SECONDS, "the partition to be dropped")
        self.check()

    def check(self):
        """The other rows are there, the lists are what they were, and the books agree."""
        assert [row for row in self.read(self.database) if row[0] <= LATER] == [row for row in self.rows if row[0] >= LATER]
        assert self.all_lists(self.database) == self.lists
        assert self.database.query("SELECT * FROM topk.audit('c') WHERE NOT ok") == []


class Traffic:
    """Somebody who reads all hours, and a consumer who writes a new one, again and again: neither may wait for long."""

    def __init__(self, aging):
        self.aging, self.failures, self.done = aging, [], {"read": 0, "write": 0}
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=one, daemon=True) for one in (("read", self.read), ("write", self.write))]

    def run(self, kind, act):
        database = Database(self.aging.database.server, self.aging.database.name)
        try:
            database.execute(f"SET lock_timeout = '{PATIENCE}'")
            while not self.ended.is_set():
                act(database)
                self.done[kind] += 1
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            database.close()

    def read(self, database):
        assert len(self.aging.read(database)) >= len(self.aging.rows)

    def write(self, database):
        if self.done["write"] == 0:
            self.aging.feed = Feed(database, "c")
        self.aging.feed.flush({(LATER + 40 * HOUR, "new"): 1})

    def has_gone_on(self):
        before = dict(self.done)
        wait_until(lambda: self.failures or all(self.done[kind] > before[kind] + 1 for kind in before), SECONDS, "reads and flushes to go on")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.ended.set()
        for thread in self.threads:
            thread.join(SECONDS)
        if kind is None:
            assert not self.failures, self.failures
            assert not any(thread.is_alive() for thread in self.threads)


@pytest.fixture(scope="module")
def servers_of(make_server):
    made = {}

    def started(major):
        if major not in made:
            made[major] = make_server(major, f"expiry-{major}", settings={**SETTINGS, "max_prepared_transactions": "5"})
            made[major].start()
        return made[major]
    return started


@pytest.fixture
def server(servers_of, major):
    """Not the other tests': whose snapshots are held here holds up nobody else."""
    return servers_of(major)


@pytest.fixture
def aging(new_database):
    return Aging(new_database("d"))


@pytest.mark.parametrize("holds", ["a transaction id", "a lock on the hours"])
def test_prepared_transaction(aging, holds):
    """It has no session: only its transaction id, of before the frontier, or its locks; and it outlives the server."""
    database = aging.database
    other = Database(database.server, database.name)
    if holds == "a lock on the hours":
        aging.move_frontier()
    other.execute("BEGIN")
    other.value("SELECT pg_current_xact_id()::text")
    if holds == "a lock on the hours":
        assert other.value("SELECT count(*) FROM c_hour") == len(aging.rows)
    other.execute("PREPARE TRANSACTION 'left behind'")
    other.close()
    if holds == "a transaction id":
        aging.move_frontier()
    why = "a snapshot is older than their expiry" if holds == "a transaction id" else "could not lock|a snapshot is older"
    try:
        aging.stays(why)
        database.close()
        database.server.restart()
        aging.feed.database.close()
        aging.stays(why)
        database.execute("COMMIT PREPARED 'left behind'")
    finally:
        with contextlib.suppress(errors.UndefinedObject):
            database.execute("ROLLBACK PREPARED 'left behind'")
    aging.goes()


def test_walsender_that_copies(aging):
    """The first copy of a subscription: a walsender's transaction with the snapshot of its new slot."""
    database = aging.database
    walsender = psycopg2.connect(database.server.dsn(database.name), connection_factory=extras.LogicalReplicationConnection)
    with contextlib.closing(walsender), walsender.cursor() as cursor:
        cursor.execute("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("CREATE_REPLICATION_SLOT copies TEMPORARY LOGICAL pgoutput (SNAPSHOT 'use')")
        aging.move_frontier()
        aging.stays("a snapshot is older than their expiry")
        cursor.execute("SELECT window_start, video_id, views FROM c_hour ORDER BY 1, 2")
        assert cursor.fetchall() == aging.rows
        aging.stays("a snapshot is older than their expiry|could not lock")
        cursor.execute("COMMIT")
        aging.goes()


def test_slot_that_lags(aging):
    """A slot keeps the catalogs, not the rows: the partition goes, and whoever reads the slot later gets all that was written to it."""
    database = aging.database
    database.execute("SELECT pg_create_logical_replication_slot('lags', 'test_decoding')")
    try:
        database.execute("INSERT INTO c_hour VALUES (%s, 'by hand', 7)", OLD)
        database.execute("DELETE FROM c_hour WHERE video_id = 'by hand'")
        aging.move_frontier()
        aging.goes()
        database.execute("DROP TABLE IF EXISTS later")
        database.execute("CREATE TABLE later (n int)")
        changes = [data for data, in database.query("SELECT data FROM pg_logical_slot_get_changes('lags', NULL, NULL)") if PARTITION in data]
        assert [re.search(r"(INSERT|DELETE)", change).group() for change in changes] == ["INSERT", "DELETE"], changes
        assert "by hand" in changes[0]
    finally:
        database.execute("SELECT pg_drop_replication_slot('lags')")


def test_reader_on_a_standby(aging, server, run_directory):
    """With hot_standby_feedback a snapshot there counts as one here, whether it has read the hours yet or not."""
    database = aging.database
    settings = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s", "max_standby_streaming_delay": "-1", "cluster_name": "reader"}
    directory = run_directory / f"standby-{server.major}"
    with server.standby(directory, settings) as standby:
        there = Database(standby, database.name)
        server.wait_for_standby(standby)
        there.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        frontier = there.value("SELECT hours_expired_through FROM topk.counter WHERE name = 'c'")
        wait_until(lambda: database.value("SELECT count(backend_xmin) FROM pg_stat_replication") == 1, SECONDS, "the standby's feedback")
        aging.move_frontier()
        server.wait_for_standby(standby)
        aging.stays("a snapshot is older than their expiry")
        assert there.value("SELECT hours_expired_through FROM topk.counter WHERE name = 'c'") == frontier
        assert aging.read(there) == aging.rows
        assert aging.all_lists(there) == aging.lists
        there.execute("COMMIT")
        aging.goes()
        server.wait_for_standby(standby)
        assert aging.all_lists(there) == aging.lists
        assert len(aging.read(there)) == len(aging.read(database))
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has expired"):
            there.query("SELECT * FROM topk.between(%s, %s, 10, 'c')", OLD, OLD + HOUR)
        there.close()


@pytest.mark.parametrize("begun", ["before", "after"])
def test_pg_dump(aging, new_database, begun):
    """It locks all tables and stays: begun before the frontier moved, or after. Held in its middle by a table that is locked."""
    database, server = aging.database, aging.database.server
    database.execute("CREATE TABLE zz (n int)")
    holder = Database(server, database.name)
    holder.execute("BEGIN")
    holder.execute("LOCK TABLE zz")
    if begun == "after":
        aging.move_frontier()
    file = f"held-{begun}.sql"
    command = server.installation.command(["env", "PGHOST=127.0.0.1", f"PGPORT={server.port}", "PGUSER=postgres", "pg_dump", "-f", file, database.name],
                                          folders=[server.directory], folder=server.directory)
    dump = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: database.value("SELECT count(*) FROM pg_locks a JOIN pg_locks w USING (pid) WHERE a.relation = %s::regclass AND a.granted"
                                          " AND w.relation = 'zz'::regclass AND NOT w.granted", PARTITION) == 1 or dump.poll() is not None, SECONDS, "pg_dump's locks")
        assert dump.poll() is None, dump.stdout.read()
        if begun == "before":
            aging.move_frontier()
        aging.stays("a snapshot is older than their expiry|could not lock")
    finally:
        holder.close()
        output, _ = dump.communicate(timeout=SECONDS)
    assert dump.returncode == 0, output
    aging.goes()
    restored = new_database(f"r{begun}", extension=None)
    psql(restored, "-f", file)
    assert aging.read(restored) == aging.rows
    assert aging.all_lists(restored) == aging.lists
    aging.database = restored  # whatever kept the rows here is not there
    aging.goes()
