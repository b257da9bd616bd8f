"""topkd serve under wrk, with its cache and without, beside Redis with the same list; alone, and while events are ingested.

Every round runs each number of connections and length through the four arms one after the other, in random order: what slows the machine
slows all. Redis is given the list once, as JSON that topkd served (GET) and as a sorted set (ZREVRANGE … WITHSCORES); topkd's list is
live. serve_clients.py has the clients. The report goes to the terminal and to a file.
"""

import json
import random
import statistics
import sys
from datetime import datetime, timedelta, timezone

from benchmark import median_and_range, parse, parser, percentile, run
from load import PARTITIONS, TOPIC, Counted, Processors, avoid_hour_end, background, kafka_pid, settings, versions
from quantities import count, counts
from rig.rig import Rig, RigError, wait_until
from serve_clients import WRK_REPORT, WRK_THINK, Reader, Redis, Serve, list_path, raise_file_limit, wrk, wrk_version

ARMS = {"cached": "topkd, cache on", "uncached": "topkd, cache off", "get": "Redis GET", "zrevrange": "Redis ZREVRANGE"}
PACED = {"paced": "topkd, paced"}  # with its cache, by clients that think
MISS_WINDOWS = ("hour", "day", "month", "all_time", "24 hours")
MISS_LENGTH = 1000
BAR_CONNECTIONS, BAR_P99_MS, BAR_MISSES_MS, BAR_HITS = 64, 10, 100, 0.98
QUICK = {"seconds": 1, "rounds": 1, "rate": "2k", "fill": "50k", "misses": 20, "pace": "500"}


