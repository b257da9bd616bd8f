"""Ten thousand malformed records of many kinds among a hundred thousand good ones: every good one counts, every bad one is
a dead letter with its offset and the right reason, and a flood of them stores offsets and reasons, not all payloads."""
import json
import random
import time

from harness import recount, settings

HOUR_MS = recount.HOUR_MS
NOW = int(time.time() * 1000)
LONG_ID = "x" * 257
KEY = b"some key"

# name → (value, key, reasons that are right)
MALFORMED = {
    "no JSON": (b"hello", KEY, ["not JSON"]),
    "white space only": (b"  \n", KEY, ["not JSON"]),
    "truncated": (b'{"video_id": "a", "ts": 17', KEY, ["not JSON"]),
    "more behind it": (b'{"video_id": "a"} {}', KEY, ["not JSON"]),
    "single quotes": (b"{'video_id': 'a'}", KEY, ["not JSON"]),
    "trailing comma": (b'{"video_id": "a",}', KEY, ["not JSON"]),
    "byte order mark": (b'\xef\xbb\xbf{"video_id": "a"}', KEY, ["not JSON"]),
    "NaN": (b'{"video_id": "a", "x": NaN}', KEY, ["not JSON"]),
    "control character in a string": (b'{"video_id": "a\x01"}', KEY, ["not JSON"]),
    "lone surrogate": (rb'{"video_id": "\ud800"}', KEY, ["not JSON", "video_id not UTF-8"]),
    "not UTF-8": (b'{"video_id": "\xff\xfe"}', KEY, ["not JSON", "video_id not UTF-8"]),
    "nested too deep": (b'{"video_id": "a", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}", KEY, ["not JSON"]),
    "random bytes": (bytes(range(256)) * 20, KEY, ["not JSON"]),
    "array": (b'[{"video_id": "a"}]', KEY, ["not an object"]),
    "string": (b'"video_id"', KEY, ["not an object"]),
    "JSON null": (b"null", KEY, ["not an object"]),
    "no id": (b'{"ts": 1}', KEY, ["video_id missing"]),
    "id of another case": (b'{"Video_Id": "a"}', KEY, ["video_id missing"]),
    "id a number": (b'{"video_id": 17}', KEY, ["video_id not a string"]),
    "id null": (b'{"video_id": null}', KEY, ["video_id not a string"]),
    "id empty": (b'{"video_id": ""}', KEY, ["video_id empty"]),
    "id too long": (json.dumps({"video_id": LONG_ID}).encode(), KEY, ["video_id longer than 256 bytes"]),
    "id with NUL": (rb'{"video_id": "a\u0000b"}', KEY, ["video_id contains NUL"]),
    "ts a fraction": (b'{"video_id": "a", "ts": 1.5}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts true": (b'{"video_id": "a", "ts": true}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts null": (b'{"video_id": "a", "ts": null}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts yesterday": (b'{"video_id": "a", "ts": "yesterday"}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts without zone": (b'{"video_id": "a", "ts": "2026-01-01T00:00:00"}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts the 30th of February": (b'{"video_id": "a", "ts": "2026-02-30T00:00:00Z"}', KEY, ["ts not an integer or RFC 3339 string"]),
    "ts beyond all time": (b'{"video_id": "a", "ts": 9000000000000000000}', KEY, ["ts out of range"]),
    "ts beyond 64 bits": (b'{"video_id": "a", "ts": 90000000000000000000000}', KEY, ["ts out of range", "ts not an integer or RFC 3339 string"]),
    "ts too old": (json.dumps({"video_id": "a", "ts": NOW - 401 * 24 * HOUR_MS}).encode(), KEY, ["older than max_age"]),
    "ts ahead": (json.dumps({"video_id": "a", "ts": NOW + 24 * HOUR_MS}).encode(), KEY, ["ahead of the clock"]),
    "views zero": (b'{"video_id": "a", "views": 0}', KEY, ["views out of range"]),
    "views negative": (b'{"video_id": "a", "views": -5}', KEY, ["views out of range"]),
    "views too many": (b'{"video_id": "a", "views": 1000001}', KEY, ["views out of range"]),
    "views 1.0": (b'{"video_id": "a", "views": 1.0}', KEY, ["views not an integer"]),
    "views 1e3": (b'{"video_id": "a", "views": 1e3}', KEY, ["views not an integer"]),
    "views a string": (b'{"video_id": "a", "views": "5"}', KEY, ["views not an integer"]),
    "last duplicate wrong": (b'{"video_id": "a", "views": 1, "views": 0}', KEY, ["views out of range"]),
    "null value": (None, KEY, ["null value"]),
    "null value and null key": (None, None, ["null value"]),
    "empty value without key": (b"", None, ["empty value without key"]),
    "empty value, key too long": (b"", LONG_ID.encode(), ["video_id longer than 256 bytes"]),
    "empty value, key not UTF-8": (b"", b"\xff\xfe", ["video_id not UTF-8"]),
    "empty value, key with NUL": (b"", b"a\0b", ["video_id contains NUL"]),
}


def good_record(rng, timestamp):
    """(value, key, the event it means): every spelling that the contract allows."""
    video, views = f"vid_{rng.randrange(300)}", rng.randrange(1, 1_000_001)
    at = NOW - rng.randrange(48 * HOUR_MS)
    rfc3339 = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1000 + 5400)) + f".{at % 1000:03d}+01:30"
    return rng.choice([
        lambda: (json.dumps({"video_id": video, "ts": at}).encode(), KEY, dict(video_id=video, ts=at)),
        lambda: (json.dumps({"video_id": video, "ts": rfc3339, "views": views}).encode(), None, dict(video_id=video, ts=at, views=views)),
        lambda: (json.dumps({"views": views, "video_id": video}).encode(), KEY, dict(video_id=video, ts=timestamp, views=views)),
        lambda: (b"", video.encode(), dict(video_id=video, ts=timestamp)),
        lambda: (b' {"video_id": 5, "nested": {"video_id": []}, "video_id": "%s"}\n' % video.encode(), KEY, dict(video_id=video, ts=timestamp)),
        lambda: (json.dumps({"video_id": "ж" * 128}, ensure_ascii=rng.random() < 0.5).encode(), KEY, dict(video_id="ж" * 128, ts=timestamp)),
    ])()


def test_malformed_among_good(database, topic, launcher):
    rng = random.Random(settings.SEED)
    kinds = ["good"] * settings.GOOD_RECORDS + [kind for kind, _ in zip(list(MALFORMED) * settings.BAD_RECORDS, range(settings.BAD_RECORDS))]
    rng.shuffle(kinds)
    expected, letters, offsets = [], {}, dict.fromkeys(range(topic.partitions), 0)
    with topic.producer() as producer:
        for kind in kinds:
            partition, timestamp = rng.randrange(topic.partitions), NOW - rng.randrange(HOUR_MS)
            if kind == "good":
                value, key, event = good_record(rng, timestamp)
                expected.append(event)
            else:
                value, key, _ = MALFORMED[kind]
                letters[partition, offsets[partition]] = kind, timestamp
            producer.send((partition, value, key, timestamp))
            offsets[partition] += 1
    assert launcher.ingest(database, topic, "--exit-at-end").wait(90) == 0

    assert recount.differences(recount.views_of(expected), recount.stored_views(database)) == {}
    recount.assert_equal(database, topic)
    wrong, payloads = [], 0
    rows = database.query('SELECT partition, "offset", reason, key, payload, (extract(epoch FROM record_timestamp) * 1000)::bigint '
                          "FROM topk.dead_letter WHERE topic = %s", topic.name)
    for partition, offset, reason, key, payload, timestamp in rows:
        kind, produced = letters[partition, offset]
        value, its_key, reasons = MALFORMED[kind]
        right = reason.split(":")[0] in reasons and timestamp == produced
        # A flood may leave out payloads and keys, but never stores other ones.
        right = right and (payload is None or bytes(payload) == (value or b"")[:4096]) and (key is None or bytes(key) == its_key)
        payloads += payload is not None
        if not right:
            wrong.append((kind, reason, key, payload, timestamp, produced))
    assert not wrong, f"{len(wrong)} of {len(rows)} letters are wrong: {wrong[:10]}"
    assert len(rows) == len(letters) and payloads > 0


def test_flood_drops_payloads_but_no_offset(database, topic, launcher):
    bad = max(settings.BAD_RECORDS, 1000) * 2
    with topic.producer() as producer:
        for index in range(bad):
            producer.send((index % topic.partitions, b"%09d" % index + b" is no JSON" * 800, None, None))
    assert launcher.ingest(database, topic, "--exit-at-end").wait(90) == 0
    count, offsets, reasons, stored = database.query(
        'SELECT count(*), count(DISTINCT (partition, "offset")), count(reason), sum(octet_length(payload)) '
        "FROM topk.dead_letter WHERE topic = %s", topic.name)[0]
    assert (count, offsets, reasons) == (bad, bad, bad)
    assert 0 < stored < bad * 4096, "payloads of a flood are capped"
    assert database.value("SELECT max(octet_length(payload)) FROM topk.dead_letter WHERE topic = %s", topic.name) == 4096
