"""Logical replication of a counter's tables to a counter of another database: topk indexes there stay right, lists are equal."""
import contextlib

import psycopg2
import pytest
from database import client, psql
from harness.wait import wait_until
from psycopg2 import sql
from town import END, HOUR, START, Counter, make_roles

SECONDS = 60
TABLES = ("hour", "late", "day_rollup", "month_rollup", "all_time_rollup")


class Pair:
    """A publisher and a subscriber in one cluster: the slot is made first, or its creation would wait for the subscription's own transaction."""

    def __init__(self, new_database):
        self.publisher, self.subscriber = new_database("p"), new_database("s")
        self.slot = self.publisher.name
        make_roles(self.publisher)

    def subscribe(self, tables):
        self.publisher.execute(f"CREATE PUBLICATION counter_v FOR TABLE {tables} WITH (publish_via_partition_root)")
        self.publisher.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self.slot)
        self.subscriber.execute(f"CREATE SUBSCRIPTION counter_v CONNECTION '{self.publisher.server.dsn(self.publisher.name)}' PUBLICATION counter_v"
                                f" WITH (create_slot = false, slot_name = '{self.slot}')")
        wait_until(lambda: self.subscriber.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"), SECONDS, "the first copy of the tables")

    def wait(self):
        """Until the subscriber has everything that was committed on the publisher."""
        self.publisher.execute("SELECT pg_logical_emit_message(true, 'wait', ''::text)")
        target = self.publisher.value("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: self.publisher.value("SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s", target, self.slot),
                   SECONDS, f"the subscriber to reach {target}")

    def unsubscribe(self):
        for statement in ("ALTER SUBSCRIPTION counter_v DISABLE", "ALTER SUBSCRIPTION counter_v SET (slot_name = NONE)", "DROP SUBSCRIPTION counter_v"):
            with contextlib.suppress(psycopg2.Error):
                self.subscriber.execute(statement)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.publisher.value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active", self.slot) == 0, SECONDS, "the slot")
        with contextlib.suppress(psycopg2.Error):
            self.publisher.execute("SELECT pg_drop_replication_slot(%s)", self.slot)


@pytest.fixture
def pair(new_database):
    made = Pair(new_database)
    yield made
    made.unsubscribe()


def check_indexes(database):
    indexes = database.query("SELECT c.oid FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'topk' AND c.relkind = 'i'")
    assert indexes
    for index, in indexes:
        database.execute("SELECT topk.index_check(%s::oid::regclass)", index)


def compare(pair, source):
    """Rows, indexes, lists, views."""
    pair.wait()
    for suffix in (*TABLES, "day", "month", "all_time"):
        query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(source.table(suffix))
        assert pair.subscriber.query(query) == pair.publisher.query(query), suffix
    check_indexes(pair.subscriber)
    assert source.moved_to(pair.subscriber).lists() == source.lists()


@pytest.fixture
def source(pair):
    made = Counter(pair.publisher, "v", "app", "postgres", "UTC")
    made.make()
    made.first_hours(5)
    return made


def subscribe_to_counter(pair):
    """The recipe of extension/README.md: the tables are a dump of the publisher's, without rows, made a counter by register_counter."""
    client(pair.publisher, "pg_dump", "--schema-only", "-n", "app", "-f", "tables.sql")
    psql(pair.subscriber, "-f", "tables.sql")
    pair.subscriber.execute("SELECT topk.register_counter('v', 'app.v_hour', 'UTC', '60 s', '5 min', '400 days', '60 s')")
    pair.subscriber.execute("DELETE FROM topk.roll_up_marker WHERE counter = 'v'")
    pair.subscribe(", ".join(f"app.v_{suffix}" for suffix in TABLES) + ", topk.roll_up_marker WHERE (counter = 'v')")


@pytest.mark.parametrize("identity", ["default", "full"])
def test_counter(pair, source, identity):
    if identity == "full":
        tables = pair.publisher.query("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p')")
        assert len(tables) >= 7
        for table, in tables:
            pair.publisher.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
    subscribe_to_counter(pair)
    compare(pair, source)

    # Updates, a deleted row, late views, all of the maintenance; then a day that the subscriber has no partition for yet
    hour = source.hour_of(START + 47 * HOUR)
    rows = pair.publisher.query("SELECT video_id, views FROM app.v_hour WHERE window_start = %s ORDER BY 1 LIMIT 2", hour)
    pair.publisher.execute("SELECT topk.correct('v', %s, %s, %s, 'all of it')", hour, rows[0][0], -rows[0][1])
    pair.publisher.execute("SELECT topk.correct('v', %s, %s, 5000, 'more of it')", hour, rows[1][0])
    source.maintain()
    compare(pair, source)
    source.more_hours(5)
    wait_until(lambda: pair.subscriber.value("SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'counter_v'"),
               SECONDS, "the subscriber to lack a partition")
    assert pair.subscriber.value("SELECT topk.make_partitions('v', %s, %s)", END, END + 24 * HOUR) == 1
    compare(pair, source)
    source.feed.flush({(source.hour_of(END + 13 * HOUR), video): 7 for video in ("vid_000", "vid_001", "new")})
    source.maintain()
    compare(pair, source)


def test_days_that_expire(pair, source):
    """The subscriber learns of it before the rows are deleted: it refuses a day that it would add up of what is left, or of nothing. Its hours stay."""
    subscribe_to_counter(pair)
    pair.publisher.execute("CREATE PUBLICATION counter_v_expiry FOR TABLE topk.counter_data (name, days_expired_through) WHERE (name = 'v') WITH (publish = 'update')")
    pair.subscriber.execute("ALTER SUBSCRIPTION counter_v ADD PUBLICATION counter_v_expiry WITH (copy_data = false)")
    pair.subscriber.execute("UPDATE topk.counter_data SET days_expired_through = greatest(days_expired_through, %s) WHERE name = 'v'",
                            pair.publisher.value("SELECT days_expired_through::text FROM topk.counter WHERE name = 'v'"))
    pair.subscriber.execute("SELECT topk.make_partitions('v', %s, %s)", END, END + 24 * HOUR)
    source.more_hours(5)  # retention counts from how far event time has come: beyond the second day
    pair.wait()
    first_day = START + 24 * HOUR
    day, hours = "SELECT * FROM topk.top('day', 1000, %s, 'v')", "SELECT * FROM topk.between(%s, %s, 1000, 'v')"
    final = pair.publisher.query(day, START)
    assert pair.subscriber.query(day, START) == final != []
    by_hours = pair.subscriber.query(hours, START, first_day)
    assert by_hours

    pair.publisher.execute("SELECT topk.set_retention('v', hours => '1 day', days => '1 day')")
    pair.publisher.execute("CALL topk.expire('v')")
    frontiers = "SELECT days_expired_through FROM topk.counter WHERE name = 'v'"
    assert pair.publisher.value(frontiers) == first_day
    pair.wait()
    assert pair.subscriber.value(frontiers) == first_day
    for suffix in ("day_rollup", "day"):
        query = sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(source.table(suffix))
        assert pair.subscriber.query(query) == pair.publisher.query(query)
        assert not pair.subscriber.query(sql.SQL("SELECT FROM {} WHERE window_start < %s").format(source.table(suffix)), first_day)
    assert pair.publisher.query(day, START) == final
    for database, query, *times in ((pair.publisher, hours, START, first_day), (pair.subscriber, day, START)):
        with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="has expired"):
            database.query(query, *times)
    assert pair.subscriber.query(hours, START, first_day) == by_hours
    assert pair.subscriber.query(day, first_day) == pair.publisher.query(day, first_day)


