"""Lists over HTTP are those of SQL, for every span, time, length and counter; and all that goes with them: headers, tags, codings."""
import gzip
import json
import re
import subprocess
from datetime import datetime, timezone
from itertools import pairwise

import pytest
import web
from feed import Feed
from harness.clock import HOUR
from serving import Expected, make_reader
from world import ESCAPED, ODD

RFC3339_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STATUS = {"22023": 400, "22007": 400, "22008": 400, "42704": 404, "42501": 403, "55000": 410}
TRAILING = ["1 hour", "24 hours", "7 days", "30 hours", "2 days 3 hours"]
SPANS = ["hour", "day", "month", "all_time", *TRAILING]


@pytest.fixture
def client(serve):
    with web.Client(serve.address) as one:
        yield one


def parse(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("k", [None, 1, 2, 10, 100, 999, 1000])
@pytest.mark.parametrize("span", SPANS)
def test_a_list_is_that_of_sql(world, client, span, k):
    for counter in (None, ODD):
        for at in (None, *world.instants().values()):
            answer = client.top(window=span, k=k, at=at and at.isoformat(), counter=counter)
            wanted = Expected(world.database, span, k, at, counter)
            if wanted.sqlstate is None:
                assert answer.list() == wanted.rows, (span, k, at, counter)
            else:
                answer.problem(STATUS[wanted.sqlstate])


def test_a_list_is_what_the_rows_add_up_to(world, client):
    """Without topk() between: so that the same mistake is not compared with itself."""
    last_day = [world.hour - 23 * HOUR, world.hour + HOUR]
    for window, table, low, high in (("hour", "hour", world.hour, world.hour + HOUR), ("24 hours", "hour", *last_day),
                                     ("day", "day", world.hour.replace(hour=0), world.hour.replace(hour=0) + 24 * HOUR),
                                     ("all_time", "all_time", "-infinity", "infinity")):
        rows = world.database.query(f"SELECT video_id, sum(views)::bigint FROM video_views_{table} WHERE window_start >= %s AND window_start < %s"
                                    " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000", low, high)
        assert len(rows) > 100
        assert client.top(window=window, k=1000, at=world.hour.isoformat()).list() == rows


def test_the_body_is_an_array_of_what_the_contract_says(world, client):
    plain = world.hour - HOUR  # its ids need no escape, of which JSON has several for some characters
    body = client.top(window="hour", k=3, at=plain.isoformat()).body
    rows = Expected(world.database, "hour", 3, plain).rows
    assert body == json.dumps([{"videoId": video, "views": views} for video, views in rows], separators=(",", ":")).encode()
    assert client.top(window="hour", at=world.instants()["without"].isoformat()).body == b"[]"
    assert client.top(window="all_time", counter="empty_views").body == b"[]"


def test_ids_are_escaped(world, client):
    answer = client.top(window="hour", k=1000, at=world.first.isoformat())
    assert set(ESCAPED) <= {video for video, _ in answer.list()}
    assert not re.search(rb"[\x00-\x1f]", answer.body)
    answer.body.decode()


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("when", ["open", "before", "sealed", "corrected", "without", "future", "within"])
def test_headers_tell_the_window(world, client, span, when):
    at = world.instants()[when]
    for counter in ("video_views", ODD):
        answer = client.top(window=span, at=at.isoformat(), counter=counter)
        if Expected(world.database, span, 10, at, counter).sqlstate:
            continue
        headers = answer.headers
        sealed = sealed_by_sql(world, counter, span, at)
        assert headers["x-topk-sealed"] == ("true" if sealed else "false")
        assert headers["vary"].lower() == "accept-encoding"
        assert headers["cache-control"] == ("public, max-age=3600" if sealed else "public, max-age=0, must-revalidate")
        assert headers["content-length"] == str(len(answer.body))
        assert RFC3339_MS.fullmatch(headers["x-topk-watermark"])
        watermark = world.database.value("SELECT min(watermark) FROM topk.kafka_progress WHERE counter = %s", counter)
        assert abs((parse(headers["x-topk-watermark"]) - watermark).total_seconds()) < 0.001
        assert ("x-topk-revision" in headers) == sealed
        if span == "all_time":
            assert "x-topk-window-start" not in headers and "x-topk-window-end" not in headers
        else:
            assert [parse(headers["x-topk-window-start"]), parse(headers["x-topk-window-end"])] == bounds_by_sql(world, counter, span, at)


def bounds_by_sql(world, counter, span, at):
    database = world.database
    if span in ("hour", "day", "month"):
        zone = database.value("SELECT time_zone FROM topk.counter WHERE name = %s", counter)
        start, end = database.query("SELECT date_trunc(%s, %s::timestamptz, %s), (date_trunc(%s, %s::timestamptz, %s) AT TIME ZONE %s + %s::interval) AT TIME ZONE %s",
                                    span, at, zone, span, at, zone, zone, f"1 {span}", zone)[0]
        return [start.astimezone(timezone.utc), end.astimezone(timezone.utc)]
    (end,), = database.query("SELECT hour_end FROM topk.hours(%s, %s, %s::timestamptz + interval '1 microsecond') LIMIT 1", counter, at, at)
    length = database.value("SELECT %s::interval", span)
    return [end.astimezone(timezone.utc) - length, end.astimezone(timezone.utc)]


def sealed_by_sql(world, counter, span, at):
    if span == "all_time":
        return False
    return bounds_by_sql(world, counter, span, at)[1] <= world.database.value("SELECT sealed_through FROM topk.counter WHERE name = %s", counter)


def test_no_watermark_while_it_is_unknown(client):
    answer = client.top(window="hour", counter="empty_views")
    assert "x-topk-watermark" not in answer.headers
    assert answer.headers["x-topk-sealed"] == "false"


def test_the_present_is_never_kept_for_long(world, client):
    """Without `at` the same target means another window in an hour."""
    for window in SPANS:
        assert client.top(window=window).headers["cache-control"] == "public, max-age=0, must-revalidate"


def test_revisions_are_those_of_the_window(world, client):
    wanted = {"hour": 2, "day": 2, "month": 2}
    for span, revision in wanted.items():
        found = world.database.value("SELECT revision FROM topk.time_window WHERE counter = 'video_views' AND span = %s AND window_start <= %s AND window_end > %s",
                                     span, world.corrected, world.corrected)
        assert found == revision
        answer = client.top(window=span, at=world.corrected.isoformat())
        if answer.headers["x-topk-sealed"] == "true":
            assert answer.headers["x-topk-revision"] == str(revision)
    assert client.top(window="hour", at=(world.corrected + HOUR).isoformat()).headers["x-topk-revision"] == "0"
    assert client.top(window="3 hours", at=(world.corrected + HOUR).isoformat()).headers["x-topk-revision"] != "0"


def test_a_correction_changes_the_tag(new_database, start_serve, world):
    database = new_database("video_views")
    feed = Feed(database, "video_views")
    first = world.hour - 30 * HOUR
    first -= (first.hour - 9) % 24 * HOUR  # three hours amid a day: the day is revised, too, and counts in a window in which it begins
    feed.flush({(first + n * HOUR, f"vid_{m}"): m + 1 for n in range(30) for m in range(5)}, watermark=world.hour)
    database.execute("CALL topk.maintain('video_views')")
    serve = start_serve(database, "--cache", "0")
    asked = [dict(window=window, k=3, at=(first + 3 * HOUR).isoformat()) for window in ("hour", "3 hours")]
    before = [serve.top(**one) for one in asked]
    assert [one.headers["x-topk-revision"] for one in before] == ["0", "0"]
    database.execute("SELECT topk.correct('video_views', %s, 'vid_0', 100, 'a test')", first + 3 * HOUR)
    for old, one in zip(before, asked):
        new = serve.get(web.target(**one), If_None_Match=old.headers["etag"])
        assert new.status == 200 and new.headers["etag"] != old.headers["etag"]
        assert new.headers["x-topk-revision"] == "1"
        assert new.list()[0][0] == "vid_0"
    # A correction that takes itself back leaves the list as it was, but the window was revised again
    database.execute("SELECT topk.correct('video_views', %s, 'vid_0', -100, 'a test')", first + 3 * HOUR)
    again = serve.top(**asked[0])
    assert again.body == before[0].body and again.headers["x-topk-revision"] == "2"
    # The same hour, list and revision in another counter of that name
    database.execute("SELECT topk.drop_counter('video_views')")
    database.execute("SELECT topk.create_counter('video_views')")
    make_reader(database, "video_views")
    Feed(database, "video_views").flush({(first + n * HOUR, f"vid_{m}"): m + 1 for n in range(30) for m in range(5)}, watermark=world.hour)
    database.execute("CALL topk.maintain('video_views')")
    assert serve.top(**asked[0]).headers["etag"] not in (before[0].headers["etag"], again.headers["etag"])


def test_sealing_changes_the_tag_once(new_database, start_serve, world):
    """An open window's tag is of its content."""
    database = new_database("video_views")
    feed = Feed(database, "video_views")
    hour = world.hour - 5 * HOUR
    feed.flush({(hour, "a"): 2, (hour, "b"): 1}, watermark=hour)
    serve = start_serve(database, "--cache", "0")
    asked = dict(window="hour", at=hour.isoformat())
    first, again = serve.top(**asked), serve.top(**asked)
    assert first.headers["etag"] == again.headers["etag"]
    feed.flush({(hour, "b"): 5}, watermark=hour)
    changed = serve.top(**asked)
    assert changed.list() == [("b", 6), ("a", 2)] and changed.headers["etag"] != first.headers["etag"]
    feed.flush({}, dead=1, watermark=hour + 3 * HOUR)
    assert serve.top(**asked).headers["etag"] == changed.headers["etag"]
    database.execute("CALL topk.seal('video_views')")
    sealed = serve.top(**asked)
    assert sealed.headers["x-topk-sealed"] == "true" and sealed.headers["cache-control"] == "public, max-age=3600"
    assert serve.top(**asked).headers["etag"] == sealed.headers["etag"]


@pytest.mark.parametrize("window", ["hour", "24 hours"])
@pytest.mark.parametrize("when", ["open", "sealed"])
def test_tags_tell_lists_apart(world, client, when, window):
    at = world.instants()[when]
    tags = [client.top(window=window, at=time.isoformat(), k=k, counter=counter).headers["etag"]
            for time in (at, at - HOUR) for k in (3, 4, 100) for counter in ("video_views", ODD)]
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch(r'"[\x21\x23-\x7e]+"', tag) for tag in tags)


