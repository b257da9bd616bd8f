"""A member stops in the middle of a step (SIGSTOP), its partitions move, it wakes up and goes on where it was: the other
member must not wait for it, its stale claims and flushes must change nothing, and no partition may stay without an owner."""
import pytest
from harness import kafka, members, proxy, recount, settings

SESSION_SECONDS = 2
TIMEOUTS = ("session.timeout.ms=2000", "heartbeat.interval.ms=400")


def ingest(launcher, database, topic, name, **more):
    return launcher.ingest(database, topic, name=name, kafka=TIMEOUTS, flush_interval="100ms", **more)


def check_takeover(database, topic, zombie):
    """Called with the zombie stopped: the survivor's flushes reach all partitions within the session timeout + 15 s; a survivor that waits for the zombie waits for ever."""
    members.wait_for_all_moving(database, topic, database.next_offsets(topic.name), SESSION_SECONDS + 15, owner="survivor")
    assert zombie.stopped()


def check_aftermath(database, topic, producer, processes):
    """Called after it woke: both work, every partition moves, and in the end nothing differs."""
    for process in processes:
        members.wait_for_owner(database, topic, process.log.stem, 20)
    members.wait_for_all_moving(database, topic, database.next_offsets(topic.name), 15)
    producer.stop()
    database.wait_for_offsets(topic.name, topic.ends(), 30)
    assert all(database.owners(topic.name).values()), f"a partition without an owner: {database.owners(topic.name)}"
    assert [process.terminate() for process in processes] == [0, 0]
    recount.assert_equal(database, topic)


@pytest.mark.parametrize("round_number", range(settings.ZOMBIE_ROUNDS))
@pytest.mark.parametrize("step", ["before_claim:1", "after_claim:1", "before_flush:4", "after_flush:4", "in_rebalance:1"])
def test_stopped_in_its_own_step(step, round_number, database, topic, launcher):
    point, nth = step.split(":")
    producer = kafka.SteadyProducer(topic, settings.SEED + round_number)
    survivor = ingest(launcher, database, topic, "survivor")
    members.wait_for_owner(database, topic, "survivor", 20, at_least=topic.partitions)
    zombie = ingest(launcher, database, topic, "zombie", faulty=True, environment={"TOPKD_FAULT": f"{point}:stop:{nth}"})
    zombie.wait_stopped(20)
    check_takeover(database, topic, zombie)
    zombie.wake()
    check_aftermath(database, topic, producer, [survivor, zombie])


def test_stopped_while_giving_partitions_away(database, topic, launcher):
    producer = kafka.SteadyProducer(topic, settings.SEED)
    zombie = ingest(launcher, database, topic, "zombie", faulty=True, environment={"TOPKD_FAULT": "in_rebalance:stop:2"})
    members.wait_for_owner(database, topic, "zombie", 20, at_least=topic.partitions)
    survivor = ingest(launcher, database, topic, "survivor")
    zombie.wait_stopped(20)
    check_takeover(database, topic, zombie)
    zombie.wake()
    check_aftermath(database, topic, producer, [survivor, zombie])


@pytest.mark.parametrize("round_number", range(settings.ZOMBIE_ROUNDS))
@pytest.mark.parametrize("action", [proxy.HOLD, proxy.HOLD_HALF, proxy.HOLD_BEFORE_SYNC, proxy.HOLD_ANSWER],
                         ids=["unsent", "half_sent", "sent_without_sync", "sent"])
def test_stopped_with_its_flush_on_the_way(action, round_number, database, topic, launcher, proxied):
    line = proxied()
    producer = kafka.SteadyProducer(topic, settings.SEED + round_number)
    survivor = ingest(launcher, database, topic, "survivor")
    members.wait_for_owner(database, topic, "survivor", 20, at_least=topic.partitions)
    rule = line.on("flush", action, nth=4)
    zombie = ingest(launcher, database, topic, "zombie", port=line.port)
    rule.wait_reached(20)
    zombie.stop()
    check_takeover(database, topic, zombie)
    zombie.wake()
    rule.release()
    answer = rule.wait_answer(10)
    if action == proxy.HOLD_ANSWER:
        assert answer == "ok"
    else:
        # TK001, or the survivor's claim had to end its backend; never accepted.
        assert answer in ("TK001", "57P01", None)
    check_aftermath(database, topic, producer, [survivor, zombie])
