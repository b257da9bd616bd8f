"""The connection is cut between a flush and its answer, so that nobody but the database knows the outcome; and a flush
that was thought lost arrives late, on the old connection, after its sender has gone on with a new one.

The last is what the compare-and-set in topk.flush is for: the negative control takes it away and must go wrong.
"""
import shutil

import pytest
from harness import kafka, members, proxy, recount, settings
from harness.wait import wait_until


def ingest_through(line, launcher, database, topic):
    return launcher.ingest(database, topic, port=line.port, flush_interval="100ms")


def finish(database, topic, producer, process):
    producer.stop()
    database.wait_for_offsets(topic.name, topic.ends(), 40)
    assert process.terminate() == 0


@pytest.mark.parametrize("call, action", [
    ("flush", proxy.CUT_UNSENT), ("flush", proxy.CUT_HALF), ("flush", proxy.CUT_BEFORE_SYNC), ("flush", proxy.CUT_ANSWER),
    ("claim", proxy.CUT_HALF), ("claim", proxy.CUT_ANSWER)],
    ids=["flush_unsent", "flush_half_sent", "flush_sent_without_sync", "flush_executed", "claim_half_sent", "claim_executed"])
def test_cut(call, action, database, topic, launcher, proxied):
    line = proxied()
    # A claim is cut twice in a row at the start; flushes again and again, with some that get through between them.
    times = settings.CUTS if call == "flush" else 2
    rule = line.on(call, action, nth=2 if call == "flush" else 1, every=3 if call == "flush" else 1, times=times)
    producer = kafka.SteadyProducer(topic, settings.SEED)
    process = ingest_through(line, launcher, database, topic)
    wait_until(lambda: rule.acted == times, 20 + 5 * times, f"{times} {call} calls cut", every=0.1)
    members.wait_for_all_moving(database, topic, database.next_offsets(topic.name), 20)
    finish(database, topic, producer, process)
    recount.assert_equal(database, topic)


def deliver_late(line, database, topic, when):
    """Cuts a flush off, lets the client go on, and delivers the flush late: before or after the client's next flush, which
    holds the same records. Returns the server's answer to it."""
    late = line.on("flush", proxy.DELIVER_LATE, nth=3)
    if when == "before_the_next_flush":
        following = line.on("flush", proxy.HOLD, nth=3)  # does not see the call that `late` acts on
        late.wait_reached(20)
        following.wait_reached(20)
        late.release()
        answer = late.wait_answer(20)
        following.release()
    else:
        late.wait_reached(20)
        members.wait_for_all_moving(database, topic, database.next_offsets(topic.name), 20)
        late.release()
        answer = late.wait_answer(20)
    return answer


@pytest.mark.parametrize("when", ["before_the_next_flush", "after_the_next_flush"])
def test_late_delivery(when, database, topic, launcher, proxied):
    line = proxied()
    producer = kafka.SteadyProducer(topic, settings.SEED)
    process = ingest_through(line, launcher, database, topic)
    assert deliver_late(line, database, topic, when) == "TK001"
    finish(database, topic, producer, process)
    recount.assert_equal(database, topic)


def take_compare_and_set_away(database, run_directory):
    """All functions from the library without it: two libraries with the same symbols in one process could mix."""
    library = run_directory / "topk_no_cas.so"
    shutil.copy(settings.NO_CAS, library)
    library.chmod(0o755)
    for (definition,) in database.query(
            "SELECT replace(pg_get_functiondef(oid), probin, %s) FROM pg_proc WHERE probin = '$libdir/topk'", str(library)):
        database.execute(definition)
    assert database.value("SELECT probin FROM pg_proc WHERE oid = 'topk.flush'::regproc") == str(library)


@pytest.mark.parametrize("when", ["before_the_next_flush", "after_the_next_flush"])
def test_late_delivery_without_compare_and_set_counts_twice(when, database, topic, launcher, proxied, run_directory):
    take_compare_and_set_away(database, run_directory)
    line = proxied()
    producer = kafka.SteadyProducer(topic, settings.SEED)
    process = ingest_through(line, launcher, database, topic)
    assert deliver_late(line, database, topic, when) == "ok"
    producer.stop()
    # Not finish(): without the compare-and-set the offsets may have moved back as well.
    wait_until(lambda: database.next_offsets(topic.name) == topic.ends(), 40, "the end of the topic")
    process.kill()
    expected = recount.recount(topic.broker.address, topic.name, topic.partitions).views
    wrong = recount.differences(expected, recount.stored_views(database))
    assert wrong, "the control did not fail: the test above proves nothing"
    assert all(stored > counted for counted, stored in wrong.values())
