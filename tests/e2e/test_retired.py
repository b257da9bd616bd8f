"""topkd verify after topk.retire_partition: a partition that Kafka still has is recounted, whether it came back or not; of one that Kafka
does not have any more it says that nothing can be recounted."""
from harness import recount, settings
from harness.wait import wait_until
from test_lying_offsets import ingest_to_end, produce_even

RETIRED = 2


def retire(database, topic, reason="a mistake"):
    database.execute("SELECT topk.retire_partition('video_views', %s, %s, %s)", topic.name, RETIRED, reason)
    assert RETIRED not in database.progress(topic.name)


def test_verify_a_retired_partition(database, topic, launcher):
    """Its books are in the history, and where it came back in both: none of its records is missing, or twice there."""
    first = produce_even(topic, 100, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    retire(database, topic)
    gone = launcher.verify(database, topic)
    assert gone.exit_code == 0, gone.log_text()
    assert f"partition {RETIRED} was retired (a mistake)" in gone.log_text()
    one_row = "(window_start, video_id) = (SELECT window_start, video_id FROM video_views_hour ORDER BY 1, 2 LIMIT 1)"
    database.execute(f"UPDATE video_views_hour SET views = views + 1 WHERE {one_row}")
    assert launcher.verify(database, topic).exit_code == 1
    database.execute(f"UPDATE video_views_hour SET views = views - 1 WHERE {one_row}")

    second = produce_even(topic, 50, settings.SEED + 1)
    assert ingest_to_end(launcher, database, topic) == 0
    assert database.progress(topic.name)[RETIRED]["start_offset"] == 100, "it went on where it was"
    back = launcher.verify(database, topic)
    assert back.exit_code == 0, back.log_text()
    assert recount.differences(recount.views_of(first + second), recount.stored_views(database)) == {}
    retire(database, topic, "once more")
    assert launcher.verify(database, topic).exit_code == 0


def test_verify_a_partition_that_is_gone(database, topic, broker, launcher):
    """The topic was made again with fewer partitions: what the retired one brought is in the tables, and not in the log."""
    produce_even(topic, 100, settings.SEED)
    assert ingest_to_end(launcher, database, topic) == 0
    broker.delete_topic(topic.name)
    topic = broker.create_topic(topic.name, RETIRED)
    retire(database, topic, "made again with fewer")
    wait_until(lambda: len(topic.ends()) == RETIRED, 30, "the new topic")
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 1, verified.log_text()
    assert f"partition {RETIRED}" in verified.log_text() and "not every record can be recounted" in verified.log_text()
