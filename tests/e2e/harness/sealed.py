"""What a sealed hour held when it was first seen sealed, it holds for ever: looked at again and again, in one snapshot each."""
from . import recount


class SealedHours:
    def __init__(self, database, counter="video_views"):
        self.database, self.counter = database, counter
        self.kept, self.through = {}, None

    def look(self):
        """Compares what was sealed at the last look; returns the frontier in ms, None before the first seal."""
        rows = self.database.query(
            f"SELECT (extract(epoch FROM c.sealed_through) * 1000)::bigint, (extract(epoch FROM h.window_start) * 1000)::bigint, h.video_id, h.views "
            f"FROM topk.counter c LEFT JOIN ({self.counter}_hour h JOIN topk.time_window w "
            f"ON w.counter = %s AND w.span = 'hour' AND w.window_start = h.window_start AND w.sealed) ON true "
            "WHERE c.name = %s AND isfinite(c.sealed_through)", self.counter, self.counter)
        if not rows:
            return self.through
        through = rows[0][0]
        assert self.through is None or through >= self.through, "the frontier went back"
        found = {(hour, video): views for _, hour, video, views in rows if hour is not None}
        if self.through is not None:
            hours = recount.counter_of(self.database, self.counter).hours
            before = {key: views for key, views in found.items() if hours.hour_of(key[0])[1] <= self.through}
            wrong = recount.differences(self.kept, before)
            assert not wrong, f"sealed through {self.through}, and changed afterwards (then, now): {dict(sorted(wrong.items())[:10])}"
        self.kept, self.through = found, through
        return through
