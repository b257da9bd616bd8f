"""An independent recount: reads a topic from its start with its own decoder and computes what the tables must hold.

Nothing here is shared with topkd: other language, other JSON parser, other client. The rules are the contract's ("Events")
and the architecture's ("Time"): views are late when their hour's end + lateness is at or before the watermark of their own
partition, the greatest min(event time, record timestamp) of the records so far.
"""
import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

from confluent_kafka import Consumer, KafkaError, TopicPartition

from .kafka import watermark_offsets
from .zone_hours import ZoneHours

HOUR_MS = 3_600_000
MAX_AGE_MS = 400 * 24 * HOUR_MS
MAX_SKEW_MS = 5 * 60_000
LATENESS_MS = 60_000
RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII)


@dataclass
class Recount:
    views: dict = field(default_factory=dict)     # (hour start in ms, video_id) → views, in time or late
    in_time: dict = field(default_factory=dict)   # the same, of those in time
    late: dict = field(default_factory=dict)      # and of those that are late
    dead: set = field(default_factory=set)        # (partition, offset)
    good: dict = field(default_factory=dict)      # partition → records that are events
    late_records: dict = field(default_factory=dict)  # partition → those of them that are late
    delivered: dict = field(default_factory=dict)  # partition → records delivered (the other offsets are skipped ones)
    starts: dict = field(default_factory=dict)    # partition → first offset of the log
    ends: dict = field(default_factory=dict)      # partition → end of the log
    watermarks: dict = field(default_factory=dict)  # partition → in ms, None before the first event
    clock_decides: bool = False                   # a record lay ahead of the clock: when it was read decides what it did


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def _integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _rfc3339_ms(text):
    found = RFC3339.match(text)
    if not found:
        return None
    try:
        offset = "+00:00" if found[4] in "Zz" else found[4]
        instant = datetime.fromisoformat(f"{found[1]}T{found[2]}{offset}")
    except ValueError:
        return None
    fraction = int((found[3] or ".0")[1:4].ljust(3, "0"))
    return int(instant.replace(tzinfo=instant.tzinfo or timezone.utc).timestamp()) * 1000 + fraction


def decode(value, key, timestamp, now):
    """(video_id, event time in ms, views), or None for a record that is no event."""
    if value is None:
        return None
    if value == b"":
        event = {"video_id": key.decode()} if key else {}
    else:
        event = json.loads(value.decode("utf-8"), parse_constant=_no_constant)
    video = event.get("video_id") if isinstance(event, dict) else None
    if not isinstance(video, str) or "\0" in video or not 1 <= len(video.encode("utf-8")) <= 256:
        return None
    at, views = event.get("ts", timestamp), event.get("views", 1)
    at = _rfc3339_ms(at) if isinstance(at, str) else at
    if not _integer(at) or not _integer(views) or not 1 <= views <= 1_000_000:
        return None
    return (video, at, views) if now - MAX_AGE_MS <= at <= now + MAX_SKEW_MS else None


class Counter:
    """What the recount has to know of a counter."""

    def __init__(self, time_zone="UTC", lateness_ms=LATENESS_MS):
        self.hours, self.lateness_ms = ZoneHours(time_zone), lateness_ms


def recount(broker, topic, partitions, counter=None, limit=180):
    """Reads all partitions up to the ends they have now."""
    counter = counter or Counter()
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "e2e-recount", "enable.auto.commit": False, "log_level": 0,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    result = Recount()
    for partition in range(partitions):
        result.starts[partition], result.ends[partition] = watermark_offsets(consumer, topic, partition)
        result.good[partition] = result.delivered[partition] = result.late_records[partition] = 0
        result.watermarks[partition] = None
    consumer.assign([TopicPartition(topic, partition, result.starts[partition]) for partition in range(partitions)])
    open_partitions = {partition for partition in range(partitions) if result.ends[partition] > result.starts[partition]}
    now, deadline = int(time.time() * 1000), time.monotonic() + limit
    while open_partitions:
        if time.monotonic() > deadline:
            raise AssertionError(f"recount of {topic} not done within {limit} s: partitions {sorted(open_partitions)}")
        for message in consumer.consume(20_000, 0.5):
            partition = message.partition()
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(f"recount of {topic}: {message.error()}")
                if message.offset() >= result.ends[partition]:
                    open_partitions.discard(partition)
                continue
            if message.offset() >= result.ends[partition]:
                open_partitions.discard(partition)
                continue
            _count(result, message, partition, counter, now)
    consumer.close()
    return result


def _count(result, message, partition, counter, now):
    result.delivered[partition] += 1
    try:
        event = decode(message.value(), message.key(), message.timestamp()[1], now)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        event = None
    if event is None:
        result.dead.add((partition, message.offset()))
        return
    video, at, views = event
    reached = min(at, message.timestamp()[1])
    result.clock_decides |= reached > now
    if result.watermarks[partition] is None or reached > result.watermarks[partition]:
        result.watermarks[partition] = reached
    hour, end = counter.hours.hour_of(at)
    late = end + counter.lateness_ms <= result.watermarks[partition]
    for sums in (result.views, result.late if late else result.in_time):
        sums[hour, video] = sums.get((hour, video), 0) + views
    result.good[partition] += 1
    result.late_records[partition] += late


