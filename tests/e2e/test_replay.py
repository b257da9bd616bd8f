"""Replays: per (hour, video), counted + late is the same in every replay. The split too, if no partition was advanced by the
clock, all existed from the start and no record exceeded the skew.

The sentence is the design's. Below it the cases that its conditions exclude: each changes the split, and only the split.
"""
import json
import random
import time

import pytest
from harness import kafka, proxy, recount, settings, streams
from harness.wait import wait_until

NEVER_BY_THE_CLOCK = dict(idle_timeout="1 hour")


def produce_stream(topic, seed, count, hours=30, late=0.05):
    """Disordered and late events, garbage, in random partitions."""
    rng = random.Random(seed)
    with topic.producer() as producer:
        for event in (event for event, _ in zip(streams.Stream(seed, hours, count=count, late=late), range(count))):
            value = b"{broken" if rng.random() < 0.01 else json.dumps(event).encode()
            producer.send((rng.randrange(topic.partitions), value, event["video_id"].encode(), None))


def plain(launcher, database, topic, counter, line=None):
    """To the end in one go, nothing sealed meanwhile."""
    assert launcher.ingest(database, topic, "--exit-at-end", counter=counter, name=counter).wait(90) == 0


def killed(launcher, database, topic, counter, line):
    """kill -9 after some flushes, again and again, with sealing."""
    kills, ends = 0, topic.ends()
    while database.next_offsets(topic.name, counter) != ends and kills < 6:
        before = database.next_offsets(topic.name, counter)
        process = launcher.ingest(database, topic, "--maintain", "--maintain-interval", "50ms", "--memory", "16MiB", counter=counter,
                                  name=counter, flush_interval="20ms")
        wait_until(lambda: database.next_offsets(topic.name, counter) != before, 30, "a flush", every=0.01)
        process.kill()
        kills += 1
    assert kills > 2
    plain(launcher, database, topic, counter)


def shared(launcher, database, topic, counter, line):
    """Two members whose flushes are lost again and again, so that they go back with records unflushed, and a database that stops."""
    lost = line.on("flush", proxy.CUT_UNSENT, nth=2, every=3, times=6)
    # Flushes of a few thousand records: on a quick machine the whole topic would else be two or three of them
    both = [launcher.ingest(database, topic, "--maintain", "--exit-at-end", "--memory", "16MiB", counter=counter,
                            name=f"{counter}-{number}", port=line.port, flush_interval="5ms") for number in range(2)]
    wait_until(lambda: lost.acted > 1, 40, "two flushes lost", every=0.01)
    database.cluster.stop("immediate")
    database.cluster.start()
    assert [process.wait(120) for process in both] == [0, 0]


def hasty(launcher, database, topic, counter, line):
    """Sealing as often as can be, a flush for every few records."""
    assert launcher.ingest(database, topic, "--exit-at-end", "--maintain", "--maintain-interval", "20ms", counter=counter, name=counter,
                           flush_interval="1ms").wait(120) == 0


def test_replays(empty_database, topic, launcher, proxied):
    database = empty_database
    produce_stream(topic, settings.SEED, settings.REPLAY_RECORDS)
    counters = {way.__name__: way for way in (plain, killed, shared, hasty)}
    for counter, replay in counters.items():
        database.create_counter(counter, **NEVER_BY_THE_CLOCK)
        replay(launcher, database, topic, counter, proxied())
        database.execute("CALL topk.seal(%s)", counter)
    found = recount.recount(topic.broker.address, topic.name, topic.partitions, recount.counter_of(database, "plain"))
    assert found.in_time and found.late and found.dead
    books = {}
    for counter in counters:
        assert recount.split_is_decided(database, topic, found, counter), counter
        recount.assert_equal(database, topic, counter, found)
        recount.assert_split_equal(found, database, counter)
        books[counter] = (database.query("SELECT partition, next_offset, watermark, counted, late, dead, skipped FROM topk.kafka_progress "
                                         "WHERE counter = %s ORDER BY 1", counter),
                          database.query(f"SELECT * FROM {counter}_late ORDER BY 1, 2, 3") if counter == "plain" else None,
                          database.value("SELECT sealed_through FROM topk.counter WHERE name = %s", counter))
    assert all(book[0] == books["plain"][0] and book[2] == books["plain"][2] for book in books.values()), books
    verified = launcher.verify(database, topic, counter="killed")
    assert verified.exit_code == 0, verified.log_text()


# -- where only the sum is the same ---------------------------------------------------------------------------------------