@pytest.mark.parametrize("when", ["open", "sealed"])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_if_none_match(world, client, when, coding):
    to = web.target(window="hour", k=100, at=world.instants()[when].isoformat())
    more = {"Accept_Encoding": coding} if coding else {}
    full = client.get(to, **more)
    tag = full.headers["etag"]
    assert ("content-encoding" in full.headers) == bool(coding)
    for condition in (tag, f"W/{tag}", "*", f'"other", {tag}', f'W/"a,b" , W/{tag},"c"', f'"x",{tag}'):
        answer = client.get(to, If_None_Match=condition, **more)
        assert answer.status == 304 and answer.body == b"", condition
        for name in ("etag", "cache-control", "vary", "x-topk-watermark", "x-topk-sealed", "x-topk-window-start", "x-topk-window-end", "x-topk-revision"):
            assert answer.headers.get(name) == full.headers.get(name), name
    for condition in ('"other"', tag[:-1], tag.strip('"'), '""', f'"{tag}"', "", tag[:-2] + '"', f'"a{tag}'):
        answer = client.get(to, If_None_Match=condition, **more)
        assert answer.status == 200 and answer.body == full.body, condition
    # The other coding's tag is another's
    assert client.get(to, If_None_Match=tag, Accept_Encoding="identity" if coding else "gzip").status == 200


