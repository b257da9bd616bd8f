"""A live leaderboard on a throwaway PostgreSQL and Kafka: producer -> Kafka -> topkd ingest -> topk('hour', 10).

At the end (after SECONDS, or on Ctrl-C) the producer stops, the ingest catches up, and `topkd verify` recounts the topic.
Exit code 0 only if it agrees and the list shown last is the one of the recounted table. Leaves nothing behind.
"""

import argparse
import shutil
import sys
import time
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


def start(rig):
    print("starting PostgreSQL …", flush=True)
    rig.start_postgres(settings={"shared_buffers": "256MB", "max_wal_size": "2GB"})
    print("starting Kafka …", flush=True)
    rig.start_kafka(TOPIC, PARTITIONS)
    ingest = rig.topkd("ingest", "ingest")
    producer = rig.topkd("produce", "produce", "--rate", f"{RATE}/s")
    connection = rig.connect()

    def counts():
        rig.check()
        return query(connection, STATE)[0][0]

    wait_until(counts, 60, f"no event was counted\n{ingest.tail()}")
    return connection, producer


def show_live(rig, connection, seconds):
    print(f"""
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
        now = time.monotonic()
        rate = (events - events_before) / max(now - shown, 0.001)
        screen.draw([f"topk('hour', {LENGTH})   {events:,} events counted, {rate:,.0f} events/s, the newest {freshness:.1f} s old", "",
                     *table(query(connection, LIST, LENGTH, None)), ""])
        shown, events_before = now, events


def log_end(brokers):
    """The sum of the partitions' end offsets."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "demo"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)[1]
                   for partition in range(PARTITIONS))
    finally:
        consumer.close()


def finish(rig, connection, producer):
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
    print("the list shown is exact", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, help="default: until Ctrl-C")
    seconds = parser.parse_args().seconds
    interrupt_on_signals()
    try:
        with Rig("demo") as rig:
            connection, producer = start(rig)
            try:
                show_live(rig, connection, seconds)
            except KeyboardInterrupt:
                print()
            if not finish(rig, connection, producer):
                raise RigError("the demo failed")
    except KeyboardInterrupt:
        return 130
    except RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
