"""What the two programs expose: promtool's linter accepts it, and a real Prometheus with our configuration scrapes it, loads the rules and
answers every expression of the dashboard."""
import contextlib
import json
import socket
import subprocess
import urllib.parse

import pytest
import yaml
from harness.wait import wait_until
from programs import PROGRAMS, ROOT, START_SECONDS, get, promtool, running
from test_dashboard import EXPRESSIONS, filled_in



@pytest.mark.parametrize("program", PROGRAMS)
def test_promtool_accepts_the_exposition(program, tmp_path):
    with running(program, tmp_path / "log") as address:
        get(address, "/healthz")  # so that there are requests to tell of
        code, output = promtool("check", "metrics", input=get(address, "/metrics"))
    assert (code, output) == (0, "")


def test_promtool_would_complain():
    code, output = promtool("check", "metrics", input="# HELP topkd_records What.\n# TYPE topkd_records counter\ntopkd_records 1\n")
    assert code != 0 and "_total" in output


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def prometheus(directory, targets):
    """Debian's, with docker/prometheus; the addresses of its jobs are these."""
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "docker/prometheus" / name) for name in config["rule_files"]]
    for scrape in config["scrape_configs"]:
        scrape["static_configs"][0]["targets"] = [targets[scrape["job_name"]]]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with open(directory / "prometheus.log", "w") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                                    f"--web.listen-address={address}"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def ask(address, expression):
    """[] while it does not answer yet."""
    try:
        answer = json.loads(get(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    except OSError:
        return []
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def test_prometheus_scrapes_and_answers(tmp_path):
    with running("ingest", tmp_path / "ingest.log") as ingest, running("serve", tmp_path / "serve.log") as serve, \
            prometheus(tmp_path, {"topkd-ingest": ingest, "topkd-serve": serve}) as address:
        wait_until(lambda: len(ask(address, "up == 1")) == 2, 40, "both programs scraped")
        builds = {sample["metric"]["job"]: sample["metric"]["program"] for sample in ask(address, "topkd_build_info")}
        assert builds == {"topkd-ingest": "ingest", "topkd-serve": "serve"}
        for expression in EXPRESSIONS:
            ask(address, filled_in(expression))
        [database] = ask(address, "topkd_database_up")
        assert database["metric"]["counter"] == "video_views" and database["value"][1] == "0"
        # There is no database: the alert is on its way
        pending = wait_until(lambda: ask(address, 'ALERTS{alertname="TopkDatabaseAway"}'), START_SECONDS, "the alert")
        assert pending[0]["metric"]["alertstate"] == "pending"
        groups = json.loads(get(address, "/api/v1/rules"))["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
