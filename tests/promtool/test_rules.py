"""The alert rules and Prometheus' configuration: promtool accepts them, every alert has a story that fires it and a runbook, and they speak of
metrics that there are."""
import re
from pathlib import Path

import pytest
import yaml
from metric_names import misuses, table
from programs import ROOT, promtool

HERE = Path(__file__).resolve().parent
RULES = ROOT / "docker/prometheus/rules.yml"
CONFIG = ROOT / "docker/prometheus/prometheus.yml"
STORIES = HERE / "rules_test.yml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
METRICS = table()


def assert_accepted(*arguments, **options):
    code, output = promtool(*arguments, **options)
    assert code == 0 and "FAILED" not in output, output


def test_promtool_accepts_the_rules():
    assert_accepted("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_promtool_accepts_the_configuration():
    assert_accepted("check", "config", "--lint=all", "--lint-fatal", CONFIG)


def test_the_stories_come_true():
    assert_accepted("test", "rules", STORIES.name, cwd=HERE)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_story_needs_the_alert(alert, tmp_path):
    """Without the alert, or with an expression that never holds, or without its patience, some story fails."""
    for change in ({"expr": "vector(0) > 1"}, {"expr": "vector(1)"}, {"for": "0s"}):
        changed = {"groups": [{"name": "changed", "rules": [{**ALERTS[alert], **change}]}]}
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(changed))
        stories = yaml.safe_load(STORIES.read_text())
        stories["rule_files"] = [str(tmp_path / "rules.yml")]
        stories["tests"] = [story for story in stories["tests"] if story["name"] == "all is well" or alert in str(story)]
        (tmp_path / "stories.yml").write_text(yaml.safe_dump(stories))
        code, output = promtool("test", "rules", tmp_path / "stories.yml")
        assert code != 0, f"{alert} with {change} passes all stories"
        assert "FAILED" in output


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["for"] and rule["annotations"]["summary"]
    assert len(rule["annotations"]["runbook"].split()) >= 15
    assert alert.startswith("Topk")


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_speaks_of_what_there_is(alert):
    assert misuses(ALERTS[alert]["expr"], METRICS) == []


@pytest.mark.parametrize("alert", ALERTS)
def test_a_text_names_labels_that_survive(alert):
    """A template with a label that the expression aggregated away shows nothing."""
    rule = ALERTS[alert]
    texts = " ".join(rule["annotations"].values())
    aggregated = re.search(r"\b(?:sum|max|min) by \(([^)]*)\)", rule["expr"])
    left = set(re.findall(r"\w+", aggregated[1])) if aggregated else set().union(
        *(METRICS[name].labels for name in re.findall(r"\b(?:topkd_\w+|process_\w+|up)\b", rule["expr"])))
    used = set(re.findall(r"\$labels\.(\w+)", texts))
    assert used <= left, f"{used - left} is not left by the expression"


def test_jobs_are_those_of_the_configuration():
    jobs = {scrape["job_name"] for scrape in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    dashboard = (ROOT / "docker/grafana/dashboards/topk.json").read_text().replace('\\"', '"')
    named = set(re.findall(r'job="([^"]+)"', RULES.read_text() + dashboard))
    assert named <= jobs, named - jobs
    assert all(re.fullmatch("topkd-.*", job) for job in jobs)


def test_targets_are_those_of_the_compose_file():
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for scrape in yaml.safe_load(CONFIG.read_text())["scrape_configs"]:
        for target in scrape["static_configs"][0]["targets"]:
            service, port = target.split(":")
            assert any(f":{port}" in str(value) for value in services[service]["environment"].values()), target


def test_the_check_itself():
    """What it is for, it finds."""
    assert misuses("rate(topkd_record_total[5m])", METRICS) == ["no metric topkd_record_total"]
    assert misuses('topkd_partitions{stat="x"}', METRICS) == ["topkd_partitions has no label stat"]
    assert misuses("sum by (partition) (rate(topkd_records_total[5m]))", METRICS) == ["no label partition to group by"]
    assert misuses("topkd_records_total > 3", METRICS) == ["topkd_records_total counts up and is used without rate or increase"]
    assert misuses('sum by (counter) (topkd_partitions{state="claimed"})', METRICS) == []
