"""A batch of records in the broker's log is damaged: what it holds is never passed over. Its partition stands still there, and goes on, and is
counted exactly once, when the batch is whole again."""
import json

from harness import kafka, recount, settings

BATCH = 20


def test_a_damaged_batch_is_not_passed_over(database, topic, broker, launcher):
    source = kafka.events(2**62, settings.SEED)
    for marked in (False, True, False):
        events = [{**next(source), **({"video_id": "damaged"} if marked else {})} for _ in range(BATCH)]
        # Each batch alone, and as it is: nothing compressed
        with topic.producer(**{"compression.type": "none"}) as producer:
            for event in events:
                producer.send((0, json.dumps(event).encode(), None, None))
    topic.produce([(1, json.dumps(next(source)).encode(), None, None) for _ in range(BATCH)])
    segment = broker.directory / "data" / f"{topic.name}-0" / "00000000000000000000.log"
    place = segment.read_bytes().index(b"damaged")

    def write(byte):
        with open(segment, "r+b") as file:
            file.seek(place)
            file.write(byte)

    write(b"D")
    member = launcher.ingest(database, topic)
    database.wait_for_offsets(topic.name, {0: BATCH, 1: BATCH}, 60)
    member.wait_for_log(f"{topic.name}/0 cannot be read on from offset {BATCH}", 20)
    topic.produce([(1, json.dumps(next(source)).encode(), None, None) for _ in range(BATCH)])
    database.wait_for_offsets(topic.name, {0: BATCH, 1: 2 * BATCH}, 20)
    assert database.value("SELECT count(*) FROM video_views_hour WHERE video_id IN ('damaged', 'Damaged')") == 0
    write(b"d")
    database.wait_for_offsets(topic.name, {0: 3 * BATCH, 1: 2 * BATCH}, 60)
    assert member.terminate() == 0
    recount.assert_equal(database, topic)
    assert all(row["skipped"] == 0 for row in database.progress(topic.name).values())