# (Accept-Encoding, is the answer compressed)
CODINGS = [("gzip", True), ("gzip, deflate, br", True), ("br;q=1.0, gzip;q=0.8, *;q=0.1", True), ("*", True), ("GZIP", True), ("gzip;q=0.001", True),
           ("gzip;q=1.000", True), ("deflate,gzip ; q=0.5", True), ("gzip;q=0", False), ("gzip;q=0.0", False), ("gzip;q=0.000", False), ("*;q=0", False),
           ("gzip;q=0, *", False), ("identity", False), ("deflate", False), ("", False), ("gzipped", False), ("br", False), ("identity;q=1, gzip;q=0.5", False),
           ("identity;q=0.5, gzip;q=1", True), ("identity, *;q=0", False)]


@pytest.mark.parametrize("accept, compressed", CODINGS)
def test_gzip(world, client, accept, compressed):
    to = web.target(window="hour", k=1000, at=world.hour.isoformat())
    plain = client.get(to)
    answer = client.get(to, Accept_Encoding=accept)
    assert "content-encoding" not in plain.headers
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert answer.headers["vary"].lower() == "accept-encoding"
    assert (gzip.decompress(answer.body) if compressed else answer.body) == plain.body
    assert answer.headers["content-length"] == str(len(answer.body))
    if compressed:
        assert answer.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
        assert len(answer.body) < len(plain.body) / 3
    else:
        assert answer.headers["etag"] == plain.headers["etag"]


