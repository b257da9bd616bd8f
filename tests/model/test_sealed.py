"""A sealed hour never changes: every path to its rows is tried, and only topk.correct, by who may, gets through and is on the
record. What the tables' owner does by hand no function can forbid: the audit names it (test_audit.py)."""
import random
from datetime import datetime, timezone

import psycopg2
import pytest
from consumer import NEVER, Consumer, Refused
from harness.zone_hours import HOUR_MS, ms_of
from schedule import MS_FUNCTION
from stream import EVENT, GARBAGE, Entry, Topic

HOUR = ms_of(datetime(2024, 5, 1, 10, tzinfo=timezone.utc))
NOW, FRONTIER = HOUR + 3 * HOUR_MS, HOUR + HOUR_MS


def entry(video, at, views=1):
    return Entry(EVENT, at, NOW, video, views)


class Scene:
    """Partition 0 of two was read beyond the hour, which was sealed; the consumer is still there."""

    def __init__(self, database):
        self.database = database
        database.execute(MS_FUNCTION)
        database.execute("CREATE ROLE scene_ingest; CREATE ROLE scene_admin; CREATE ROLE scene_read")
        database.execute("SELECT topk.create_counter('v')")
        for privilege in ("ingest", "admin", "read"):
            database.execute("SELECT topk.grant_access(%s, %s, 'v')", f"scene_{privilege}", privilege)
        self.topic = new_topic("t", 2)
        self.consumer = self.new_consumer("first")
        self.consumer.claim(self.topic, [0, 1])
        for partition, log in enumerate(self.topic.logs):
            log.entries += [entry("a", HOUR + partition, 5), entry("b", HOUR + 1), entry("c", HOUR + 2 * HOUR_MS)]
            self.consumer.read(self.topic, partition, 10)
        self.flush(self.consumer, self.topic)
        self.seal()
        self.sealed = self.rows()
        assert self.sealed == [("a", 10), ("b", 2)] and self.frontier() == FRONTIER

    def new_consumer(self, name):
        return Consumer(name, lambda: self.database.cluster.connect(self.database.name), "v", lambda: NOW, lazy=True)

    def rows(self):
        return self.database.query("SELECT video_id, views FROM v_hour WHERE model_ms(window_start) = %s ORDER BY 1", HOUR)

    def frontier(self):
        return self.database.value("SELECT model_ms(sealed_through) FROM topk.counter WHERE name = 'v'")

    def seal(self):
        self.database.execute("CALL topk.seal('v')")

    @staticmethod
    def flush(consumer, topic):
        consumer.call(*consumer.flush_call(topic))
        consumer.flushed(topic, (), None)

    def flush_into_the_hour(self, consumer, topic, partition, then=()):
        """One record of the hour, which a consumer that knows nothing counts, and others."""
        consumer.frontier = consumer.held[topic.name, partition].watermark = NEVER
        topic.logs[partition].entries += [entry("a", HOUR + 7, 1000), *then]
        consumer.read(topic, partition, 10)
        assert (HOUR, "a") in consumer.deltas[topic.name], "the consumer was to be wrong"
        self.flush(consumer, topic)

    def as_role(self, role, sql):
        connection = self.database.cluster.connect(self.database.name)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {role}")
                cursor.execute(sql)
        finally:
            connection.close()


def new_topic(name, partitions):
    topic = Topic(random.Random(0), name, partitions)
    for log in topic.logs:
        log.start = 0
    return topic


def flush_by_the_owner(scene):
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0)


def flush_after_a_restart(scene):
    scene.database.close()
    scene.database.cluster.stop("immediate")
    scene.database.cluster.start()
    scene.consumer.forget_connection()
    scene.consumer.discard()
    scene.consumer.claim(scene.topic, [0, 1], resume=True)
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0)


def flush_by_the_next_owner(scene):
    other = scene.new_consumer("other")
    other.claim(scene.topic, [0])
    scene.flush_into_the_hour(other, scene.topic, 0)


def flush_by_the_former_owner(scene):
    scene.new_consumer("other").claim(scene.topic, [0])
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0)


def flush_of_a_new_partition(scene):
    scene.topic.add_partition()
    scene.consumer.claim(scene.topic, [2])
    scene.flush_into_the_hour(scene.consumer, scene.topic, 2)


def flush_of_another_topic(scene):
    topic = new_topic("u", 1)
    scene.consumer.claim(topic, [0])
    scene.flush_into_the_hour(scene.consumer, topic, 0)


def flush_after_a_reset(scene):
    scene.database.execute("SELECT topk.reset_progress('v', 't', 0, 0, 'again')")
    scene.consumer.claim(scene.topic, [0])
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0)


def flush_while_held(scene):
    scene.database.execute("SELECT topk.hold_seal('v', 'too late')")
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0)


def flush_with_other_hours_as_well(scene):
    scene.flush_into_the_hour(scene.consumer, scene.topic, 0, then=[entry("a", NOW)])