def test_table_without_a_key(pair):
    """With REPLICA IDENTITY FULL and no key the subscriber looks for an index to find rows by: never the topk index, which knows the best only."""
    for database in (pair.publisher, pair.subscriber):
        database.execute("CREATE TABLE hits (genre int, views bigint, video_id text COLLATE \"C\")")
        database.execute("CREATE INDEX hits_top ON hits USING topk (genre, views DESC, video_id) WITH (k = 5)")
        database.execute("ALTER TABLE hits REPLICA IDENTITY FULL")
    pair.publisher.execute("INSERT INTO hits SELECT n % 2, n, 'v' || n FROM generate_series(1, 500) n")
    pair.subscribe("hits")
    for change in ("UPDATE hits SET views = views + 1000 WHERE views % 10 = 0", "DELETE FROM hits WHERE views % 3 = 0", "UPDATE hits SET views = views - 900 WHERE views > 1000",
                   "INSERT INTO hits SELECT n % 2, n * 3, 'w' || n FROM generate_series(1, 300) n", "UPDATE hits SET genre = 1 - genre WHERE views < 50"):
        pair.publisher.execute(change)
        pair.wait()
        everything = "SELECT genre, video_id, views FROM hits ORDER BY 1, 2, 3"
        assert pair.subscriber.query(everything) == pair.publisher.query(everything), change
        check_indexes(pair.subscriber)
        pair.subscriber.execute("SET enable_seqscan = off; SET enable_sort = off")
        best = "SELECT video_id, views FROM hits WHERE genre = 1 ORDER BY views DESC, video_id LIMIT 5"
        assert "hits_top" in str(pair.subscriber.query(f"EXPLAIN {best}"))
        rows = pair.publisher.query("SELECT video_id, views FROM hits WHERE genre = 1")
        assert pair.subscriber.query(best) == sorted(rows, key=lambda row: (-row[1], row[0]))[:5], change
    with pytest.raises(psycopg2.errors.WrongObjectType):
        pair.subscriber.execute("ALTER TABLE hits REPLICA IDENTITY USING INDEX hits_top")
