"""A network of its own with the names of a compose file's services, all on its loopback interface, and containers in it.

The compose file's commands, variables and ports are used as they stand; nothing of it is reachable from outside.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from harness.wait import wait_until


def interpolate(value, variables):
    """${NAME:?message} of a compose file."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: variables[found[1]], str(value))


class Container:
    def __init__(self, pod, name, image, command=None, environment=None, volumes=None, read_only=False):
        self.pod, self.name, self.image = pod, name, image
        self.upper = pod.directory / f"{name}.container"
        self.log = pod.directory / f"{name}.log"
        self.environment = environment or {}
        self.options = [word for source, target in (volumes or {}).items() for word in ("--bind", str(source), target)]
        if read_only:
            self.options.append("--read-only")
        self.command = [*image.words("ENTRYPOINT"), *(command if command is not None else image.words("CMD"))]
        self.process = None

    def start(self):
        self.pod.containers.append(self)
        self.process = self.pod.popen(self.image.command(self.upper, self.command, self.environment, self.options), self.log)
        return self

    def execute(self, *command):
        """As `docker exec`: (exit code, output)."""
        inside = self.image.inside(command, self.environment)
        done = subprocess.run(["nsenter", f"--net=/proc/{self.process.pid}/ns/net", f"--mount=/proc/{self.process.pid}/ns/mnt", "--", "chroot",
                               self.upper / "root", *inside], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def healthy(self, test):
        return self.execute(*test)[0] == 0

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check(self):
        code = self.process.poll()
        assert code is None, f"{self.name} ended with exit code {code}:\n{self.text()[-3000:]}"

    def kill(self):
        """As `docker kill`: every process of the container, that is of its mount namespace."""
        namespace = os.readlink(f"/proc/{self.process.pid}/ns/mnt")
        self.process.kill()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns/mnt") == namespace:
                    os.kill(int(entry.name), signal.SIGKILL)
        self.process.wait()

    def stop(self, limit=60):
        """As `docker stop`; the exit code."""
        number = getattr(signal, self.image.metadata.get("STOPSIGNAL", "SIGTERM"))
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(limit)


class Pod:
    def __init__(self, directory, names):
        self.directory = Path(directory)
        self.directory.mkdir()
        self.directory.chmod(0o755)
        hosts = self.directory / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
        self.containers, self.processes = [], []
        ready = self.directory / "ready"
        # The namespaces live as long as this process
        self.anchor = subprocess.Popen(
            ["unshare", "--net", "--mount", "--", "setpriv", "--pdeathsig", "KILL", "--", "sh", "-ec",
             'ip link set lo up; mount --bind "$0" "$(realpath /etc/hosts)"; : >"$1"; exec sleep infinity', hosts, ready],
            stdin=subprocess.DEVNULL)
        wait_until(ready.exists, 10, "no network namespace")

    def inside(self, command):
        pid = self.anchor.pid
        return ["nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt", "--", *map(str, command)]

    def popen(self, command, log):
        with open(log, "ab") as out:
            process = subprocess.Popen(self.inside(command), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd="/")
        self.processes.append(process)
        return process

    def run(self, *command, environment=None):
        """On the machine's files, in the pod's network; its output."""
        done = subprocess.run(self.inside(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **(environment or {})})
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def close(self):
        for container in reversed(self.containers):
            if container.process.poll() is None:
                container.kill()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.anchor.kill()
        self.anchor.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
