"""Event times as a topic has them: forward on the whole, with disorder and late ones; faster than the clock.

The times end long before now: nothing lies ahead of the clock, so a record's timestamp never decides.
"""
import random
import time

from .kafka import HOUR_MS


class Stream:
    """An endless iterator of events. Times begin `hours` ago and come to `until` hours ago in `seconds` of the clock, or, without
    `seconds`, in `count` events; a share of `late` is older than that, by up to twenty days."""

    def __init__(self, seed, hours, seconds=None, count=None, until=1.5, videos=200, late=0.05):
        self.rng, self.hours, self.seconds, self.count, self.videos, self.late = random.Random(seed), hours, seconds, count, videos, late
        self.until = until
        self.began, self.made = time.monotonic(), 0
        self.first = int(time.time() * 1000) - hours * HOUR_MS

    def __iter__(self):
        return self

    def __next__(self):
        done = self.made / self.count if self.count else (time.monotonic() - self.began) / self.seconds
        self.made += 1
        front = self.first + int(min(done, 1.0) * (self.hours - self.until) * HOUR_MS)
        back = self.rng.choices([self.rng.randrange(30_000), self.rng.randrange(HOUR_MS), self.rng.randrange(12 * HOUR_MS),
                                 self.rng.randrange(20 * 24 * HOUR_MS)],
                                weights=[1 - self.late, self.late / 2, self.late / 3, self.late / 6])[0]
        event = {"video_id": f"vid_{int(self.videos * self.rng.random() ** 3)}", "ts": front - back}
        if self.rng.random() < 0.1:
            event["views"] = self.rng.randrange(1, 50)
        return event
