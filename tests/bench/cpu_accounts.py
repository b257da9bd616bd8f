"""Who used the processors: seconds by component while something runs, from /proc, sampled often because backends and threads end.

Components: the broker; the consumer by its threads' names; PostgreSQL's processes by what they are and, of clients' backends, by their
application_name. What a process used after its last sample is lost: a few hundredths of a second each.
"""

import contextlib
import os
import re
import threading
import time
from collections import defaultdict

from load import TICKS, descendants, kafka_pid

SAMPLE_SECONDS = 0.1
OWN_APPLICATION = "bench"
# topkd's connections, by application_name
BACKENDS = {"topkd": "flush", "topkd maintenance": "seal and roll-up", "upsert_ingest": "flush", "PostgreSQL JDBC Driver": "flush"}
THREADS = ((r"rdk:.*", "librdkafka"),)


def stat_of(path):
    """(name, seconds) of a process or thread; None when it is gone."""
    with contextlib.suppress(OSError):
        text = open(f"{path}/stat").read()
        name, fields = text[text.index("(") + 1:text.rindex(")")], text.rsplit(")", 1)[1].split()
        return name, (int(fields[11]) + int(fields[12])) / TICKS
    return None


class Accounts:
    """begin(), then end(): {component: seconds}. clients: name → pid of its process, which may have children; what
    follows a blank in a name tells one of several, which are added up."""

    def __init__(self, rig, clients):
        self.rig, self.clients = rig, clients
        self.connection = rig.connect("postgres")
        self.backends, self.first, self.last, self.component = {}, {}, {}, {}
        self.ended, self.failure = threading.Event(), None
        self.memory = defaultdict(int)  # largest resident set of a client, bytes
        self.resident = []  # (seconds, bytes of all clients)

    def __enter__(self):
        self.began = time.monotonic()
        self._sample(first=True)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self._sample()
        self.connection.close()

    def seconds(self):
        if self.failure:
            raise self.failure
        found = defaultdict(float)
        for key, value in list(self.last.items()):
            found[self.component[key]] += value - self.first[key]
        return {name: value for name, value in sorted(found.items()) if value >= 0.005}

    def _run(self):
        try:
            while not self.ended.wait(SAMPLE_SECONDS):
                self._sample()
        except Exception as error:  # raised where the accounts are asked for
            self.failure = error

    def _sample(self, first=False):
        self._note("kafka", kafka_pid(self.rig), "broker", first)
        self.now = 0
        for name, pid in self.clients.items():
            for process in descendants(pid):
                self._threads(name, process, first)
        self.resident.append((time.monotonic() - self.began, self.now))
        self._postgres(first)

    def _note(self, key, pid, component, first):
        seen = stat_of(f"/proc/{pid}")
        if seen:
            self._put((key, pid), component, seen[1], first)

    def _put(self, key, component, seconds, first):
        if key not in self.first:
            self.first[key] = seconds if first else 0.0  # what began meanwhile is counted from its beginning
        self.last[key], self.component[key] = seconds, component

    def _threads(self, name, pid, first):
        with contextlib.suppress(OSError):
            main = stat_of(f"/proc/{pid}")
            for thread in os.listdir(f"/proc/{pid}/task"):
                seen = stat_of(f"/proc/{pid}/task/{thread}")
                if seen:
                    self._put((name, thread), f"{name.split()[0]}: {self._kind(seen[0], main, int(thread) == pid)}", seen[1], first)
            sizes = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB", open(f"/proc/{pid}/status").read(), re.M))
            if len(sizes) == 2:  # a zombie has none
                self.memory[name] = max(self.memory[name], int(sizes["VmHWM"]) * 1024)
                self.now += int(sizes["VmRSS"]) * 1024

    @staticmethod
    def _kind(thread, main, is_main):
        if main and main[0] == "java":
            return "all threads"
        for pattern, kind in THREADS:
            if re.fullmatch(pattern, thread):
                return kind
        if is_main:
            return "consumer thread"
        return "worker and other threads" if main and thread == main[0] else thread

    def _postgres(self, first):
        parent = self.rig.postmaster()
        for pid in descendants(parent):
            if pid not in self.backends and pid != parent:
                self._learn_backends()
            name = "postmaster" if pid == parent else self.backends.get(pid, "other")
            self._note("postgres", pid, f"{OWN_APPLICATION} queries" if name == OWN_APPLICATION else f"postgres: {name}", first)

    def _learn_backends(self):
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pid, backend_type, application_name, coalesce(leader_pid, 0) FROM pg_stat_activity")
            for pid, kind, application, _ in cursor.fetchall():
                if kind != "client backend":
                    self.backends[pid] = kind
                elif application:  # none yet: it is still connecting
                    self.backends[pid] = BACKENDS.get(application, application)


def total(seconds, prefix):
    return sum(value for name, value in seconds.items() if name.startswith(prefix))


def describe(seconds, events):
    """A line: CPU seconds a million events, by component."""
    parts = [f"{name} {value / events * 1e6:.2f}" for name, value in seconds.items() if not name.startswith(OWN_APPLICATION)]
    whole = sum(value for name, value in seconds.items() if not name.startswith(OWN_APPLICATION))
    return "; ".join(parts) + f"; all {whole / events * 1e6:.2f}"
