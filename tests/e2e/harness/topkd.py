"""topkd's processes: started, watched, stopped and killed; their logs kept and shown when a test fails."""
import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from . import settings
from .wait import wait_until


class Process:
    def __init__(self, binary, arguments, log, environment=None):
        self.log = Path(log)
        self.arguments = [str(binary), *arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOPKD_")}
        with open(self.log, "a") as output:
            output.write(f"$ {' '.join(self.arguments)}\n")
            output.flush()
            # Text up to here is not the process's: log_text() leaves it out.
            self._log_start = output.tell()
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                            env={**clean, **(environment or {})})
        self.started = time.monotonic()

    @property
    def pid(self):
        return self.process.pid

    @property
    def exit_code(self):
        return self.process.poll()

    def alive(self):
        return self.process.poll() is None

    def wait(self, limit):
        """Exit code, within the limit; a process that does not end is killed and fails the test."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{' '.join(self.arguments[1:3])} (pid {self.pid}) did not end within {limit:g} s") from None

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait(20)

    def terminate(self, limit=20):
        """SIGTERM, then the exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        return self.wait(limit)

    def stop(self):
        """SIGSTOP: the process hangs as in a long pause of its machine. Returns when it really does."""
        self.process.send_signal(signal.SIGSTOP)
        self.wait_stopped(5)

    def wake(self):
        self.process.send_signal(signal.SIGCONT)

    def stopped(self):
        with contextlib.suppress(FileNotFoundError):
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        return False

    def wait_stopped(self, limit):
        wait_until(self.stopped, limit, f"pid {self.pid} stopped", every=0.02)

    def memory(self, which):
        """Bytes, from /proc: VmRSS is what is resident now, VmHWM the most that ever was."""
        found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024

    def log_text(self):
        with open(self.log, errors="replace") as log:
            log.seek(self._log_start)
            return log.read()

    def wait_for_log(self, pattern, limit):
        return wait_until(lambda: re.search(pattern, self.log_text(), re.IGNORECASE | re.DOTALL), limit,
                          f"/{pattern}/ in {self.log.name}", every=0.1)


class Launcher:
    """Starts processes for one test and ends what is left of them after it."""

    # Short group timeouts make a dead member's partitions move in test time.
    GROUP_TIMEOUTS = ("session.timeout.ms=3000", "heartbeat.interval.ms=500")

    def __init__(self, directory, brokers):
        self.directory, self.brokers, self.processes = directory, brokers, []

    def _start(self, binary, arguments, name, environment=None):
        process = Process(binary, arguments, self.directory / f"{name}.log", environment)
        self.processes.append(process)
        return process

    def ingest(self, database, topic, *more, name="ingest", user="postgres", port=None, counter=None, kafka=GROUP_TIMEOUTS,
               faulty=False, environment=None, flush_interval="200ms"):
        """`name` is the log's and the backend's application_name; `port` a proxy's instead of the server's."""
        arguments = ["ingest", "--db", database.conninfo(user, port=port, application_name=name), "--brokers", self.brokers,
                     "--topic", topic.name, "--flush-interval", flush_interval]
        if counter:
            arguments += ["--counter", counter]
        for setting in kafka:
            arguments += ["--kafka", setting]
        return self._start(settings.TOPKD_FAULTY if faulty else settings.TOPKD, [*arguments, *more], name, environment)

    def run(self, *arguments, name="run", limit=60, environment=None):
        """Any invocation that ends by itself: the finished process."""
        process = self._start(settings.TOPKD, list(arguments), name, environment)
        process.wait(limit)
        return process

    def produce(self, topic, *more, name="produce"):
        return self._start(settings.TOPKD, ["produce", "--brokers", self.brokers, "--topic", topic.name, *more], name)

    def verify(self, database, topic, *more, counter=None, user="postgres", limit=120):
        arguments = ["verify", "--db", database.conninfo(user), "--brokers", self.brokers, "--topic", topic.name]
        arguments += ["--counter", counter] if counter else []
        return self.run(*arguments, *more, name="verify", limit=limit)

    def end_all(self):
        for process in self.processes:
            if process.alive():
                process.kill()

    def log_tails(self, lines=40):
        for log in sorted({process.log for process in self.processes}):
            text = log.read_text(errors="replace").splitlines()
            yield log, "\n".join(text[-lines:])
