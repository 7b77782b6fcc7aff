"""The dashboard and the alerts that are shipped speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from .conftest import Serve

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "roost.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",), "gauge": ("",)}
OF_PROMETHEUS = {"job", "instance", "le"}
SELECTOR = re.compile(r"\b((?:roost|process)_\w+)(?:{([^}]*)})?")


def panels() -> Iterator[dict[str, Any]]:
    for panel in BOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> dict[str, str]:
    """By where they stand."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
    for panel in panels():
        for target in panel.get("targets", []):
            found[f"panel {panel['id']} {panel['title']} {target['refId']}"] = target["expr"]
    return found


def filled(query: str) -> str:
    """As Grafana sends it."""
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


@pytest.fixture
def metrics(serve: Serve) -> dict[str, set[str]]:
    """Labels by the name of the samples, after a turn."""
    served = serve()
    served.say(served.session(), "go")
    body = served.request("GET", "/metrics", Accept="application/openmetrics-text").body.decode()
    known: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(body):
        labels = {label for sample in family.samples for label in sample.labels}
        for suffix in SUFFIXES[family.type]:
            known[family.name + suffix] = labels
    return known


def test_every_metric_and_every_label_exists(metrics: dict[str, set[str]]) -> None:
    used: set[str] = set()
    for where, query in queries().items():
        selectors = SELECTOR.findall(query)
        assert selectors or query.startswith("up{"), where
        grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
        of_all: set[str] = set()
        for name, matchers in selectors:
            assert name in metrics, f"{where}: there is no metric {name}"
            used.add(name)
            labels = metrics[name] | ({"code"} if name == "roost_commit_failures_total" else set())
            assert set(re.findall(r"(\w+)\s*(?:=|!)", matchers)) <= labels | OF_PROMETHEUS, where
            of_all |= labels
        assert grouped <= of_all | OF_PROMETHEUS, where
    shown = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in used}
    ours = {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
        for name in metrics
        if name.startswith("roost_")
    }
    assert shown >= ours, "every number that a node gives is on the dashboard"


def test_every_query_parses() -> None:
    parser = pytest.importorskip("promql_parser")
    for where, query in queries().items():
        assert parser.parse(filled(query)), where


def test_brackets_and_functions() -> None:
    """What can be said without a parser."""
    functions = {"sum", "max", "avg", "count", "topk", "rate", "increase", "changes", "histogram_quantile", "by"}
    for where, query in queries().items():
        plain = re.sub(r'"[^"]*"', "", filled(query))
        for opening, closing in ("()", "{}", "[]"):
            assert plain.count(opening) == plain.count(closing), where
        assert set(re.findall(r"(\w+) ?\(", plain)) - {"and"} <= functions, where
        for counter in re.findall(r"(\w+_(?:total|count|bucket))\b", plain):
            assert re.search(rf"(?:rate|increase)\({counter}[^)]*\[\w+\]\)", plain), f"{where}: a counter only grows"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(BOARD))) - {"__rate_interval", "__all"}
    assert used == set(variables)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not area & taken, f"{panel['title']} lies on another one"
        assert place["x"] + place["w"] <= 24
        taken |= area
        if panel["type"] != "row":
            assert panel["type"] in {"stat", "timeseries"}
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
    assert BOARD["schemaVersion"] >= 36
    assert BOARD["uid"]
    assert "id" not in BOARD, "Grafana gives it one"


def test_every_alert_says_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) <= 12
    for rule in RULES:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
