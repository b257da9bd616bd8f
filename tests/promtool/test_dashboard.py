"""The dashboard: its expressions are PromQL, speak of metrics that there are, and leave none out; panels do not overlap."""
import json
import re

import pytest
import yaml
from metric_names import mentioned, misuses, table
from programs import ROOT, promtool

GRAFANA = ROOT / "docker/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/topk.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
METRICS = table()


def filled_in(expression):
    return expression.replace("$__rate_interval", "1m").replace("$counter", ".*")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_speaks_of_what_there_is(expression):
    assert mentioned(expression)
    assert misuses(filled_in(expression), METRICS) == []


def test_expressions_are_promql(tmp_path):
    rules = {"groups": [{"name": "panels", "rules": [{"record": f"panel:{number}", "expr": filled_in(expression)}
                                                     for number, expression in enumerate(EXPRESSIONS)]}]}
    (tmp_path / "panels.yml").write_text(yaml.safe_dump(rules))
    code, output = promtool("check", "rules", tmp_path / "panels.yml")
    assert code == 0, output


def test_every_metric_is_shown():
    shown = {name for expression in EXPRESSIONS for name, _ in mentioned(expression)}
    family = {re.sub("_(bucket|sum|count)$", "", name) if METRICS[name].kind == "histogram" else name for name in METRICS}
    missing = [name for name in family - {"up", "ALERTS"} if not {name, f"{name}_bucket"} & shown]
    assert missing == []


def test_panels_have_their_place():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["title"] for panel in DASHBOARD["panels"])


def test_provisioning_names_what_is_mounted():
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    variable = next(variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource")
    assert variable["current"]["value"] == source["uid"] and variable["query"] == source["type"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/topk.yml").read_text())["providers"]
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    mounts = dict(volume.split(":")[:2][::-1] for volume in services["grafana"]["volumes"])
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert source["url"] == "http://prometheus:9090" and "prometheus" in services
