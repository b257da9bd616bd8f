"""What a running topkd says over HTTP: its metrics as numbers, its health and readiness."""
import json
import re
import subprocess
import urllib.error
import urllib.request

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Endpoint:
    def __init__(self, address):
        self.address = address

    @classmethod
    def of(cls, process, limit=20):
        """Of an ingest with --metrics-listen; the port is in its log."""
        process.wait_for_log(r"metrics at http://[\d.]+:\d+", limit)
        return cls(re.search(r"metrics at http://([\d.]+:\d+)", process.log_text())[1])

    def get(self, path, method="GET"):
        """Status, body and headers."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def ready(self):
        """None when it is, else the problem's detail."""
        status, body, _ = self.get("/readyz")
        assert status in (200, 503), body
        return None if status == 200 else json.loads(body)["detail"]

    def samples(self):
        """(name, frozenset of (label, value)) → value, without the label `counter`."""
        status, body, headers = self.get("/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        found = {}
        for line in body.splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                found[name, frozenset(pair for pair in LABEL.findall(labels or "") if pair[0] != "counter")] = float(value)
        return found

    def value(self, name, **labels):
        """The sum over the series with these labels; None without any."""
        wanted = set(labels.items())
        found = [value for (series, has), value in self.samples().items() if series == name and wanted <= has]
        return sum(found) if found else None

    def by_label(self, name, label):
        return {dict(has)[label]: value for (series, has), value in self.samples().items() if series == name}

    def lint(self):
        """What promtool complains about."""
        done = subprocess.run(["promtool", "check", "metrics"], input=self.get("/metrics")[1], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.stdout
