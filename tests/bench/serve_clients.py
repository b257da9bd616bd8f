"""The clients of serve_bench.py, and the Redis beside it. All keep their connections and send a request on each when its answer is there:
what a slow answer keeps from being asked is not counted as slow (closed loop), in both clients alike. Both use one thread.
"""

import csv
import http.client
import json
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from rig.rig import TOPICS_PY, Process, RigError, run, wait_until

# Debian's redis-server is a name for this program of redis-tools: which brings no system service
REDIS_SERVER = Path("/usr/bin/redis-check-rdb")
CALIBRATION_REQUESTS = 2000
REQUEST_SECONDS = 10

WRK_REPORT = """
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format('\\nREPORT {"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}\\n', summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""
# of milliseconds, before each request of a connection
WRK_THINK = """
delay = function() return math.random(0, {twice}) end
"""


@dataclass
class Figure:
    rate: float  # requests/s
    p50: float   # ms
    p99: float


def free_port():
    return int(run(sys.executable, TOPICS_PY, "free-port"))


# --- topkd serve ---


def wrk(script, url, connections, seconds):
    output = run("wrk", "--threads", 1, "--connections", connections, "--duration", f"{seconds}s", "--timeout", f"{REQUEST_SECONDS}s",
                 "--script", script, url)
    found = json.loads(output.rsplit("REPORT ", 1)[1]) if "REPORT " in output else {"requests": 0, "errors": "?"}
    if found["errors"] or not found["requests"]:
        raise RigError(f"wrk: {found['errors']} errors in {found['requests']} requests of {url}, {connections} connections\n{output}")
    return Figure(found["requests"] * 1e6 / found["us"], found["p50"] / 1000, found["p99"] / 1000)


def wrk_version():
    """Of what it prints with its usage, as an error."""
    return subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout.split("[")[0].strip()


class Serve:
    """A topkd serve on a port of its own."""

    def __init__(self, rig, name, cache, pool, *options):
        self.name, self.address = name, f"127.0.0.1:{free_port()}"
        self.process = rig.topkd(name, "serve", "--listen", self.address, "--cache", cache, "--pool", pool, *options)
        wait_until(lambda: self._ready(rig), 30, f"{name} does not become ready", every=0.1)

    def _ready(self, rig):
        rig.check()
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def url(self, window, k):
        return f"http://{self.address}{list_path(window, k)}"

    def get(self, path):
        connection = http.client.HTTPConnection(self.address, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def list_body(self, window, k):
        status, body = self.get(list_path(window, k))
        if status != 200:
            raise RigError(f"{self.name}: {status} for {window}, k = {k}: {body[:500]!r}")
        return body

    def metric(self, name):
        """The sum over its labels; 0 if there is none."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def cache_counts(self):
        """Answers from the cache, that joined a query under way, that began one."""
        return [self.metric(f"topkd_cache_{what}_total") for what in ("hits", "shared", "misses")]


def list_path(window, k, **more):
    return "/views/top-k?" + urlencode({"window": window, "k": k, **more})


class Reader:
    """One kept connection, for answers whose bodies matter."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=REQUEST_SECONDS)

    def get(self, path, headers=()):
        """(status, ETag, body, milliseconds)"""
        began = time.perf_counter()
        self.connection.request("GET", path, headers=dict(headers))
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, answer.getheader("ETag"), body, (time.perf_counter() - began) * 1000


# --- Redis ---


class Redis:
    """A server of its own on loopback, that writes nothing to disk."""

    def __init__(self, rig):
        self.port = free_port()
        program = rig.directory / "redis-server"
        program.symlink_to(REDIS_SERVER)
        rig._add(Process("Redis", [program, "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", rig.directory],
                         rig.directory / "redis.log"))
        wait_until(lambda: self._answers(rig), 30, "Redis does not answer")
        self.version = run(program, "--version").split("v=")[1].split()[0]

    def _answers(self, rig):
        rig.check()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return self.cli("PING") == "PONG"
        except OSError:
            return False

    def cli(self, *arguments, text=None):
        done = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *map(str, arguments)], input=text, capture_output=True,
                              text=True, check=False, timeout=60)
        if done.returncode or done.stdout.startswith(("ERR", "WRONGTYPE")):
            raise RigError(f"redis-cli {arguments}: {done.stdout[:500]} {done.stderr[:500]}")
        return done.stdout.strip()

    def load(self, bodies):
        """bodies: by k, as topkd serves them. Each becomes a string, the longest also a sorted set."""
        for k, body in bodies.items():
            self.cli("-x", "SET", f"list:{k}", text=body.decode())
            if self.cli("GET", f"list:{k}") != body.decode().strip():
                raise RigError(f"Redis has another list:{k}")
        entries = json.loads(bodies[max(bodies)])
        self.cli(text="".join(f"ZADD views {entry['views']} {entry['videoId']}\n" for entry in entries))
        lines = self.cli("ZREVRANGE", "views", 0, -1, "WITHSCORES").splitlines()
        # as sets: Redis ranks ties the other way round
        if set(zip(lines[::2], map(int, lines[1::2]))) != {(entry["videoId"], entry["views"]) for entry in entries}:
            raise RigError("Redis has another sorted set")

    def benchmark(self, connections, requests, *command):
        output = run("redis-benchmark", "-h", "127.0.0.1", "-p", self.port, "-c", connections, "-n", requests, "--csv", *command)
        rows = [row for row in csv.reader(output.splitlines()) if len(row) == 8]
        if len(rows) != 2:
            raise RigError(f"redis-benchmark {command}: {output}")
        values = dict(zip(*rows))
        return Figure(*(float(values[name]) for name in ("rps", "p50_latency_ms", "p99_latency_ms")))

    def measure(self, connections, seconds, *command):
        """It takes a number of requests, not a time: as many as a short run says."""
        rate = self.benchmark(connections, max(CALIBRATION_REQUESTS, 10 * connections), *command).rate
        return self.benchmark(connections, max(CALIBRATION_REQUESTS, int(rate * seconds)), *command)


def raise_file_limit():
    """For a thousand connections; clients inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