def flush_of_half_an_hour(scene):
    scene.topic.logs[0].entries.append(entry("z", HOUR + 2 * HOUR_MS + 1))
    scene.consumer.read(scene.topic, 0, 10)
    scene.consumer.deltas["t"] = {(HOUR + HOUR_MS // 2, "a"): 1000}
    scene.flush(scene.consumer, scene.topic)


# How each path ends
REFUSED = {flush_by_the_owner: "TK002", flush_after_a_restart: "TK002", flush_by_the_next_owner: "TK002", flush_by_the_former_owner: "TK001",
           flush_of_a_new_partition: "TK002", flush_of_another_topic: "TK002", flush_after_a_reset: "TK002", flush_while_held: "TK002",
           flush_with_other_hours_as_well: "TK002", flush_of_half_an_hour: "22023|TK002"}


@pytest.fixture
def scene(database):
    made = Scene(database)
    yield made
    made.consumer.forget_connection()
    database.execute("SELECT topk.drop_counter('v')")
    database.execute("DROP ROLE scene_ingest, scene_admin, scene_read")


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.__name__)
def test_flush_into_a_sealed_hour(path, scene):
    with pytest.raises(Refused) as refusal:
        path(scene)
    assert refusal.value.args[0] in REFUSED[path].split("|")
    assert scene.rows() == scene.sealed and scene.frontier() == FRONTIER


def test_late_views_go_elsewhere(scene):
    scene.topic.logs[0].entries += [entry("a", HOUR + 7, 1000), Entry(GARBAGE)]
    scene.consumer.read(scene.topic, 0, 10)
    scene.flush(scene.consumer, scene.topic)
    assert scene.rows() == scene.sealed
    assert scene.database.query("SELECT video_id, views FROM topk.late_views") == [("a", 1000)]
    assert scene.database.query("SELECT video_id, views FROM topk('hour', 1, %s, 'v')", datetime.fromtimestamp(HOUR / 1000, timezone.utc)) == [("a", 10)]


def test_frontier_never_goes_back(scene):
    """Not for partitions or topics that come later and begin at -infinity, nor for one that is reset."""
    scene.topic.add_partition()
    scene.consumer.claim(scene.topic, [2])
    scene.consumer.claim(new_topic("u", 1), [0])
    scene.database.execute("SELECT topk.reset_progress('v', 't', 0, 0, 'again')")
    scene.seal()
    for call in ("hold_seal", "resume_seal"):
        scene.database.execute(f"SELECT topk.{call}('v')")
        scene.seal()
    assert scene.frontier() == FRONTIER and scene.rows() == scene.sealed


# By hand, with any privilege that topk.grant_access gives
STATEMENTS = ("UPDATE v_hour SET views = 1", "DELETE FROM v_hour", "TRUNCATE v_hour", f"INSERT INTO v_hour VALUES (to_timestamp({HOUR // 1000}), 'x', 1)",
              "UPDATE v_hour_20240501 SET views = 1", "DROP TABLE v_hour_20240501", "ALTER TABLE v_hour DETACH PARTITION v_hour_20240501",
              "SELECT topk.drop_counter('v')", "UPDATE topk.counter_data SET sealed_through = '-infinity'",
              "UPDATE topk.counter SET sealed_through = '-infinity'", "UPDATE topk.hour_map SET hour_end = 'infinity'", "DELETE FROM topk.hour_map")


def test_no_privilege_reaches_the_rows(scene):
    for role in ("scene_ingest", "scene_admin", "scene_read"):
        for statement in STATEMENTS:
            with pytest.raises(psycopg2.Error) as refusal:
                scene.as_role(role, statement)
            assert refusal.value.pgcode in ("42501", "55000"), f"{role}: {statement}: {refusal.value}"
            assert scene.rows() == scene.sealed, f"{role}: {statement}"


def test_correct_needs_admin(scene):
    for role in ("scene_ingest", "scene_read"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            scene.as_role(role, f"SELECT topk.correct('v', to_timestamp({HOUR // 1000}), 'a', 1, 'no')")
    assert scene.rows() == scene.sealed


def test_correct_is_the_way_and_on_the_record(scene):
    scene.as_role("scene_admin", f"SELECT topk.correct('v', to_timestamp({HOUR // 1000}), 'a', -3, 'bots')")
    assert scene.rows() == [("a", 7), ("b", 2)]
    assert scene.database.query("SELECT video_id, delta, views_after, reason, corrected_by FROM topk.correction") == [("a", -3, 7, "bots", "scene_admin")]
    assert scene.database.query("SELECT span, sealed, revision FROM topk.time_window WHERE revision > 0 ORDER BY span") == [
        ("day", False, 1), ("hour", True, 1), ("month", False, 1)]
    assert scene.database.query("SELECT * FROM topk.audit('v') WHERE NOT ok") == []