def counter_of(database, counter):
    """(zone, lateness) as the counter has them; nothing else of the database is believed."""
    zone, lateness = database.query("SELECT time_zone, (extract(epoch FROM lateness) * 1000)::bigint FROM topk.counter WHERE name = %s",
                                    counter)[0]
    return Counter(zone, lateness)


def _sums(rows):
    return {(hour, video): views for hour, video, views in rows}


def stored_in_time(database, counter="video_views"):
    """What the hour table holds, in the recount's form."""
    return _sums(database.query(f"SELECT (extract(epoch FROM window_start) * 1000)::bigint, video_id, views FROM {counter}_hour"))


def stored_late(database, counter="video_views"):
    return _sums(database.query("SELECT (extract(epoch FROM hour_start) * 1000)::bigint, video_id, views FROM topk.late_views "
                                "WHERE counter = %s", counter))


def stored_views(database, counter="video_views"):
    """What was counted, in time or late: the same in every replay."""
    sums = stored_in_time(database, counter)
    for key, views in stored_late(database, counter).items():
        sums[key] = sums.get(key, 0) + views
    return sums


def views_of(events):
    """What these events (dictionaries with video_id, ts in ms, perhaps views) add up to, in the recount's form (UTC)."""
    sums = {}
    for event in events:
        key = event["ts"] // HOUR_MS * HOUR_MS, event["video_id"]
        sums[key] = sums.get(key, 0) + event.get("views", 1)
    return sums


def differences(expected, stored):
    keys = [key for key in expected.keys() | stored.keys() if expected.get(key) != stored.get(key)]
    return {key: (expected.get(key), stored.get(key)) for key in keys}


def split_is_decided(database, topic, found, counter="video_views"):
    """Whether the log alone decides what is late: no partition was advanced by the clock, all existed from the start, none
    was reset, and no record lay ahead of the clock."""
    clocked, reset = database.query(
        "SELECT count(*) FILTER (WHERE clock_advanced_at IS NOT NULL), (SELECT count(*) FROM topk.progress_history h WHERE h.counter = %s) "
        "FROM topk.kafka_progress p WHERE p.counter = %s", counter, counter)[0]
    return not (clocked or reset or found.clock_decides or topic.grown)


def assert_sums_equal(found, database, counter="video_views"):
    wrong = differences(found.views, stored_views(database, counter))
    assert not wrong, (f"{len(wrong)} of {len(found.views)} rows differ (recounted, stored): {dict(sorted(wrong.items())[:10])}; "
                       f"sums {sum(found.views.values())}, {sum(stored_views(database, counter).values())}")


def assert_split_equal(found, database, counter="video_views"):
    for what, expected, stored in (("in time", found.in_time, stored_in_time(database, counter)),
                                   ("late", found.late, stored_late(database, counter))):
        wrong = differences(expected, stored)
        assert not wrong, (f"{what}: {len(wrong)} of {len(expected)} rows differ (recounted, stored): {dict(sorted(wrong.items())[:10])}; "
                           f"sums {sum(expected.values())}, {sum(stored.values())}")


def assert_books_equal(found, database, topic, split, counter="video_views"):
    letters = database.query('SELECT partition, "offset" FROM topk.dead_letter WHERE counter = %s AND topic = %s', counter, topic.name)
    assert len(letters) == len(set(letters)), "an offset has two dead letters"
    assert set(letters) == found.dead, (f"dead letters differ: missing {sorted(found.dead - set(letters))[:10]}, "
                                        f"unexpected {sorted(set(letters) - found.dead)[:10]}")
    for partition, row in database.progress(topic.name, counter).items():
        consumed = (row["next_offset"] or 0) - (row["start_offset"] or 0)
        books = sum(row[column] for column in ("counted", "late", "dead", "skipped", "lost"))
        assert consumed == books, f"partition {partition}: {consumed} offsets consumed, the books hold {books}: {row}"
        assert row["counted"] + row["late"] == found.good[partition], f"partition {partition}: {row}, recounted {found.good}"
        assert not split or row["late"] == found.late_records[partition], f"partition {partition}: {row}, recounted {found.late_records}"
        assert row["skipped"] == consumed - found.delivered[partition], f"partition {partition}: {row}"
        assert row["next_offset"] == found.ends[partition], f"partition {partition}: {row}, end {found.ends}"


def assert_audit_clean(database, counter="video_views"):
    rows = database.query("SELECT check_name, subject, expected, found, ok, detail FROM topk.audit(%s)", counter)
    assert rows, "the audit checks nothing"
    wrong = [row for row in rows if not row[4]]
    assert not wrong, f"the audit finds: {wrong[:10]}"


def assert_equal(database, topic, counter="video_views", found=None):
    """The tables, the dead letters, the books and the audit against the recount, the split where the log decides it; returns
    the recount."""
    found = found or recount(topic.broker.address, topic.name, topic.partitions, counter_of(database, counter))
    split = split_is_decided(database, topic, found, counter)
    assert_sums_equal(found, database, counter)
    if split:
        assert_split_equal(found, database, counter)
    assert_books_equal(found, database, topic, split, counter)
    assert_audit_clean(database, counter)
    return found