def test_little_is_not_compressed(world, client):
    for k, compressed in ((1, False), (3, False), (100, True)):
        answer = client.get(web.target(window="hour", k=k, at=world.hour.isoformat()), Accept_Encoding="gzip")
        assert len(answer.list()) == k
        assert ("content-encoding" in answer.headers) == compressed
    assert "content-encoding" not in client.get(web.target(window="hour", counter="empty_views"), Accept_Encoding="gzip").headers


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("to", [web.target(window="all_time", k=100), web.target(window="hour", k=0), web.target(window="hour", counter="none"),
                                "/healthz", "/readyz", "/nothing"])
def test_head_is_get_without_a_body(client, to, coding):
    get = client.request("GET", to, {"Accept-Encoding": coding})
    head = client.request("HEAD", to, {"Accept-Encoding": coding})
    assert head.status == get.status and head.body == b""
    for moving in ("date",):
        get.headers.pop(moving, None), head.headers.pop(moving, None)
    assert head.headers == get.headers
    assert int(head.headers["content-length"]) == len(get.body)


def test_head_with_if_none_match(world, client):
    to = web.target(window="hour", at=world.instants()["sealed"].isoformat())
    tag = client.request("HEAD", to).headers["etag"]
    assert client.request("HEAD", to, {"If-None-Match": tag}).status == 304


# --- Parameters ---

def test_at_in_all_its_forms(world, client):
    at = world.instants()["sealed"]
    wanted = Expected(world.database, "hour", 10, at).rows
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    east, west = (at + HOUR * 5.5).strftime("%Y-%m-%dT%H:%M:%S"), (at - HOUR * 3).strftime("%Y-%m-%dT%H:%M:%S")
    for form in (f"{text}Z", f"{text}.5Z", f"{text}.123456Z", f"{text}%2B00:00", f"{text}+00:00", f"{text}-00:00", f"{east}%2B05:30", f"{east}+05:30", f"{west}-03:00",
                 f"{text}.999%2B00:00", text.replace(":", "%3A") + "Z"):
        answer = client.get(f"{web.TOP}?window=hour&at={form}")
        assert answer.list() == wanted, form
        assert parse(answer.headers["x-topk-window-start"]) == at