class Bench:
    def __init__(self, report, rig, args):
        self.report, self.rig, self.args = report, rig, args
        self.draw = random.Random(args.seed)
        self.script = self.wrk_script("report", WRK_REPORT)

    def wrk_script(self, name, text):
        path = self.rig.directory / f"{name}.lua"
        path.write_text(text)
        return path

    def start(self):
        rig, args = self.rig, self.args
        rig.start_postgres(settings={"shared_buffers": "512MB", "max_wal_size": "8GB"})
        rig.start_kafka(TOPIC, PARTITIONS)
        self.ingest = rig.topkd("ingest", "ingest")
        self.counted = Counted(rig)
        self.fill()
        self.serves = {"cached": Serve(rig, "serve-cached", args.cache, args.pool), "uncached": Serve(rig, "serve-uncached", "0", args.pool)}
        self.redis = Redis(rig)
        self.redis.load({k: self.serves["uncached"].list_body(args.window, k) for k in (*args.lengths, 1000)})

    def fill(self):
        """Events of the running hour."""
        avoid_hour_end(60)
        target = self.counted.total() + self.args.fill
        producer = self.rig.topkd("fill", "produce", "--count", self.args.fill, "--videos", self.args.videos)
        if self.rig.finish(producer, 600):
            raise RigError(f"produce failed:\n{producer.tail()}")
        wait_until(lambda: self.counted.total() >= target, 600, "the first events are not counted")

    def ensure_hour(self, seconds):
        """So many seconds in which the running hour's list is as long as any that is asked for."""
        avoid_hour_end(seconds)
        with self.counted.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM topk('hour', 1000)")
            if cursor.fetchone()[0] < 1000:
                self.fill()

    def one(self, arm, k, connections):
        seconds = self.args.seconds
        if arm == "paced":
            script = self.wrk_script(f"paced-{connections}", WRK_REPORT + WRK_THINK.format(twice=round(2000 * connections / self.args.pace)))
            return wrk(script, self.serves["cached"].url(self.args.window, k), connections, seconds)
        if arm in self.serves:
            return wrk(self.script, self.serves[arm].url(self.args.window, k), connections, seconds)
        command = ("GET", f"list:{k}") if arm == "get" else ("ZREVRANGE", "views", "0", str(k - 1), "WITHSCORES")
        return self.redis.measure(connections, seconds, *command)

    def matrix(self, connections, arms):
        """{(k, connections, arm): a figure for every round}"""
        args, found = self.args, {}
        cells = [(k, number, arm) for number in connections for k in args.lengths for arm in arms]
        for number in range(args.rounds):
            self.ensure_hour(len(cells) * 1.5 * args.seconds + 10)
            for k, clients in dict.fromkeys((k, clients) for k, clients, _ in cells):
                for arm in self.draw.sample(list(arms), len(arms)):
                    self.rig.check()
                    found.setdefault((k, clients, arm), []).append(self.one(arm, k, clients))
        return found

    def show(self, found):
        self.report.line(f"  median (smallest–largest) of {self.args.rounds} rounds of {self.args.seconds} s")
        titles = ARMS | PACED
        for (k, connections, arm), figures in sorted(found.items(), key=lambda item: (item[0][1], item[0][0], list(titles).index(item[0][2]))):
            p50, p99, rate = (median_and_range([getattr(figure, name) for figure in figures], form)
                              for name, form in (("p50", "{:.2f}"), ("p99", "{:.2f}"), ("rate", "{:,.0f}")))
            self.report.line(f"    {connections:5} connections, k = {k:<4} {titles[arm]:17} {rate:>30} requests/s, p50 {p50} ms, p99 {p99} ms")

    def hit_share(self, before):
        """Of the answers that needed no query of their own. Who joined a query under way counts as a hit, as in nginx or Varnish."""
        hits, shared, misses = (after - first for after, first in zip(self.serves["cached"].cache_counts(), before))
        total = hits + shared + misses
        if not total:
            raise RigError("/metrics counts no request to the cache")
        self.report.line(f"  cache of {self.args.cache}: {hits:,.0f} from it ({hits / total:.3%}), {shared:,.0f} joined a query under way ({shared / total:.3%}), "
                         f"{misses:,.0f} began one ({misses / total:.3%})")
        return (hits + shared) / total

    def misses(self):
        """Milliseconds by window, of requests that differ in `at`, so that the cache has none of them."""
        serve, found = self.serves["cached"], {}
        reader = Reader(serve.address)
        self.ensure_hour(30 + len(MISS_WINDOWS) * self.args.misses * 0.2)
        hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        _, _, before = serve.cache_counts()
        for number in range(self.args.misses):
            for window in MISS_WINDOWS:
                at = (hour + timedelta(milliseconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                status, _, body, took = reader.get(list_path(window, MISS_LENGTH, at=at))
                if status != 200 or not json.loads(body):
                    raise RigError(f"{window} at {at}: {status} {body[:300]!r}")
                found.setdefault(window, []).append(took)
        missed = serve.cache_counts()[2] - before
        asked = self.args.misses * len(MISS_WINDOWS)
        if missed < asked:
            raise RigError(f"only {missed:.0f} of {asked} requests missed the cache")
        return found

    def alone(self):
        self.report.line("\nno events meanwhile")
        self.show(self.matrix(self.args.connections, ARMS))

    def beside_ingest(self):
        args, report = self.args, self.report
        where = f"beside {args.rate:,} events/s"
        report.line(f"\n{where}")
        with background(self.rig, args.rate, args.videos) as producer:
            self.counted.wait_for(3 * args.rate, 120, "the background load is not counted")
            processors = Processors({"kafka": kafka_pid(self.rig), "produce": producer.child.pid, "ingest": self.ingest.child.pid,
                                     "postgres": self.rig.postgres.child.pid,
                                     **{serve.name: serve.process.child.pid for serve in self.serves.values()}})
            before = self.serves["cached"].cache_counts()
            processors.begin()
            with self.counted.rate() as rate:
                found = self.matrix(args.loaded_connections, ARMS | PACED)
            self.show(found)
            report.line(f"  used: {processors.used()}")
            hits = self.hit_share(before)
            with self.counted.rate() as rate_of_misses:
                misses = self.misses()
        report.line(f"  ingest counted {rate():,.0f} events/s, and {rate_of_misses():,.0f} during the misses")
        for window, took in misses.items():
            report.line(f"  misses, {window}, k = {MISS_LENGTH}, one at a time: p50 {statistics.median(took):.1f}, p99 {percentile(took, 0.99):.1f}, "
                        f"largest {max(took):.1f} ms of {len(took)}")
        report.bar(where, "events/s", rate(), 0.98 * args.rate, "{:,.0f}", at_least=True)
        for k in args.lengths:
            figures = found.get((k, BAR_CONNECTIONS, "cached"))
            if figures:
                report.bar(where, f"p99 in ms, {BAR_CONNECTIONS} connections, k = {k}, cache on", statistics.median(f.p99 for f in figures), BAR_P99_MS, "{:.2f}")
        report.bar(where, "cache hits", hits, BAR_HITS, "{:.2%}", at_least=True)
        report.bar(where, "largest miss in ms", max(max(took) for took in misses.values()), BAR_MISSES_MS, "{:.1f}")


def measure(report, args):
    raise_file_limit()
    with Rig("serve") as rig:
        bench = Bench(report, rig, args)
        bench.start()
        report.line(f"versions  {versions(rig, f'Redis {bench.redis.version}', wrk_version())}\nsettings  {settings(rig)}")
        bench.alone()
        bench.beside_ingest()


def main():
    made = parser(__doc__)
    made.add_argument("--lengths", type=counts, default="10,100,1000")
    made.add_argument("--connections", type=counts, default="1,64,1000", help="without events")
    made.add_argument("--loaded-connections", type=counts, default=str(BAR_CONNECTIONS), help="beside ingest")
    made.add_argument("--window", default="hour")
    made.add_argument("--rate", type=count, default="20k", help="events a second that are ingested in the second part")
    made.add_argument("--pace", type=count, default="2k", help="requests a second of clients that think, in the second part")
    made.add_argument("--videos", type=count, default="100k")
    made.add_argument("--fill", type=count, default="1M", help="events before it begins")
    made.add_argument("--misses", type=int, default=200, help="requests a window that the cache cannot answer")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=int, default=3, help="of every arm in a round")
    made.add_argument("--cache", default="250ms")
    made.add_argument("--pool", type=int, default=8)
    args = parse(made, QUICK)
    heading = (f"topkd serve beside Redis\n"
               f"load      {args.fill:,} events of the running hour at first, Zipf 1.0 over {args.videos:,} videos; lists of '{args.window}'; seed {args.seed}\n"
               f"clients   topkd: wrk; Redis: redis-benchmark; one thread each, no pipelining, kept connections, closed loop; paced: {args.pace:,} requests/s at most\n"
               f"server    --cache {args.cache} (on), 0 (off), --pool {args.pool}")
    return run("serve", args, heading, lambda report: measure(report, args))


if __name__ == "__main__":
    sys.exit(main())
