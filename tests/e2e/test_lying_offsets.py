"""Offsets that do not mean what they meant: topics made again, retention, foreign groups, partitions and records that
appear out of nowhere. Each ends with a clear refusal or with exact counts, never with silent loss."""
import contextlib
import json

import pytest
from confluent_kafka import Producer
from harness import kafka, members, recount, settings
from harness.wait import wait_until


def produce_even(topic, count, seed):
    """`count` events to every partition; returns them."""
    made = list(kafka.events(count * topic.partitions, seed))
    topic.produce((index % topic.partitions, *as_record(event)) for index, event in enumerate(made))
    return made


def as_record(event):
    return json.dumps(event).encode(), event["video_id"].encode(), None


def ingest_to_end(launcher, database, topic, *more, **options):
    return launcher.ingest(database, topic, "--exit-at-end", *more, **options).wait(60)


def assert_refused(process, *words):
    assert process.wait(40) == 1, process.log_text()
    text = process.log_text().lower()
    missing = [word for word in words if word.lower() not in text]
    assert not missing, f"{missing} not in: {process.log_text()}"


def reset_all(database, topic, offset, reason):
    for partition in range(topic.partitions):
        database.execute("SELECT topk.reset_progress('video_views', %s, %s, %s, %s)", topic.name, partition, offset, reason)


