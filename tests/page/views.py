"""The counters that the page shows: fed through topk.claim and topk.flush as topkd does, with windows of the past that are sealed."""
from datetime import timedelta

from database import Database
from feed import Feed
from harness.clock import DAY, HOUR, hour_of, now

READER = "page"
# Ids are strangers' text
HOSTILE = ["<img src=x onerror=document.title='broken'>", "\"'&amp;</script>", "日本語の動画", "\u202evid_right_to_left", "v" * 256]
WINDOWS = ["hour", "day", "month", "all_time", "24 hours"]


class Views:
    def __init__(self, server):
        self.database = Database(server, "page")
        self.database.create()
        self.database.execute("CREATE EXTENSION topk")
        self.database.execute(f"CREATE ROLE {READER} LOGIN")
        self.feeds = {counter: self._make(counter) for counter in ("video_views", "plays", "videos")}
        self._past()

    def _make(self, counter):
        self.database.execute("SELECT topk.create_counter(%s)", counter)
        self.database.execute(f"SELECT topk.grant_access('{READER}', 'read', %s)", counter)
        return Feed(self.database, counter)

    def _past(self):
        start = hour_of(now())
        deltas = {}
        # The next hour, too: it may begin meanwhile.
        for place, hour in enumerate([start - 31 * DAY, start - 2 * DAY, start - DAY, start - 2 * HOUR, start - HOUR, start, start + HOUR]):
            deltas |= {(hour, f"vid_{number:03}"): 5000 // (1 + (number + 7 * place) % 40) for number in range(40)}
        deltas |= {(hour, video): 4000 - number for hour in (start, start + HOUR) for number, video in enumerate(HOSTILE)}
        feed = self.feeds["video_views"]
        feed.flush(deltas, watermark=start + timedelta(minutes=2))
        self.feeds["plays"].flush({(start, "song_1"): 7, (start, "song_2"): 3}, watermark=now())
        self.database.execute("CALL topk.seal('video_views')")
        assert self.database.value("SELECT count(*) FROM topk.time_window WHERE span = 'day' AND sealed") > 0

    def close(self):
        self.database.close()

    def reconnect(self):
        """After a restart of the server: a new session is a new consumer."""
        self.database.close()
        for feed in self.feeds.values():
            feed.claim()

    def conninfo(self):
        return self.database.server.dsn(self.database.name, user=READER)

    def add(self, views, counter="video_views"):
        """{video: views} of the running hour, visible when this returns."""
        at = now()
        self.feeds[counter].flush({(hour_of(at), video): count for video, count in views.items()}, watermark=at)

    def top(self, window, k=10, at=None, counter="video_views"):
        return self.database.query("SELECT video_id, views FROM topk.top(%s, %s, %s, %s) ORDER BY rank", window, k, at, counter)
