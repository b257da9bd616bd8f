"""The metrics that there are (METRICS.md, which a unit test holds against the table in the code), and those that an expression speaks of."""
import re

from programs import ROOT

ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w,]*) \| ([\w, ]+) \|", re.MULTILINE)
OF_SCRAPE = {"job", "instance"}
KEYWORDS = ("by", "on", "ignoring", "without", "group_left")


class Metric:
    def __init__(self, kind, labels, programs):
        self.kind = kind
        self.labels = {label for label in labels.split(",") if label} | OF_SCRAPE | ({"counter"} if programs == "ingest" else set())


def table():
    """name as in an expression → Metric; up and ALERTS are Prometheus's own."""
    metrics = {"up": Metric("gauge", "", ""), "ALERTS": Metric("gauge", "alertname,alertstate,severity", "")}
    for name, kind, labels, programs in ROW.findall((ROOT / "daemon/METRICS.md").read_text()):
        if kind == "histogram":
            metrics[f"{name}_bucket"] = Metric(kind, f"{labels},le", programs)
            metrics[f"{name}_sum"] = metrics[f"{name}_count"] = Metric(kind, labels, programs)
        else:
            metrics[name] = Metric(kind, labels, programs)
    return metrics


def mentioned(expression):
    """Names in the expression, each with the labels that its matchers name."""
    found = re.findall(r"\b((?:topkd|process)_\w+|up\b|ALERTS\b)(?:\{([^}]*)\})?", re.sub(r"\b(?:%s)\s*\([^)]*\)" % "|".join(KEYWORDS), "", expression))
    return [(name, set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", matchers))) for name, matchers in found]


def grouped_by(expression):
    """Labels that an aggregation or a join keeps."""
    return {label for labels in re.findall(r"\b(?:%s)\s*\(([^)]*)\)" % "|".join(KEYWORDS), expression) for label in re.findall(r"\w+", labels)}


def misuses(expression, metrics):
    """What is wrong with the names in it."""
    names = mentioned(expression)
    wrong = [f"no metric {name}" for name, _ in names if name not in metrics]
    wrong += [f"{name} has no label {label}" for name, labels in names if name in metrics for label in labels - metrics[name].labels]
    known = set().union(*(metrics[name].labels for name, _ in names if name in metrics))
    wrong += [f"no label {label} to group by" for label in grouped_by(expression) - known]
    for name, _ in names:
        is_counter = name in metrics and metrics[name].kind != "gauge"
        if is_counter and not re.search(rf"\b(?:rate|increase|label_values)\({name}\b", expression):
            wrong.append(f"{name} counts up and is used without rate or increase")
    return wrong
