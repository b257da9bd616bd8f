"""A live leaderboard on a throwaway PostgreSQL and Kafka: producer -> Kafka -> topkd ingest -> topk('hour', 10) -> topkd serve.

At the end (after SECONDS, or on Ctrl-C) the producer stops, the ingest catches up, and `topkd verify` recounts the topic.
Exit code 0 only if it agrees and the list shown last is the one of the recounted table, and of the HTTP interface. Leaves nothing behind.
"""

import argparse
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig.rig import Rig, RigError, interrupt_on_signals, wait_until  # noqa: E402

TOPIC = "view_events"
PARTITIONS = 4
RATE = 5000
LENGTH = 10
CATCH_UP_SECONDS = 60

LIST = "SELECT rank, video_id, views FROM topk('hour', %s, %s)"
FROM_TABLE = """
    SELECT row_number() OVER (ORDER BY views DESC, video_id), video_id, views FROM video_views_hour
    WHERE window_start = (SELECT hour_start FROM topk.hours('video_views', %s, %s::timestamptz + interval '1 ms')
                          WHERE hour_start <= %s AND %s < hour_end)
    ORDER BY views DESC, video_id LIMIT %s"""
STATE = """
    SELECT coalesce(sum(counted + late), 0)::bigint, coalesce(sum(counted + late + dead), 0)::bigint,
           extract(epoch FROM clock_timestamp() - min(watermark) FILTER (WHERE isfinite(watermark)))::float8,
           max(watermark) FILTER (WHERE isfinite(watermark)),
           coalesce(sum(next_offset), 0)::bigint
    FROM topk.kafka_progress WHERE counter = 'video_views'"""


class Screen:
    """The list in place on a terminal; elsewhere one block every few seconds."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.every = 1 if self.live else 5
        self.drawn = 0

    def draw(self, lines):
        width = shutil.get_terminal_size().columns
        if self.live and self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}F\x1b[J")
        sys.stdout.write("".join(line[:width] + "\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)


def query(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def table(rows):
    lines = [f"{'rank':>5}  {'video_id':<16} {'views':>12}"]
    lines += [f"{rank:>5}  {video_id:<16} {views:>12,}" for rank, video_id, views in rows]
    return lines + [""] * (LENGTH - len(rows))


def get(base, **parameters):
    """The list over HTTP as table() takes it, and how old it is in seconds by its watermark; None while that is unknown."""
    with urllib.request.urlopen(f"{base}/views/top-k?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        rows = [(rank, entry["videoId"], entry["views"]) for rank, entry in enumerate(json.load(answer), 1)]
        watermark = answer.headers["X-Topk-Watermark"]
    return rows, (datetime.now(timezone.utc) - datetime.fromisoformat(watermark.replace("Z", "+00:00"))).total_seconds() if watermark else None


def address(rig, process):
    """Where a topkd listens, from its log; it took a free port."""
    def said():
        rig.check()
        return re.search(r"http://127\.0\.0\.1:\d+", process.log.read_text())
    return wait_until(said, 30, f"{process.name} does not listen")[0]


def start_serve(rig):
    """Its address, once it answers with a list."""
    base = address(rig, rig.topkd("serve", "serve", "--listen", "127.0.0.1:0"))

    def answers():
        rig.check()
        try:
            return get(base, window="hour")[0]
        except urllib.error.HTTPError as error:  # what a person would see, if it stays
            return error.code == 404 and None
    wait_until(answers, 30, f"no list at {base}")
    return base


def start(rig):
    print("starting PostgreSQL …", flush=True)
    rig.start_postgres(settings={"shared_buffers": "256MB", "max_wal_size": "2GB"})
    print("starting Kafka …", flush=True)
    rig.start_kafka(TOPIC, PARTITIONS)
    ingest = rig.topkd("ingest", "ingest", "--metrics-listen", "127.0.0.1:0")
    producer = rig.topkd("produce", "produce", "--rate", f"{RATE}/s")
    connection = rig.connect()

    def counts():
        rig.check()
        return query(connection, STATE)[0][0]

    wait_until(counts, 60, f"no event was counted\n{ingest.tail()}")
    return connection, producer, start_serve(rig), address(rig, ingest)


def show_live(rig, connection, base, ingest, seconds):
    request = f"{base}/views/top-k?window=hour&k=3"
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read().decode()
    print(f"""
