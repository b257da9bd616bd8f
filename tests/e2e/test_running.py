"""A running member from outside: its orderly end, an outage of the database, and rows the database itself refuses."""
import contextlib
import json
import time

import pytest
from harness import kafka, members, recount, settings
from harness.wait import wait_until

MIB = 1 << 20


def test_sigterm_flushes_and_leaves_at_once(database, topic, launcher):
    """What was read but not flushed is flushed, and the other member has the partitions long before the session timeout."""
    slow = dict(kafka=("session.timeout.ms=30000", "heartbeat.interval.ms=500"))
    # The session timeout is far away, and so is the next flush when SIGTERM comes.
    producer = kafka.SteadyProducer(topic, settings.SEED)
    leaver = launcher.ingest(database, topic, name="leaver", flush_interval="8s", **slow)
    members.wait_for_owner(database, topic, "leaver", 20, at_least=topic.partitions)
    stayer = launcher.ingest(database, topic, name="stayer", **slow)
    members.wait_for_owner(database, topic, "stayer", 20)
    members.wait_for_all_moving(database, topic, {}, 40)  # a member that gives partitions away may discard; then all is read again
    kept = [partition for partition, owner in database.owners(topic.name).items() if owner == "leaver"]
    since = database.next_offsets(topic.name)
    members.wait_for_all_moving(database, topic, since, 20)
    before = database.next_offsets(topic.name)
    wait_until(lambda: all(topic.ends()[partition] > before[partition] + 500 for partition in kept), 20, "records to flush at the end")
    asked = time.monotonic()
    assert leaver.terminate(10) == 0
    after = database.next_offsets(topic.name)
    assert any(after[partition] > before[partition] for partition in kept), "SIGTERM did not flush"
    members.wait_for_all_moving(database, topic, after, 8, owner="stayer")
    assert time.monotonic() - asked < 15
    producer.stop()
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    assert stayer.terminate() == 0
    recount.assert_equal(database, topic)


@pytest.mark.parametrize("memory, warned", [("16MiB", True), ("96MiB", False)])
def test_more_partitions_than_memory_are_told(database, topic, launcher, memory, warned):
    """Four partitions of one member: 16 MiB are not enough for the fetches of one, 96 MiB are for four."""
    assert launcher.produce(topic, "--count", "1000").wait(60) == 0
    process = launcher.ingest(database, topic, "--memory", memory)
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    assert process.terminate() == 0
    told = f"{topic.partitions} partitions are read: fetches"
    assert process.log_text().count(told) == warned, process.log_text()


class SettledMemory:
    """True once the process's resident memory has not changed by more than a MiB for two seconds."""

    def __init__(self, process):
        self.process, self.level, self.since = process, 0, time.monotonic()

    def __call__(self):
        resident = self.process.memory("VmRSS")
        if abs(resident - self.level) > MIB:
            self.level, self.since = resident, time.monotonic()
        return time.monotonic() - self.since > 2


@contextlib.contextmanager
def stopped_server(database):
    database.cluster.stop("immediate")
    yield
    database.cluster.start()


@contextlib.contextmanager
def blocked_flushes(database):
    with contextlib.closing(database.cluster.connect(database.name)) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        cursor.execute("LOCK TABLE video_views_hour IN SHARE MODE")
        yield
        connection.rollback()


@pytest.mark.parametrize("outage", [stopped_server, blocked_flushes])
def test_outage_bounds_memory(outage, database, topic, launcher):
    """While no flush gets through, reading stops at the memory bound; afterwards all is counted and nothing is dead."""
    topic.produce(kafka.events(1000, settings.SEED))
    process = launcher.ingest(database, topic, "--memory", "64MiB")
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    now, padding = int(time.time() * 1000), "x" * 1000
    with outage(database):
        # Every video another one, so that the aggregates grow as well. Not compressed: what a fetch unfolds to is bounded
        # by no setting of librdkafka.
        with topic.producer(**{"compression.type": "none"}) as producer:
            for index in range(settings.OUTAGE_RECORDS):
                value = json.dumps({"video_id": f"video_{index:040d}", "ts": now, "padding": padding}).encode()
                producer.send((index % topic.partitions, value, None, None))
        wait_until(SettledMemory(process), 30, "its memory to settle", every=0.1)
        assert process.alive(), "an outage at run time ended it"
    database.wait_for_offsets(topic.name, topic.ends(), 90)
    peak = process.memory("VmHWM")
    assert peak < 96 * MIB, f"{peak // MIB} MiB resident with --memory 64MiB"
    assert process.terminate() == 0
    assert recount.assert_equal(database, topic).dead == set()


def test_row_the_database_refuses(database, topic, launcher):
    """A constraint of the user's own: the record becomes a dead letter, its neighbours count."""
    database.execute("ALTER TABLE video_views_hour ADD CONSTRAINT house_rule CHECK (video_id <> 'forbidden')")
    made = list(kafka.events(10_000, settings.SEED))
    for event in made:
        event["ts"] = int(time.time() * 1000) - 2 * kafka.HOUR_MS  # all in one hour: none is late, so the rule is asked for each
    places = {1000, 1001, 9999}
    for place in places:
        made[place]["video_id"] = "forbidden"
    topic.produce((index % topic.partitions, json.dumps(event).encode(), None, None) for index, event in enumerate(made))
    assert launcher.ingest(database, topic, "--exit-at-end").wait(60) == 0
    allowed = [event for index, event in enumerate(made) if index not in places]
    assert recount.differences(recount.views_of(allowed), recount.stored_views(database)) == {}
    letters = database.query('SELECT partition, "offset", reason FROM topk.dead_letter WHERE topic = %s', topic.name)
    assert {(partition, offset) for partition, offset, _ in letters} == {(place % 4, place // 4) for place in places}
    assert all("house_rule" in reason for _, _, reason in letters), letters


def test_broker_outage_at_run_time(database, topic, broker, launcher):
    topic.produce(kafka.events(1000, settings.SEED))
    process = launcher.ingest(database, topic)
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    broker.kill()
    broker.start()
    topic.produce(kafka.events(1000, settings.SEED + 1))
    database.wait_for_offsets(topic.name, topic.ends(), 60)
    assert process.terminate() == 0
    recount.assert_equal(database, topic)


def test_two_members_exit_at_end(database, topic, launcher):
    """Each ends with what it had at the end; what one leaves behind goes to the other."""
    topic.produce(kafka.events(20_000, settings.SEED))
    both = [launcher.ingest(database, topic, "--exit-at-end", name=name) for name in ("alpha", "beta")]
    assert [process.wait(60) for process in both] == [0, 0]
    recount.assert_equal(database, topic)


def test_sigterm_in_the_middle_of_a_catch_up(database, topic, launcher):
    """The queues are full of records at that moment: what was read is flushed, the rest is left, the exit is orderly."""
    topic.produce(kafka.events(200_000, settings.SEED))
    ends, interruptions = topic.ends(), 0
    while database.next_offsets(topic.name) != ends and interruptions < 5:
        before = database.next_offsets(topic.name)
        process = launcher.ingest(database, topic, "--memory", "16MiB", flush_interval="20ms")
        wait_until(lambda: database.next_offsets(topic.name) != before, 20, "a first flush", every=0.01)
        assert process.terminate(10) == 0, process.log_text()
        interruptions += 1
    assert launcher.ingest(database, topic, "--exit-at-end").wait(60) == 0
    recount.assert_equal(database, topic)
    assert interruptions > 1