BAD_AT = ["", "now", "2026-11-22", "2026-11-22T18:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-22T25:00:00Z", "2026-11-22T18:00:00%2B25:00",
          "2026-11-22T18:00:00%2002", "1764181200", "infinity", "-infinity", "today", "2026-11-22T18:00:00ZZ", "2026-11-22T18:00:00Z'", "yesterday",
          "99999-01-01T00:00:00Z", "2026-11-22T18:00:00.Z", "2026-11-22T18:00:00+0a:00", "%F0%9F%8E%AC", "epoch"]
BAD_K = ["", "0", "-1", "1001", "10000", "1e3", "1.5", "10.0", "%2010", "10%20", "%2B10", "+10", "0x10", "ten", "1,000", "9" * 30, "2147483648", "4294967297", "18446744073709551617",
         "NaN", "%D9%A3", "10;", "1_0", "null", "-0", "10%0A"]
BAD_WINDOW = ["", "minute", "HOUR", "hours", "90%20minutes", "0%20hours", "-3%20hours", "1%20month", "1%20year", "hour%20", "%20hour", "all-time", "1.5%20hours", "PT24H", "hour,day",
              "infinity", "9" * 20 + "%20hours", "x" * 1000, "24%20hours%20ago", "%F0%9F%8E%AC", "hour%0A"]
BAD_COUNTER = ["", "x" * 41, "x" * 5000]
BAD_TEXT = ["%", "%4", "%zz", "%4g", "%00", "a%00b", "%ff", "%c0%af", "%ed%a0%80", "%f4%90%80%80", "%e2%82", "%80", "%FE%FF"]


@pytest.mark.parametrize("query", [*(f"window=hour&at={at}" for at in BAD_AT), *(f"window=hour&k={k}" for k in BAD_K), *(f"window={window}" for window in BAD_WINDOW),
                                   *(f"window=hour&counter={counter}" for counter in BAD_COUNTER), "", "k=10", "Window=hour", "window", "windo%77",
                                   *(f"window=hour&{name}={text}" for name in ("k", "at", "counter", "unknown") for text in BAD_TEXT),
                                   *(f"window={text}" for text in BAD_TEXT), *(f"window=hour&{text}=1" for text in BAD_TEXT)])
def test_bad_parameters_are_400(client, query):
    problem = client.get(f"{web.TOP}?{query}").problem(400)
    assert problem["detail"]
    assert_tells_no_secrets(problem)


@pytest.mark.parametrize("name, value", [("window", "hour"), ("k", "10"), ("at", "2026-11-22T18:00:00Z"), ("counter", "video_views")])
def test_a_parameter_given_twice_is_400(client, name, value):
    twice = f"{name}={value}&{name}={value}"
    problem = client.get(f"{web.TOP}?{twice}" + ("" if name == "window" else "&window=hour")).problem(400)
    assert name in problem["detail"]


def test_unknown_parameters_are_ignored(client):
    assert client.get(f"{web.TOP}?window=hour&page=2&K=5&_=1&_=2&&x").status == 200


def test_a_zone_without_a_sign_in_the_right_place_is_400(client):
    for at in ("2026-11-22T18:00:00+", "2026-11-22T18:00:00+2", "2026-11-22+18:00:00+02:00:00", "+2026-11-22T18:00:00Z"):
        client.get(f"{web.TOP}?window=hour&at={at}").problem(400)


def test_an_extreme_time_is_an_answer_or_a_400(world, client):
    for at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2000-02-29T12:00:00Z"):
        for window in SPANS:
            answer = client.top(window=window, at=at)
            wanted = Expected(world.database, window, 10, at)
            assert answer.status == (STATUS[wanted.sqlstate] if wanted.sqlstate else 200), (window, at, answer)