page        {base}/
API         curl '{request}'
            {body}
metrics     {base}/metrics, {ingest}/metrics
PostgreSQL  psql '{rig.uri()}'
Kafka       {rig.brokers}, topic {TOPIC}: {RATE:,} events/s, keyed by video
try         SELECT * FROM topk('hour', 10);    SELECT * FROM topk('all_time', 100);
            SELECT * FROM topk.status();       SELECT * FROM video_views_hour ORDER BY views DESC LIMIT 5;
{'Ctrl-C ends it' if seconds is None else f'ends by itself after {seconds:g} s'}
""", flush=True)
    screen = Screen()
    began = shown = time.monotonic()
    events_before = query(connection, STATE)[0][0]
    while seconds is None or time.monotonic() < began + seconds:
        end = float("inf") if seconds is None else began + seconds
        time.sleep(max(0, min(shown + screen.every, end) - time.monotonic()))
        rig.check()
        events, _, freshness, _, _ = query(connection, STATE)[0]
        rows, over_http = get(base, window="hour", k=LENGTH)
        now = time.monotonic()
        rate = (events - events_before) / max(now - shown, 0.001)
        screen.draw([f"topk('hour', {LENGTH})   {events:,} events counted, {rate:,.0f} events/s",
                     f"how old         {freshness:.1f} s in SQL, {'?' if over_http is None else f'{over_http:.1f}'} s over HTTP", "", *table(rows), ""])
        shown, events_before = now, events


def log_end(brokers):
    """The sum of the partitions' end offsets."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "demo"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)[1]
                   for partition in range(PARTITIONS))
    finally:
        consumer.close()


def finish(rig, connection, producer, base):
    """Whether the final list is the recounted one."""
    print("stopping the producer, waiting for the ingest …", flush=True)
    if rig.stop(producer) != 0:
        raise RigError(f"the producer failed:\n{producer.tail()}")
    end = log_end(rig.brokers)

    def caught_up():
        rig.check()
        return query(connection, STATE)[0][4] == end

    wait_until(caught_up, CATCH_UP_SECONDS, f"the ingest has not read all {end} records")
    events, consumed, _, newest, _ = query(connection, STATE)[0]
    shown = query(connection, LIST, LENGTH, newest)
    print(f"\nfinal topk('hour', {LENGTH}) after {events:,} events", *table(shown), sep="\n", flush=True)

    verifier = rig.topkd("verify", "verify")
    code = rig.finish(verifier, 600)
    print(verifier.tail(25), flush=True)
    if code != 0:
        print("topkd verify does not agree", file=sys.stderr)
        return False
    if not shown or shown != query(connection, FROM_TABLE, newest, newest, newest, newest, LENGTH):
        print("the list shown is not the one of the recounted table", file=sys.stderr)
        return False
    if consumed != end:
        print(f"the books have {consumed} records, the topic {end}", file=sys.stderr)
        return False
    if shown != get(base, window="hour", k=LENGTH, at=newest.isoformat())[0]:
        print("the list over HTTP is another one", file=sys.stderr)
        return False
    print("the list shown is exact, and the same over HTTP", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, help="default: until Ctrl-C")
    seconds = parser.parse_args().seconds
    interrupt_on_signals()
    try:
        with Rig("demo") as rig:
            connection, producer, base, ingest = start(rig)
            try:
                show_live(rig, connection, base, ingest, seconds)
            except KeyboardInterrupt:
                print()
            if not finish(rig, connection, producer, base):
                raise RigError("the demo failed")
    except KeyboardInterrupt:
        return 130
    except RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
