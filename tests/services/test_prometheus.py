"""Dashboard and alert rules in a real Prometheus that scrapes a real serving port."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.test_dashboards import RULES, expressions
from tests.modelkit.serving.toys import TOKEN, Host, make_bundle, revision, running, wait_until
from tests.services.prometheus import DEPLOY, Prometheus, prometheus_server, settled, tool

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ALERTS = {rule["alert"] for rule in RULES}
DASHBOARD = [(where, expression) for where, expression in expressions() if where not in ALERTS]


def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    config = settled(tmp_path / "p", target="serving:8701", token="ty_x", hurry=False)
    checked = subprocess.run([tool("promtool"), "check", "config", str(config)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_each_alert_waits_for_what_it_says_and_keeps_silent_otherwise() -> None:
    """`promtool` plays figures of minutes to the rules as they are; `rules_test.yml` says which must fire when."""
    played = subprocess.run(
        [tool("promtool"), "test", "rules", str(DEPLOY / "rules_test.yml")], capture_output=True, text=True
    )
    assert played.returncode == 0, played.stdout + played.stderr
    text = (DEPLOY / "rules_test.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)", text)) == ALERTS


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("prom")
    make_bundle(folder / "first")
    with Host(folder / "home") as served:
        names = ("intents", "slow", "crowded", "frail")
        served.apply(*(running(name, revision(1, folder / "first")) for name in names))
        for name in names:
            served.wait_for(name, "live")
        # A counter is born with its first count, which no rate sees: what follows has to be a second one.
        served.predict("intents", "{fail}")
        yield served


@pytest.fixture(scope="module")
def prometheus(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    config = settled(tmp_path_factory.mktemp("prom") / "etc", target=f"127.0.0.1:{host.port}", token=TOKEN)
    # As from another machine: with the token's header Prometheus sees one workspace, without it everything.
    config.write_text(re.sub(r" +authorization:\n +credentials_file: .*\n", "", config.read_text()))
    with prometheus_server(config) as server:
        yield server


@pytest.fixture(scope="module")
def asked(host: Host, prometheus: Prometheus) -> Iterator[None]:
    """Traffic of every kind, for as long as the module's tests look."""
    ended = threading.Event()

    def ordinary() -> None:
        while not ended.wait(0.05):
            host.predict("intents")
            host.predict("intents", "{fail}")
            host.predict("intents", token="ty_unknown")

    def slow() -> None:
        while not ended.is_set():
            host.predict("slow", "{sleep}")

    def crowded() -> None:
        async def crowd() -> None:
            headers = {"authorization": f"Bearer {TOKEN}"}
            limits = httpx.Limits(max_connections=40)
            async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits, trust_env=False) as caller:
                body = {"inputs": ["{sleep}"] * 100}
                address = f"{host.url}/predict/crowded"
                await asyncio.gather(*(caller.post(address, json=body) for _ in range(40)))

        while not ended.wait(0.2):
            asyncio.run(crowd())

    def frail() -> None:
        while not ended.wait(0.5):
            host.predict("frail", "{die}")

    threads = [threading.Thread(target=each, daemon=True) for each in (ordinary, slow, slow, crowded, frail)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join(60)


@pytest.mark.parametrize(("where", "expression"), DASHBOARD, ids=[f"{w}-{i}" for i, (w, _) in enumerate(DASHBOARD)])
def test_each_panel_of_the_dashboard_has_data(where: str, expression: str, prometheus: Prometheus, asked: None) -> None:
    chosen = re.sub(r"\$(workspace|endpoint|revision)\b", ".*", expression.replace("$__rate_interval", "1m"))
    assert "$" not in chosen
    variable = re.fullmatch(r"label_values\((.*), (\w+)\)", chosen)

    def has_data() -> bool:
        if variable:
            series, label = variable.groups()
            return bool(prometheus.get(f"label/{label}/values", **{"match[]": series}))
        return any(math.isfinite(value) for _, value in prometheus.query(chosen))

    wait_until(has_data, timeout_s=60, what=f"{where}: {chosen}")


def test_each_alert_fires_when_what_it_is_about_happens(prometheus: Prometheus, asked: None) -> None:
    """Errors, slow answers, a full queue, a runner that dies again and again: these do all of it at once."""
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(prometheus.firing())
        return seen >= ALERTS - {"TuneyardServingAbsent"}

    wait_until(all_seen, timeout_s=240, what="every alert")
    about = {alert["labels"]["alertname"]: alert for alert in prometheus.get("alerts")["alerts"]}
    assert about["TuneyardErrorRate"]["labels"]["endpoint"] in {"intents", "frail"}
    assert "%" in about["TuneyardErrorRate"]["annotations"]["summary"]


def test_a_token_shows_its_workspace_and_nothing_of_others(host: Host, tmp_path: Path, asked: None) -> None:
    config = settled(tmp_path / "etc", target=f"127.0.0.1:{host.port}", token=TOKEN)
    with prometheus_server(config) as server:
        wait_until(lambda: server.query("tuneyard_serving_requests_total"), what="the workspace's figures")
        assert {labels["workspace"] for labels, _ in server.query("tuneyard_serving_up")} == {"ws1"}
        assert server.query("tuneyard_serving_connections") == []


def test_a_serving_port_that_is_gone_is_told(tmp_path: Path) -> None:
    make_bundle(tmp_path / "first")
    with Host(tmp_path / "home") as served:
        served.apply(running("intents", revision(1, tmp_path / "first")))
        served.wait_for("intents", "live")
        config = settled(tmp_path / "etc", target=f"127.0.0.1:{served.port}", token=TOKEN)
        with prometheus_server(config) as server:
            assert server.firing() == set()
            served.stop_agent()
            wait_until(lambda: server.firing() == {"TuneyardServingAbsent"}, timeout_s=60, what="the alert")
