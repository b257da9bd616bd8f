"""topkd as a process that ends by itself, with all it said."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
TOPKD = Path(os.environ.get("TOPKD") or ROOT / "build/fault/topkd").resolve()

LIMIT_SECONDS = 60


class Ended:
    def __init__(self, arguments, code, text):
        self.arguments, self.code, self.text = arguments, code, text

    def __str__(self):
        return f"topkd {' '.join(self.arguments)}: exit {self.code}\n{self.text}"

    def expect_success(self, *secrets):
        assert self.code == 0, str(self)
        self.expect_no(*secrets)

    def expect_error(self, said, *secrets):
        """Exit code 1, and a last line that is an error and says it."""
        last = self.text.splitlines()[-1] if self.text else ""
        assert self.code == 1 and " error " in last and re.search(said, last), f"/{said}/ is not in the last line: {self}"
        self.expect_no(*secrets)

    def expect_no(self, *secrets):
        for secret in secrets:
            assert secret not in self.text, f"a secret in the log: {self}"


class Running:
    def __init__(self, *arguments, environment=None, wrapper=()):
        self.arguments = list(map(str, arguments))
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "TOPKD_"))}
        self.process = subprocess.Popen([*wrapper, TOPKD, *self.arguments], env={**clean, **(environment or {})}, cwd="/", text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self, limit=LIMIT_SECONDS):
        try:
            text, _ = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            text, _ = self.process.communicate()
            text += f"\n(killed: it did not end in {limit} s)"
        return Ended(self.arguments, self.process.returncode, text)


def topkd(*arguments, environment=None):
    return Running(*arguments, environment=environment).end()
