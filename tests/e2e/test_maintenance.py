"""topkd ingest --maintain keeps a counter in shape by itself: hours are sealed, rolled up, listed, and go when they are old."""
import collections
import json
import random
import time

from harness import kafka, recount, settings
from harness.wait import wait_until

DAY_MS = 24 * kafka.HOUR_MS
OLD_DAYS = (70, 40, 3, 2)  # ago; at most one of two neighbouring months is the current one


def events_of(hours):
    """Ascending in time, so that none is late."""
    rng = random.Random(settings.SEED)
    return [{"video_id": f"vid_{int(rng.paretovariate(1)) % 300}", "ts": hour + number * 15_000} for hour in hours for number in range(200)]


def ranked(events):
    sums = collections.Counter()
    for (_, video), views in recount.views_of(events).items():
        sums[video] += views
    return sorted(sums.items(), key=lambda item: (-item[1], item[0].encode()))


def test_all_is_kept_up(empty_database, topic, launcher):
    database = empty_database
    database.create_counter(idle_timeout="2 s", lateness="1 s")
    database.execute("SELECT topk.set_retention('video_views', hours => '1 day', days => '1 day')")
    this_hour = int(time.time() * 1000) // kafka.HOUR_MS * kafka.HOUR_MS
    old = {days: this_hour // DAY_MS * DAY_MS - days * DAY_MS for days in OLD_DAYS}
    events = events_of([day + hour * kafka.HOUR_MS for day in old.values() for hour in (0, 7, 23)] + [this_hour - 2 * kafka.HOUR_MS])
    topic.produce((index % topic.partitions, json.dumps(event).encode(), None, None) for index, event in enumerate(events))
    process = launcher.ingest(database, topic, "--maintain", "--maintain-interval", "200ms")
    database.wait_for_offsets(topic.name, topic.ends(), 30)

    # The hours of the old days are gone, so they were rolled up; their days are gone as well, so these are in month and all time. The next
    # days are made ahead.
    def partitions(since, until):
        return database.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'video_views_hour'::regclass AND right(inhrelid::regclass::text, 8)"
                              " BETWEEN to_char(now() + %s * interval '1 day', 'YYYYMMDD') AND to_char(now() + %s * interval '1 day', 'YYYYMMDD')", since, until)

    def state():
        return database.query("SELECT c.*, (SELECT count(*) FROM topk.leaderboard_window_data WHERE sealed), %s FROM topk.counter c", partitions(-1000, 2))
    wait_until(lambda: partitions(-1000, -2) == 0 and partitions(0, 2) == 3 and not database.value(
        "SELECT count(*) FROM video_views_day_rollup WHERE window_start < now() - interval '2 days'"), 60, "old hours and days to go", every=0.2)
    assert process.terminate() == 0

    def list_of(span, at):
        return database.query("SELECT video_id, views FROM topk(%s, 1000, to_timestamp(%s / 1000.0))", span, at)
    for ago, day in old.items():
        in_day = [event for event in events if day <= event["ts"] < day + DAY_MS]
        assert list_of("day", day) == ranked(in_day), state()
        if ago < 30:  # final lists of hours are kept as long
            assert list_of("hour", day) == ranked([event for event in in_day if event["ts"] < day + kafka.HOUR_MS]), state()
        assert database.value("SELECT ended FROM topk.explain('day', 10, to_timestamp(%s / 1000.0)) WHERE list = 'all'", day) == "final list"
    month_of = {event["ts"]: time.gmtime(event["ts"] / 1000)[:2] for event in events}
    for at, month in month_of.items():
        if at in old.values():
            assert list_of("month", at) == ranked([event for event in events if month_of[event["ts"]] == month]), state()
    assert list_of("all_time", this_hour) == ranked(events), state()
    recount.assert_audit_clean(database)
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 0, verified.log_text()
    assert "by their days" in verified.log_text()
    # and it would notice
    database.execute("UPDATE video_views_month_rollup SET views = views + 1 WHERE ctid = (SELECT min(ctid) FROM video_views_month_rollup)")
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 1 and "the tables have" in verified.log_text(), verified.log_text()