def compare_replay(launcher, database, topic, counter="video_views"):
    """Another counter of the same options reads the same records in one go. Returns whether its split is the same."""
    database.execute("SELECT topk.create_counter('replay', time_zone, lateness, max_clock_skew, max_age, idle_timeout) FROM topk.counter "
                     "WHERE name = %s", counter)
    plain(launcher, database, topic, "replay")
    sums = [recount.stored_views(database, name) for name in (counter, "replay")]
    assert sums[0] and recount.differences(*sums) == {}
    for name in (counter, "replay"):
        recount.assert_audit_clean(database, name)
        verified = launcher.verify(database, topic, counter=name)
        assert verified.exit_code == 0, verified.log_text()
    return recount.differences(*[recount.stored_in_time(database, name) for name in (counter, "replay")]) == {}


def old_events(seed, count=400):
    """In order, over three hours that ended long ago."""
    return [event for event, _ in zip(streams.Stream(seed, 5, count=count, late=0.0), range(count))]


def test_split_depends_on_the_clock(empty_database, topic, launcher):
    """A partition that its owner advanced for silence, and that then went on with old records."""
    database = empty_database
    database.create_counter(idle_timeout="1 s")
    events = old_events(settings.SEED)
    topic.produce(events[:200])
    process = launcher.ingest(database, topic)
    wait_until(lambda: all(row["clock_advanced_at"] for row in database.progress(topic.name).values()) and database.progress(topic.name), 30,
               "all partitions advanced by the clock")
    topic.produce(events[200:])
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    assert process.terminate() == 0
    assert not compare_replay(launcher, database, topic)


def test_split_depends_on_when_a_partition_came(empty_database, topic, broker, launcher):
    """Its old records come after the frontier has passed them; in the replay it is there from the start."""
    database = empty_database
    database.create_counter(**NEVER_BY_THE_CLOCK)
    events = old_events(settings.SEED)
    topic.produce((index % topic.partitions, json.dumps(event).encode(), None, None) for index, event in enumerate(events))
    plain(launcher, database, topic, "video_views")
    database.execute("CALL topk.seal()")
    grown = broker.add_partitions(topic.name, 5)
    grown.produce((4, json.dumps(event).encode(), None, None) for event in events)
    plain(launcher, database, grown, "video_views")
    assert not compare_replay(launcher, database, grown)


def test_split_depends_on_when_a_record_ahead_was_read(empty_database, topic, launcher):
    """A record within the skew, but ahead of the clock by its own time and its producer's: the watermark goes as far as the clock
    at the first reading, and as far as the record at the second."""
    database = empty_database
    now = int(time.time() * 1000)
    hour = now // kafka.HOUR_MS * kafka.HOUR_MS - kafka.HOUR_MS
    # Late is what comes for that hour when the watermark is nine seconds ahead of now.
    late_from, ahead = now + 9_000, now + 11_000
    database.create_counter(lateness=f"{late_from - hour - kafka.HOUR_MS} milliseconds", **NEVER_BY_THE_CLOCK)
    topic.produce([(0, json.dumps({"video_id": "ahead", "ts": ahead}).encode(), None, ahead),
                   (0, json.dumps({"video_id": "behind", "ts": hour}).encode(), None, now)])
    plain(launcher, database, topic, "video_views")
    assert int(time.time() * 1000) < late_from, "too slow for this test"
    wait_until(lambda: time.time() * 1000 > ahead, 20, "the record to be of the past", every=0.2)
    assert not compare_replay(launcher, database, topic)


@pytest.mark.parametrize("first", ["dead", "counted"])
def test_a_record_beyond_the_skew_is_counted_when_its_time_has_come(first, empty_database, topic, launcher):
    """The one thing that changes the sum as well: a dead letter of one reading is an event of the next."""
    database = empty_database
    database.create_counter(max_clock_skew="2 s", **NEVER_BY_THE_CLOCK)
    at = int(time.time() * 1000) + (12_000 if first == "dead" else 1000)
    topic.produce([(0, json.dumps({"video_id": "early", "ts": at}).encode(), None, None)])
    if first == "counted":
        wait_until(lambda: time.time() * 1000 > at, 20, "the record to be of the past", every=0.2)
    plain(launcher, database, topic, "video_views")
    assert int(time.time() * 1000) < at - 2000 or first == "counted", "too slow for this test"
    assert sum(recount.stored_views(database).values()) == (first == "counted")
    assert database.value("SELECT count(*) FROM topk.dead_letter") == (first == "dead")