@pytest.mark.parametrize("second_life", [100, 900], ids=["shorter", "longer"])
def test_topic_made_again(second_life, database, topic, broker, launcher):
    """Shorter: the stored offset is beyond the end. Longer: only the fingerprint tells."""
    first = produce_even(topic, 500, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    broker.delete_topic(topic.name)
    topic = broker.create_topic(topic.name, topic.partitions)
    second = produce_even(topic, second_life, settings.SEED + 1)
    refused = launcher.ingest(database, topic, "--exit-at-end", name="refused")
    assert_refused(refused, topic.name, "reset_progress")
    if second_life < 500:  # or the log was cut: what is left of it must not be counted again
        for offset in (second_life, 0):
            assert f"0, {offset}, '<reason>'" in refused.log_text()
    assert recount.differences(recount.views_of(first), recount.stored_views(database)) == {}, "it counted in spite of it"
    reset_all(database, topic, 0, "topic made again")
    assert ingest_to_end(launcher, database, topic) == 0
    assert recount.differences(recount.views_of(first + second), recount.stored_views(database)) == {}
    assert database.value("SELECT count(*) FROM topk.progress_history WHERE reason = 'topic made again'") == topic.partitions


def test_retention_passed_the_stored_offset(database, topic, broker, launcher):
    first = produce_even(topic, 500, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    second = produce_even(topic, 300, settings.SEED + 1)
    broker.delete_records(topic.name, {0: 600})  # takes 100 records of partition 0 that were never read
    refused = launcher.ingest(database, topic, "--exit-at-end", name="refused")
    assert_refused(refused, topic.name, "reset_progress")
    # The other partitions do not suffer.
    assert database.next_offsets(topic.name) == {0: 500, 1: 800, 2: 800, 3: 800}
    database.execute("SELECT topk.reset_progress('video_views', %s, 0, 600, 'retention')", topic.name)
    assert ingest_to_end(launcher, database, topic) == 0
    gone = [event for index, event in enumerate(second) if index % topic.partitions == 0][:100]
    kept = [event for event in first + second if event not in gone]
    row = database.progress(topic.name)[0]
    assert row["lost"] + database.value("SELECT coalesce(sum(lost), 0) FROM topk.progress_history WHERE topic = %s", topic.name) == 100
    assert recount.differences(recount.views_of(kept), recount.stored_views(database)) == {}


def test_reset_unblocks_a_running_member(database, topic, broker, launcher):
    produce_even(topic, 200, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    produce_even(topic, 200, settings.SEED + 1)
    broker.delete_records(topic.name, {0: 300})
    process = launcher.ingest(database, topic, name="running")
    process.wait_for_log("reset_progress", 20)
    wait_until(lambda: database.next_offsets(topic.name) == {0: 200, 1: 400, 2: 400, 3: 400}, 20, "the sound partitions at their ends")
    assert process.alive()
    database.execute("SELECT topk.reset_progress('video_views', %s, 0, 300, 'retention')", topic.name)
    wait_until(lambda: database.next_offsets(topic.name)[0] == 400, 40, "the reset partition at its end")
    assert process.terminate() == 0

def test_topic_made_again_under_a_running_member(database, topic, broker, launcher):
    """It counts nothing of the second life before the reset, and all of it after."""
    first = produce_even(topic, 500, settings.SEED)
    running = launcher.ingest(database, topic, name="running")
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    broker.delete_topic(topic.name)
    topic = broker.create_topic(topic.name, topic.partitions)
    second = produce_even(topic, 100, settings.SEED + 1)
    running.wait_for_log("reset_progress", 40)
    assert recount.differences(recount.views_of(first), recount.stored_views(database)) == {}
    reset_all(database, topic, 0, "topic made again")
    wait_until(lambda: set(database.next_offsets(topic.name).values()) == {100}, 40, "the second life at its end")
    assert running.terminate() == 0
    assert recount.differences(recount.views_of(first + second), recount.stored_views(database)) == {}

def test_retention_up_to_the_stored_offset_is_no_loss(database, topic, broker, launcher):
    """The last record consumed, whose fingerprint is stored, is gone: that alone is no reason to refuse."""
    first = produce_even(topic, 500, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    broker.delete_records(topic.name, topic.ends())
    assert ingest_to_end(launcher, database, topic) == 0
    second = produce_even(topic, 100, settings.SEED + 1)
    assert ingest_to_end(launcher, database, topic) == 0
    assert recount.differences(recount.views_of(first + second), recount.stored_views(database)) == {}
    assert {row["lost"] for row in database.progress(topic.name).values()} == {0}


def test_first_start_behind_retention(database, topic, broker, launcher):
    """A log that begins at 300 is no loss when nothing was read before."""
    made = produce_even(topic, 500, settings.SEED)
    broker.delete_records(topic.name, dict.fromkeys(range(topic.partitions), 300))
    assert ingest_to_end(launcher, database, topic) == 0
    kept = made[300 * topic.partitions:]
    assert recount.differences(recount.views_of(kept), recount.stored_views(database)) == {}
    recount.assert_equal(database, topic)
    assert {row["start_offset"] for row in database.progress(topic.name).values()} == {300}


def test_second_group_is_refused(database, topic, launcher):
    made = produce_even(topic, 100, settings.SEED)
    assert ingest_to_end(launcher, database, topic, "--group", "first group") == 0
    more = produce_even(topic, 100, settings.SEED + 1)
    refused = launcher.ingest(database, topic, "--exit-at-end", "--group", "second group", name="refused")
    assert_refused(refused, "first group", "second group", "--take-over")
    assert recount.differences(recount.views_of(made), recount.stored_views(database)) == {}
    assert ingest_to_end(launcher, database, topic, "--group", "second group", "--take-over") == 0
    assert recount.differences(recount.views_of(made + more), recount.stored_views(database)) == {}
    refused = launcher.ingest(database, topic, "--exit-at-end", "--group", "first group", name="refused")
    assert_refused(refused, "first group", "second group")


def test_two_counters_on_one_topic(database, topic, launcher):
    database.create_counter("other_views", time_zone="Asia/Kathmandu")
    with kafka.SteadyProducer(topic, settings.SEED):
        both = [launcher.ingest(database, topic, name=counter, counter=counter) for counter in ("video_views", "other_views")]
        for counter in ("video_views", "other_views"):
            members.wait_for_all_moving(database, topic, {}, 20, counter=counter)
    for counter in ("video_views", "other_views"):
        database.wait_for_offsets(topic.name, topic.ends(), 30, counter)
    assert [process.terminate() for process in both] == [0, 0]
    recount.assert_equal(database, topic, "video_views")
    recount.assert_equal(database, topic, "other_views")


def test_new_partitions_are_read_from_their_start(database, topic, broker, launcher):
    """What lies in a new partition before anybody notices it counts as well."""
    produce_even(topic, 100, settings.SEED)
    process = launcher.ingest(database, topic)
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    grown = broker.add_partitions(topic.name, 6)
    produce_even(grown, 300, settings.SEED + 1)
    database.wait_for_offsets(topic.name, grown.ends(), 40)
    assert process.terminate() == 0
    assert database.progress(topic.name)[5]["start_offset"] == 0
    recount.assert_equal(database, grown)


@contextlib.contextmanager
def transaction(topic, name, commit):
    options = {"bootstrap.servers": topic.broker.address, "transactional.id": name, "log_level": 0}
    producer = Producer(options)
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    producer.flush(30)
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    Producer(options).init_transactions(30)  # returns when the markers of the one before are in the log


def test_control_records_are_skipped(database, topic, launcher):
    """The log ends with markers and aborted records, which no consumer ever sees: --exit-at-end must end all the same."""
    made = list(kafka.events(2000, settings.SEED))
    for number, commit in enumerate([True, False, True, False]):
        with transaction(topic, f"{topic.name}-{number}", commit) as producer:
            for index, event in enumerate(made[number * 500:(number + 1) * 500]):
                value, key, _ = as_record(event)
                producer.produce(topic.name, value, key, partition=index % topic.partitions)
    assert ingest_to_end(launcher, database, topic) == 0
    found = recount.assert_equal(database, topic)
    assert sum(found.good.values()) == 1000
    # One marker a transaction and partition, and the 1000 aborted records.
    assert sum(row["skipped"] for row in database.progress(topic.name).values()) == 1000 + 4 * topic.partitions
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 0, verified.log_text()


def test_verify_finds_a_difference(database, topic, launcher):
    produce_even(topic, 100, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    assert launcher.verify(database, topic).exit_code == 0
    database.execute("UPDATE video_views_hour SET views = views + 1 WHERE (window_start, video_id) = (SELECT window_start, video_id FROM video_views_hour LIMIT 1)")
    assert launcher.verify(database, topic).exit_code == 1
