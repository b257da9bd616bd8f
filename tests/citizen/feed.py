"""One Kafka partition's consumer in little, by topk.claim and topk.flush: it claims, flushes and, for a new session, claims again."""
from collections import defaultdict
from datetime import datetime, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FLUSH = ("SELECT topk.flush(%s, %s, %s,"
         " ARRAY(SELECT (h, v, n, 1)::topk.flush_late FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[]) t (h, v, n)),"
         " ARRAY(SELECT (0, o, NULL, 'not an event', NULL, '?'::bytea)::topk.flush_dead FROM unnest(%s::bigint[]) o),"
         " ARRAY[(0, %s, %s, %s, %s, 0, 0, %s, %s, %s, %s, 0)::topk.flush_progress])")


def encode(deltas):
    """{(hour, video): views} → the bytes that extension/README.md describes."""
    hours, out = defaultdict(list), [b"\x01"]
    for (hour, video), views in deltas.items():
        hours[hour].append((video.encode(), views))
    for hour in sorted(hours):
        out += [((hour - EPOCH) // (datetime.resolution * 1000)).to_bytes(8, "big"), len(hours[hour]).to_bytes(4, "big")]
        out += [part for video, views in sorted(hours[hour]) for part in (len(video).to_bytes(2, "big"), video, views.to_bytes(8, "big"))]
    return b"".join(out)


class Feed:
    def __init__(self, database, counter, topic="events", group="group"):
        self.database, self.counter, self.topic, self.group = database, counter, topic, group
        self.claim()

    def claim(self):
        (status, self.epoch, self.next), = self.database.query(
            "SELECT status, epoch, next_offset FROM topk.claim(%s, %s, 'cluster', %s, 'member', 1, '{0}', '{0}', '{1000000}')",
            self.counter, self.topic, self.group)
        assert status == "ok", status

    def flush(self, deltas, late=(), dead=0, watermark=None):
        """late: (hour, video, views). Every delta, late view and dead letter was one record. Returns the frontier."""
        records = len(deltas) + len(late) + dead
        late_columns = [list(column) for column in zip(*late)] if late else [[], [], []]
        start, self.next = self.next, self.next + records
        return self.database.value(FLUSH, self.counter, self.topic, encode(deltas), *late_columns, list(range(start, start + dead)), self.epoch,
                                   start, self.next, self.next - 1, watermark, len(deltas), len(late), dead)
