"""The last window of a stream that falls silent is sealed all the same, unless somebody holds a partition and says nothing."""
import itertools
import json
import time

import pytest
from harness import kafka, members, recount, settings
from harness.wait import wait_until

IDLE_SECONDS, LATENESS_SECONDS = 2, 1
LIMIT = IDLE_SECONDS + LATENESS_SECONDS + 10
# The dead member keeps its partitions for longer than the limit.
LONG = ("session.timeout.ms=35000", "heartbeat.interval.ms=500")


@pytest.fixture
def database(empty_database):
    empty_database.create_counter(idle_timeout=f"{IDLE_SECONDS} s", lateness=f"{LATENESS_SECONDS} s")
    return empty_database


@pytest.fixture
def last_hour():
    """The start of an hour that ended between ten and seventy minutes ago. No record is of a later one, so that only silence
    can seal it."""
    return (int(time.time() * 1000) - 70 * 60_000) // kafka.HOUR_MS * kafka.HOUR_MS


def events_of(hour):
    """In order, and never beyond the hour's end."""
    for number in itertools.count():
        yield {"video_id": f"vid_{number % 7}", "ts": hour + min(number * 100, kafka.HOUR_MS - 1)}


def trickle(topic, hour):
    """Keeps all partitions from being silent until stop()."""
    return kafka.SteadyProducer(topic, settings.SEED, rate=100, source=events_of(hour))


def sealed(database, hour):
    return database.query("SELECT 1 FROM topk.time_window WHERE counter = 'video_views' AND span = 'hour' AND sealed "
                          "AND window_start = to_timestamp(%s / 1000.0)", hour)


def test_last_window_seals(database, topic, launcher, last_hour):
    producer = trickle(topic, last_hour)
    process = launcher.ingest(database, topic, "--maintain")
    members.wait_for_all_moving(database, topic, {}, 30, owner="ingest")
    assert not sealed(database, last_hour)
    producer.stop()
    silent_since = time.monotonic()
    wait_until(lambda: sealed(database, last_hour), LIMIT, f"{last_hour} sealed")
    assert time.monotonic() - silent_since > 0.5 * IDLE_SECONDS, "sealed before it was silent"
    assert all(row["clock_advanced_at"] for row in database.progress(topic.name).values())
    topic.produce((partition, json.dumps(event).encode(), None, None) for partition, event in zip(range(4), events_of(last_hour)))  # too late now
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    assert process.terminate() == 0
    assert {row["late"] for row in database.progress(topic.name).values()} == {1}
    recount.assert_equal(database, topic)
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 0, verified.log_text()


def test_empty_partitions_do_not_hold_it_back(database, topic, launcher, last_hour):
    """Three of four partitions never had a record: their owner read them to the end all the same."""
    topic.produce([(0, json.dumps(next(events_of(last_hour))).encode(), None, None)])
    process = launcher.ingest(database, topic, "--maintain")
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    wait_until(lambda: sealed(database, last_hour), LIMIT, f"{last_hour} sealed")
    assert process.terminate() == 0


@pytest.mark.parametrize("end", settings.DEAD_CONSUMERS)
def test_a_dead_consumer_holds_it_back(end, database, topic, launcher, last_hour):
    producer = trickle(topic, last_hour)
    living = launcher.ingest(database, topic, "--maintain", name="living", kafka=LONG)
    dying = launcher.ingest(database, topic, "--maintain", name="dying", kafka=LONG)
    for name in ("living", "dying"):
        members.wait_for_owner(database, topic, name, 40)
    members.wait_for_all_moving(database, topic, database.next_offsets(topic.name), 30)
    held = [partition for partition, owner in database.owners(topic.name).items() if owner == "dying"]
    assert held and not sealed(database, last_hour)
    dying.kill() if end == "killed" else dying.stop()
    producer.stop()
    dead_since = time.time()

    def advanced():
        """The living one's partitions are far enough for the seal, for as long as the limit."""
        return all(row["watermark"].timestamp() > dead_since + LIMIT - IDLE_SECONDS
                   for partition, row in database.progress(topic.name).items() if partition not in held)
    wait_until(advanced, LIMIT + 10, f"the living member's partitions to advance; {database.query('SELECT * FROM topk.status()')}", every=0.2)
    assert not sealed(database, last_hour), "sealed though a partition may still bring records of that hour"
    why = dict(database.query("SELECT partition, holds_seal_back FROM topk.status()"))
    assert all(why[partition] for partition in held), why
    assert all(not reason for partition, reason in why.items() if partition not in held), why
    if end == "killed":
        assert all("no owner" in why[partition] for partition in held), why
    # Kafka gives its partitions to the living one, which finds them silent as well.
    wait_until(lambda: sealed(database, last_hour), 90, f"{last_hour} sealed after the partitions moved")
    if end == "stopped":
        dying.wake()
        assert dying.terminate() == 0
    assert living.terminate() == 0
    recount.assert_equal(database, topic)