# --- Errors ---

def assert_tells_no_secrets(problem):
    text = json.dumps(problem).lower()
    for secret in ("select", "xyzzy0", "host=", "user=", "window_state", "pg_", "127.0.0.1", "password"):
        assert secret not in text, problem


def test_an_unknown_counter_is_404(client):
    for counter in ("no_such", "video_views ", "VIDEO_VIEWS", "video_views_hour", "\"video_views\"", "日本"):
        problem = client.top(window="hour", counter=counter).problem(404)
        assert problem["sqlstate"] == "42704"
        assert_tells_no_secrets(problem)


def test_a_counter_that_may_not_be_read_is_403(client):
    problem = client.top(window="hour", counter="secret_views").problem(403)
    assert problem["sqlstate"] == "42501"
    assert_tells_no_secrets(problem)


@pytest.mark.parametrize("window", ["hour", "day", "24 hours"])
def test_hours_that_expired_are_410(world, client, window):
    problem = client.top(window=window, at=world.expired.isoformat(), counter="old_views").problem(410)
    assert problem["sqlstate"] == "55000" and problem["detail"]
    assert Expected(world.database, window, 10, world.expired, "old_views").sqlstate == "55000"
    assert_tells_no_secrets(problem)


@pytest.mark.parametrize("path", ["/nothing", "/views", "/views/", "/views/top-k/", "/views/top-k/streams", "/views/top-kk", "//views/top-k", "/VIEWS/TOP-K", "/healthz/",
                                  "/assets/nothing.js", "/assets/", "/assets/../healthz", "/assets/..%2f..%2fetc/passwd", "/../../etc/passwd", "/.git/config", "/views%2Ftop-k%2F"])
def test_unknown_routes_are_404(client, path):
    client.get(f"{path}?window=hour").problem(404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get", "TRACE"])
@pytest.mark.parametrize("path", ["/views/top-k?window=hour", "/views/top-k/stream?window=hour", "/healthz", "/readyz", "/metrics", "/"])
def test_other_methods_are_405(client, method, path):
    answer = client.request(method, path, body=b"x" * 10 if method in ("POST", "PUT") else None)
    answer.problem(405)
    assert {one.strip() for one in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_health_readiness_metrics(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    metrics = client.get("/metrics")
    assert metrics.status == 200 and metrics.headers["content-type"].startswith("text/plain") and "version=0.0.4" in metrics.headers["content-type"]
    for name in ("/healthz", "/readyz", "/metrics"):
        assert client.get(name).headers["cache-control"] == "no-store"


def test_a_percent_encoded_path_is_the_path(client):
    assert client.get("/views%2Ftop-k?window=hour").status in (200, 404)
    assert client.get("/health%7A").json() == {"status": "ok"}


def test_curl_gets_the_same(world, serve):
    """Another's idea of HTTP: with its own headers, compression and conditions."""
    url = f"http://{serve.address}{web.target(window='hour', k=100, at=world.hour.isoformat())}"
    plain = subprocess.run(["curl", "-sS", "--fail", url], check=True, stdout=subprocess.PIPE).stdout
    compressed = subprocess.run(["curl", "-sS", "--fail", "--compressed", url], check=True, stdout=subprocess.PIPE).stdout
    assert plain == compressed
    assert [(one["videoId"], one["views"]) for one in json.loads(plain)] == Expected(world.database, "hour", 100, world.hour).rows


def test_lists_are_in_order(world, client):
    for window in SPANS:
        rows = client.top(window=window, k=1000, at=world.hour.isoformat()).list()
        assert all((-views, video.encode()) < (-others, other.encode()) for (video, views), (other, others) in pairwise(rows))


def test_the_log_masks_the_password(serve):
    assert "effective" in serve.log_text() or "cache=" in serve.log_text()
    assert "Xyzzy0" not in serve.log_text()
