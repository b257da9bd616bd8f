"""How old a list is when a client has it: from the producer's clock to the body of GET /views/top-k, and to an event of its stream.

Beside a background of --rate events/s, probes are produced at random moments (load.py). One thread asks for the list over and over,
with If-None-Match as a browser does, another reads the stream. A latency runs from just before the producer's call to the moment when the
whole body, or event, with the probe is there. The report also says which processors the parts could use and how much they used.
"""

import http.client
import json
import os
import sys
import threading
import time

from benchmark import parse, parser, percentile, run
from load import PARTITIONS, TOPIC, Counted, Probes, Processors, Sightings, avoid_hour_end, background, kafka_pid, settings, versions
from quantities import count
from rig.rig import Rig, RigError, wait_until
from serve_clients import REQUEST_SECONDS, Reader, Serve, list_path

POLL_PAUSE_SECONDS = 0.005
BAR_P99_MS = 1000
PARTS = 5  # of the time, shown apart
QUICK = {"rate": "2k", "seconds": 15, "gap": 0.1}


class Watcher(threading.Thread):
    """Notes the probes of every list that it gets, until told to end; what goes wrong is raised by check()."""

    def __init__(self, serve, path, probes):
        super().__init__(daemon=True)
        self.serve, self.path = serve, path
        self.sightings, self.ended, self.failure, self.lists = Sightings(probes), threading.Event(), None, 0

    def run(self):
        try:
            self.watch()
        except (OSError, ValueError, RigError, http.client.HTTPException) as error:
            self.failure = error

    def note(self, body, views_of):
        seen_at = time.perf_counter()
        self.lists += 1
        self.sightings.note([entry["videoId"] for entry in views_of(json.loads(body))], seen_at)

    def check(self, expected):
        if self.failure:
            raise RigError(f"{self.path}: {self.failure!r}")
        self.sightings.check(expected)


class BodyWatcher(Watcher):
    def watch(self):
        reader, tag = Reader(self.serve.address), None
        while not self.ended.is_set():
            status, tag, body, _ = reader.get(self.path, {"If-None-Match": tag} if tag else {})
            if status == 200:
                self.note(body, lambda found: found)
            elif status != 304:
                raise RigError(f"{status} {body[:300]!r}")
            time.sleep(POLL_PAUSE_SECONDS)


