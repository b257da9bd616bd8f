"""/metrics of ingest equals the books in PostgreSQL, after late events, dead letters, aborted transactions, and flushes whose outcome only the
database knew; /readyz tells when it cannot work."""
import collections
import json
import time

from harness import kafka, metrics, proxy, recount, settings, streams, transactions
from harness.wait import wait_until

LISTEN = ("--metrics-listen", "127.0.0.1:0")
BOOKS = ("counted", "late", "dead", "skipped")


def books(database, topic):
    rows = database.progress(topic.name).values()
    return {name: sum(row[name] for row in rows) for name in BOOKS}


def told(endpoint):
    """The same from the metrics."""
    late = endpoint.value("topkd_late_events_total")
    return {"counted": endpoint.value("topkd_events_total") - late, "late": late, "dead": endpoint.value("topkd_dead_records_total") or 0,
            "skipped": endpoint.value("topkd_skipped_records_total")}


def lags(endpoint):
    return endpoint.by_label("topkd_partition_lag_records", "partition")


def dead_by_reason(database):
    counts = collections.Counter()
    for reason, count in database.query("SELECT reason, count(*) FROM topk.dead_letter GROUP BY reason"):
        counts[reason.split(":")[0]] += count
    return dict(counts)


def test_they_equal_the_books(database, topic, launcher, proxied):
    """The connection is cut before a flush, within it, and after its commit but before its answer, again and again."""
    line = proxied()
    cuts = [line.on("flush", proxy.CUT_ANSWER, nth=2, every=4, times=settings.CUTS), line.on("flush", proxy.CUT_HALF, nth=3, every=5, times=settings.CUTS)]
    process = launcher.ingest(database, topic, *LISTEN, port=line.port, flush_interval="100ms")
    endpoint = metrics.Endpoint.of(process)
    wait_until(lambda: endpoint.ready() is None, 30, "it to be ready", every=0.1)
    stream = streams.Stream(settings.SEED, hours=30, seconds=4, late=0.1)
    with kafka.SteadyProducer(topic, settings.SEED, rate=1500, malformed=0.05, source=stream), \
            transactions.TransactionalProducer(topic, settings.SEED, f"{topic.name}-writer", events=iter(streams.Stream(settings.SEED + 1, hours=30, seconds=4))):
        wait_until(lambda: all(rule.acted == settings.CUTS for rule in cuts), 60, "the cuts", every=0.1)
    database.wait_for_offsets(topic.name, topic.ends(), 40)
    wait_until(lambda: set(lags(endpoint).values()) == {0} and len(lags(endpoint)) == topic.partitions, 20, "no lag", every=0.1)

    expected = books(database, topic)
    assert all(expected.values()), f"the stream was to have some of each: {expected}"
    assert told(endpoint) == expected
    assert endpoint.value("topkd_records_total") == expected["counted"] + expected["late"] + expected["dead"]
    assert endpoint.by_label("topkd_dead_records_total", "reason") == dead_by_reason(database)

    # What was read again is told, and was not counted twice
    assert endpoint.value("topkd_read_records_total") > endpoint.value("topkd_records_total")
    assert endpoint.value("topkd_rewinds_total") >= settings.CUTS
    assert endpoint.value("topkd_flushes_total", result="outage") == 2 * settings.CUTS
    assert endpoint.value("topkd_retries_total", call="flush") == 2 * settings.CUTS
    # Of each flush whose answer came
    flushes = endpoint.value("topkd_flushes_total", result="ok")
    assert endpoint.value("topkd_flush_seconds_count") == endpoint.value("topkd_flush_rows_count") == flushes
    assert 0 < endpoint.value("topkd_event_visible_seconds_count") <= expected["counted"]
    assert endpoint.value("topkd_event_visible_seconds_bucket", le="0.1") == 0, "the stream's events are hours old"

    assert endpoint.lint() == ""
    assert process.terminate() == 0
    recount.assert_equal(database, topic)


def test_fresh_events(database, topic, launcher):
    """Events of now are visible within a second or two, and the watermark is as young."""
    process = launcher.ingest(database, topic, *LISTEN, "--maintain", "--maintain-interval", "200ms")
    endpoint = metrics.Endpoint.of(process)
    wait_until(lambda: endpoint.ready() is None, 30, "it to be ready", every=0.1)

    def now():
        while True:
            yield {"video_id": "vid_1", "ts": int(time.time() * 1000)}
    with kafka.SteadyProducer(topic, settings.SEED, rate=500, source=now()):
        wait_until(lambda: (endpoint.value("topkd_event_visible_seconds_count") or 0) > 1500, 30, "1500 events", every=0.1)
        assert endpoint.value("topkd_watermark_age_seconds") < 5
    count, seconds = endpoint.value("topkd_event_visible_seconds_count"), endpoint.value("topkd_event_visible_seconds_sum")
    assert seconds / count < 5
    assert endpoint.value("topkd_partitions", state="claimed") == endpoint.value("topkd_topic_partitions") == topic.partitions
    assert endpoint.value("topkd_rebalances_total", kind="assigned") == 1
    wait_until(lambda: endpoint.value("topkd_maintenance_steps_total", part="roll_up") > 0, 20, "a step of each part", every=0.1)
    assert endpoint.value("topkd_maintenance_steps_total", part="seal") > 0
    assert endpoint.value("topkd_maintenance_failures_total") == 0
    assert endpoint.value("topkd_build_info", program="ingest") == 1
    assert process.terminate() == 0


