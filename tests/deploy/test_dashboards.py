"""What the dashboard and the alert rules ask for is what `/metrics` tells: names, labels and types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.modelkit.serving.toys import Host, make_bundle, revision, running, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "serving.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
CONFIG: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Where it stands, and what it is."""
    asked = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    variables = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    asked += [(f"${v['name']}", v["query"]["query"]) for v in variables]
    return asked + [(rule["alert"], rule["expr"]) for rule in RULES]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """The labels of each metric on a page that knows answers, errors and runners."""
    folder = tmp_path_factory.mktemp("d")
    make_bundle(folder / "first")
    with Host(folder / "home") as host:
        host.apply(running("intents", revision(1, folder / "first")))
        host.wait_for("intents", "live")
        host.predict("intents")
        host.predict("intents", "{fail}")
        host.predict("intents", token="ty_unknown")

        def page() -> dict[str, set[str]]:
            with host.client(token="") as anonymous:
                text = anonymous.get("/metrics").text
            found: dict[str, set[str]] = {}
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
            return found

        wait_until(lambda: "tuneyard_serving_runner_memory_bytes" in page(), what="the runner's figures")
        yield page()


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_each_metric_and_label_is_told(where: str, expression: str, told: dict[str, set[str]]) -> None:
    metrics = re.findall(r"tuneyard_serving_\w+", expression)
    assert metrics or expression.startswith("up{")
    for metric in metrics:
        assert metric in told, f"{where} asks for {metric}"
    labels = set().union(*(told[metric] for metric in metrics))
    matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    grouped = {name for names in re.findall(r"by \(([^)]*)\)", expression) for name in re.split(r",\s*", names)}
    assert (matched | grouped) - labels <= ({"job"} if not metrics else set()), where
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legends_use_labels_that_the_expression_keeps(panel: dict[str, Any], told: dict[str, set[str]]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        shown = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
        grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
        kept = set(re.split(r",\s*", grouped[0])) if grouped else set()
        if not grouped and "sum(" not in target["expr"]:
            kept = told[re.findall(r"tuneyard_serving_\w+", target["expr"])[0]]
        assert shown <= kept


def test_alerts_say_what_they_are_about() -> None:
    assert {"TuneyardErrorRate", "TuneyardSlow", "TuneyardRunnerDown"} <= {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        grouped = re.findall(r"by \(([^)]*)\)", rule["expr"])
        kept = set(re.split(r",\s*", grouped[0])) if grouped else {"workspace", "endpoint", "revision"}
        assert shown <= kept, rule["alert"]


def test_counters_are_only_asked_for_their_rate() -> None:
    for where, expression in expressions():
        if not expression.startswith("label_values"):
            for found in re.finditer(r"tuneyard_serving_\w+(_total|_bucket|_sum|_count)\b", expression):
                before = expression[: found.start()]
                assert before.endswith(("rate(", "increase(")), f"{where}: {found[0]}"


def test_the_files_name_each_other() -> None:
    (job,) = CONFIG["scrape_configs"]
    assert job["authorization"]["credentials_file"] == "/etc/prometheus/token"
    assert job["static_configs"][0]["targets"] == ["serving:8701"]
    assert CONFIG["rule_files"] == ["/etc/prometheus/rules.yml"]
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tuneyard.yml").read_text())["providers"][0]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