class StreamWatcher(Watcher):
    def watch(self):
        connection = http.client.HTTPConnection(self.serve.address, timeout=30)
        connection.request("GET", self.path, headers={"Accept": "text/event-stream"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RigError(f"{answer.status} {answer.read(300)!r}")
        event, data = None, None
        while not self.ended.is_set():
            line = answer.readline()
            if not line:
                raise RigError("the stream ended")
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data":
                data = value
            elif line.strip() == b"" and data is not None:
                if event != "list":
                    raise RigError(f"event {event}: {data[:300]}")
                self.note(data, lambda found: found["views"])
                event, data = None, None


def course(latencies):
    """p99 by parts of the time: whether it drifts."""
    size = max(1, len(latencies) // PARTS)
    return ", ".join(f"{percentile(latencies[first:first + size], 0.99):.0f}" for first in range(0, size * min(PARTS, len(latencies)), size))


def describe(what, latencies):
    return (f"  {what}: p50 {percentile(latencies, 0.5):.0f} ms, p90 {percentile(latencies, 0.9):.0f} ms, p99 {percentile(latencies, 0.99):.0f} ms, "
            f"largest {max(latencies):.0f} ms of {len(latencies)} probes; p99 by fifths of the time {course(latencies)} ms")


def watch_probes(rig, args, watchers, probes, expected):
    """Until every watcher has seen every probe."""
    sender = threading.Thread(target=probes.send_many, args=(expected, args.gap), daemon=True)
    for thread in (*watchers, sender):
        thread.start()

    def all_seen():
        rig.check()
        for watcher in watchers:
            if len(watcher.sightings.latencies) < expected:
                watcher.check(expected)
        return all(len(watcher.sightings.latencies) == expected for watcher in watchers)

    wait_until(all_seen, args.seconds * 2 + 120, "not every probe was seen", every=0.2)
    sender.join()
    for watcher in watchers:
        watcher.ended.set()
        watcher.join(REQUEST_SECONDS + 30)


def measure(report, args):
    with Rig("freshness") as rig:
        rig.start_postgres(settings={"shared_buffers": "512MB", "max_wal_size": "8GB"})
        rig.start_kafka(TOPIC, PARTITIONS)
        ingest = rig.topkd("ingest", "ingest", "--flush-interval", args.flush_interval)
        serve = Serve(rig, "serve", args.cache, args.pool, "--stream-interval", args.stream_interval)
        counted = Counted(rig)
        report.line(f"versions  {versions(rig)}\nsettings  {settings(rig)}")
        with background(rig, args.rate, args.videos) as producer:
            counted.wait_for(5 * args.rate, 120, "the background load is not counted")
            processors = Processors({"kafka": kafka_pid(rig), "produce": producer.child.pid, "ingest": ingest.child.pid,
                                     "postgres": rig.postgres.child.pid, "serve": serve.process.child.pid, "probes": os.getpid()})
            processors.pin(args.pin)
            expected = max(1, round(args.seconds / args.gap))
            probes = Probes(rig.brokers, args.seed)
            watchers = {"body": BodyWatcher(serve, list_path("hour", args.k), probes),
                        "stream": StreamWatcher(serve, list_path("hour", args.k).replace("top-k?", "top-k/stream?"), probes)}
            avoid_hour_end(args.seconds * 1.2 + 60)
            processors.begin()
            began = time.monotonic()
            with counted.rate() as rate:
                watch_probes(rig, args, list(watchers.values()), probes, expected)
            probes.end()
            report.line(f"\n  {time.monotonic() - began:.0f} s; ingest counted {rate():,.0f} events/s; "
                        f"{watchers['body'].lists:,} bodies that differed, {watchers['stream'].lists:,} lists of the stream")
            report.line(f"  used: {processors.used()}")
        found = {name: watcher.sightings.milliseconds() for name, watcher in watchers.items()}
    report.line(describe("producer -> body of GET /views/top-k", found["body"]))
    report.line(describe("producer -> event of its stream     ", found["stream"]))
    where = f"{args.rate:,} events/s for {args.seconds} s"
    report.bar(where, "events/s", rate(), 0.98 * args.rate, "{:,.0f}", at_least=True)
    report.bar(where, "producer -> HTTP body, p99 in ms", percentile(found["body"], 0.99), BAR_P99_MS, "{:.0f}")


def main():
    made = parser(__doc__)
    made.add_argument("--rate", type=count, default="20k", help="background events a second")
    made.add_argument("--seconds", type=int, default=300)
    made.add_argument("--videos", type=count, default="100k")
    made.add_argument("--gap", type=float, default=0.1, help="mean seconds between probes")
    made.add_argument("--k", type=int, default=100, help="more than come in the time that a list may be behind, or probes are not seen")
    made.add_argument("--flush-interval", default="500ms")
    made.add_argument("--cache", default="250ms")
    made.add_argument("--stream-interval", default="250ms")
    made.add_argument("--pool", type=int, default=8)
    made.add_argument("--pin", default="", help="which processors the parts may use, like kafka+produce+probes=0;postgres+ingest+serve=1; default: all")
    args = parse(made, QUICK)
    heading = (f"freshness: from the producer's clock to the list over HTTP\n"
               f"load      {args.rate:,} events/s for {args.seconds} s, Zipf 1.0 over {args.videos:,} videos; a probe every {args.gap * 1000:.0f} ms at random, "
               f"seed {args.seed}\n"
               f"server    ingest --flush-interval {args.flush_interval}; serve --cache {args.cache} --stream-interval {args.stream_interval} --pool {args.pool}; "
               f"list of the hour, k = {args.k}; polled every {POLL_PAUSE_SECONDS * 1000:.0f} ms")
    return run("freshness", args, heading, lambda report: measure(report, args))


if __name__ == "__main__":
    sys.exit(main())