def test_lag_is_what_is_not_committed(database, topic, launcher):
    """A lock of somebody else holds the flush up: what was read is still behind."""
    process = launcher.ingest(database, topic, *LISTEN)
    endpoint = metrics.Endpoint.of(process)
    wait_until(lambda: set(lags(endpoint).values()) == {0}, 30, "the claim", every=0.1)
    connection = database.cluster.connect(database.name)
    try:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM topk.kafka_progress_data WHERE topic = %s AND partition = 2 FOR UPDATE", (topic.name,))
            event = json.dumps({"video_id": "vid_1", "ts": int(time.time() * 1000)}).encode()
            topic.produce([(2, event, None, None)] * 30)
            wait_until(lambda: lags(endpoint).get("2") == 30, 20, "the lag of partition 2", every=0.05)
            wait_until(lambda: endpoint.value("topkd_read_records_total") >= 30, 20, "the records read", every=0.05)
            assert lags(endpoint)["2"] == 30
        connection.rollback()
    finally:
        connection.close()
    wait_until(lambda: set(lags(endpoint).values()) == {0}, 20, "no lag", every=0.1)
    assert process.terminate() == 0


def test_ready_while_the_database_is_away(database, topic, postgres, launcher):
    """On a silent topic, which lets ingest itself notice nothing; it needs no restart."""
    process = launcher.ingest(database, topic, *LISTEN)
    endpoint = metrics.Endpoint.of(process)
    wait_until(lambda: endpoint.ready() is None, 30, "it to be ready", every=0.1)
    postgres.stop("fast")
    wait_until(lambda: endpoint.ready(), 20, "it not to be ready", every=0.1)
    assert endpoint.get("/readyz")[2]["Retry-After"] and "host" not in endpoint.ready()
    assert endpoint.get("/healthz")[0] == 200
    topic.produce([(0, json.dumps({"video_id": "vid_1", "ts": int(time.time() * 1000)}).encode(), None, None)])
    wait_until(lambda: endpoint.value("topkd_database_up") == 0, 20, "a failed call", every=0.1)
    postgres.start()
    wait_until(lambda: endpoint.ready() is None, 30, "it to be ready again", every=0.1)
    database.wait_for_offsets(topic.name, topic.ends(), 20)
    wait_until(lambda: endpoint.value("topkd_database_up") == 1, 20, "the database up", every=0.1)
    assert endpoint.value("topkd_records_total") == 1
    assert process.terminate() == 0


def test_from_the_first_moment(empty_database, topic, postgres, launcher):
    """It answers while the start waits for the database; other paths and methods are refused."""
    postgres.stop("fast")
    process = launcher.ingest(empty_database, topic, *LISTEN, "--startup-timeout", "60s")
    endpoint = metrics.Endpoint.of(process)
    assert endpoint.get("/healthz")[0] == 200 and endpoint.ready() == "starting"
    assert endpoint.value("topkd_records_total") == 0
    assert endpoint.get("/metrics", method="POST")[0] == 405 and endpoint.get("/elsewhere")[0] == 404
    assert endpoint.get("/metrics", method="HEAD")[:2] == (200, "")
    postgres.start()
    wait_until(lambda: endpoint.ready() is None, 30, "it to be ready", every=0.1)
    assert process.terminate() == 0


def test_a_refused_partition_is_not_ready(database, topic, broker, launcher):
    topic.produce([(0, json.dumps({"video_id": "vid_1", "ts": int(time.time() * 1000)}).encode(), None, None)] * 20)
    assert launcher.ingest(database, topic, "--exit-at-end").wait(60) == 0
    topic.produce([(0, json.dumps({"video_id": "vid_1", "ts": int(time.time() * 1000)}).encode(), None, None)] * 20)
    broker.delete_records(topic.name, {0: 30})
    process = launcher.ingest(database, topic, *LISTEN, name="refused")
    endpoint = metrics.Endpoint.of(process)
    wait_until(lambda: endpoint.value("topkd_partitions", state="refused") == 1, 30, "the refusal", every=0.1)
    assert f"{topic.name}/0 is not read" in endpoint.ready()
    database.execute("SELECT topk.reset_progress('video_views', %s, 0, 30, 'retention')", topic.name)
    wait_until(lambda: endpoint.ready() is None, 40, "it to be ready", every=0.1)
    assert endpoint.value("topkd_partitions", state="refused") == 0
    assert process.terminate() == 0


def test_an_address_in_use_ends_the_start(database, topic, launcher):
    process = launcher.ingest(database, topic, *LISTEN)
    endpoint = metrics.Endpoint.of(process)
    second = launcher.ingest(database, topic, "--metrics-listen", endpoint.address, name="second")
    assert second.wait(20) == 1 and endpoint.address in second.log_text()
    assert process.terminate() == 0
