"""Three brokers, three replicas, acks=all: leaders are killed while two members ingest and a transactional producer writes,
commits and aborts. Nothing acknowledged is lost, nothing aborted counts, and the skipped offsets are accounted for. With one replica,
partitions without a leader keep the others from nothing."""
import itertools
import json
import random
import time

import pytest
from harness import broker_cluster, kafka, members, recount, settings, transactions
from harness.wait import wait_until

PARTITIONS = 6
# A leader is away for seconds; a member that hears from no coordinator meanwhile must not lose its partitions at once.
TIMEOUTS = ("session.timeout.ms=6000", "heartbeat.interval.ms=1000")


@pytest.fixture(scope="module")
def three_brokers(run_directory):
    cluster = broker_cluster.BrokerCluster(run_directory / "brokers")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill_all()


@pytest.fixture
def broker(three_brokers):
    """In place of the session's single one, for `topic`, `launcher` and all others."""
    return three_brokers


def kill_a_leader(rng, topic):
    """The leader of a random partition dies, another takes over, the dead one comes back and catches up."""
    partition = rng.randrange(topic.partitions)
    victim = wait_until(lambda: max(topic.broker.leaders(topic)[partition], 0), 30, f"a leader of partition {partition}")
    topic.broker.kill(victim)
    wait_until(lambda: topic.broker.leaders(topic)[partition] not in (victim, -1), 40, f"another leader than {victim}", every=0.2)
    return victim


def written_in_transactions():
    """Events of one view, of videos that nobody else writes."""
    return ({"video_id": f"transaction_{number % 50}", "ts": int(time.time() * 1000)} for number in itertools.count())


def wait_for_progress(topic, database, limit):
    """Records were written and flushed to every partition since now: the cluster works with what it has."""
    since = topic.ends()
    wait_until(lambda: all(offset >= since[partition] + 20 for partition, offset in database.next_offsets(topic.name).items()),
               limit, f"flushes beyond {since}", every=0.2)


def test_leaders_die_under_transactions(database, broker, launcher, test_name):
    rng = random.Random(settings.SEED)
    topic = broker.create_topic(test_name, PARTITIONS)
    both = [launcher.ingest(database, topic, name=name, kafka=TIMEOUTS) for name in ("alpha", "beta")]
    with transactions.TransactionalProducer(topic, settings.SEED, f"{topic.name}-writer", events=written_in_transactions()) as writer, \
            kafka.SteadyProducer(topic, settings.SEED + 1, rate=300, malformed=0.02) as steady:
        members.wait_for_all_moving(database, topic, {}, 60)
        writer.wait_for_both()
        for _ in range(settings.LEADER_KILLS):
            victim = kill_a_leader(rng, topic)
            wait_for_progress(topic, database, 120)  # beyond the timeout of a transaction whose producer was given up
            broker.restart(victim)
            broker.wait_in_sync(topic, 60)
        wait_for_progress(topic, database, 120)
        writer.wait_for_both()
    database.wait_for_offsets(topic.name, topic.ends(), 60)
    assert [process.terminate() for process in both] == [0, 0]
    found = recount.assert_equal(database, topic)
    # What the producers know of their own records. Only what lies in a transaction is never in the log twice: see SteadyProducer.
    written, dead = sum(found.delivered.values()), len(found.dead)
    in_transactions = sum(views for (_hour, video), views in found.views.items() if video.startswith("transaction_"))
    assert writer.committed <= in_transactions <= writer.committed + writer.unknown
    assert steady.acknowledged <= written - in_transactions
    assert dead > 0
    skipped = sum(row["skipped"] for row in database.progress(topic.name).values())
    assert skipped > writer.aborted, "a marker for every transaction and partition, besides the aborted records"
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 0, verified.log_text()


def test_partitions_without_a_leader_keep_the_others_from_nothing(database, broker, launcher, test_name):
    topic = broker.create_topic(test_name, PARTITIONS, replicas=1, min_insync_replicas=1)
    source, ends = kafka.events(2**62, settings.SEED), dict.fromkeys(range(PARTITIONS), 0)

    def produce(partitions):
        topic.produce([(partition, json.dumps(next(source)).encode(), None, None) for partition in partitions for _ in range(50)])
        ends.update({partition: ends[partition] + 50 for partition in partitions})

    produce(ends)
    member = launcher.ingest(database, topic, name="before", kafka=TIMEOUTS)
    database.wait_for_offsets(topic.name, ends, 60)
    assert member.terminate() == 0
    victim = broker.leaders(topic)[0]
    broker.kill(victim)
    wait_until(lambda: broker.leaders(topic)[0] == -1, 40, "a partition without a leader", every=0.2)
    others = [partition for partition, leader in broker.leaders(topic).items() if leader not in (-1, victim)]
    assert 0 < len(others) < PARTITIONS
    produce(others)
    member = launcher.ingest(database, topic, name="after", kafka=TIMEOUTS)
    member.wait_for_log(f"{topic.name}/0 is not read: the brokers do not tell its bounds", 60)
    database.wait_for_offsets(topic.name, ends, 60)
    # A resume asks for bounds, too
    assert database.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'after'") == 1
    produce(others)
    database.wait_for_offsets(topic.name, ends, 60)
    assert "cannot ask the brokers" not in member.log_text(), "by now the leaderless ones are asked for alone"
    broker.restart(victim)
    broker.wait_in_sync(topic, 60, replicas=1)
    produce(ends)
    database.wait_for_offsets(topic.name, ends, 60)
    assert member.terminate() == 0
    recount.assert_equal(database, topic)
