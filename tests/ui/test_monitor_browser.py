"""The Monitor tab in a real browser: charts are drawn, follow new traffic, and fit a phone in both themes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from apps.deployments.models import Endpoint
from apps.monitoring.importing import traffic_import
from modelkit.serving.journal import Journal
from tests.apps.monitoring.factory import endpoint_make, slice_of
from tests.personas import Team, team_make
from tests.ui.test_every_page import PHONE
from tests.ui.test_jobs_browser import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

DRAWN = "document.querySelectorAll('[data-drawn=times] canvas').length"

#: What is written in a chart and goes on behind its right edge.
CUT_OFF = """
return [...document.querySelectorAll("[data-drawn=times]")].flatMap((element) => {
  const shapes = echarts.getInstanceByDom(element).getZr().storage.getDisplayList(true);
  return shapes.filter((shape) => shape.type === "tspan").filter((shape) => {
    const rect = shape.getBoundingRect().clone();
    rect.applyTransform(shape.getComputedTransform());
    return rect.x + rect.width > element.clientWidth + 1;
  }).map((shape) => shape.style.text);
});
"""


@pytest.fixture
def team(transactional_db: None, settings: Any, tmp_path: Path) -> Team:
    settings.HOME = tmp_path
    settings.BUNDLES_DIR = tmp_path / "bundles"
    settings.BUNDLES_DIR.mkdir()
    return team_make()


@pytest.fixture
def endpoint(team: Team) -> Endpoint:
    return endpoint_make(team.workspace)


@pytest.fixture
def written(endpoint: Endpoint, tmp_path: Path) -> Journal:
    """An hour of two revisions, imported; and the last minute, which is not."""
    now, journal = int(time.time()) // 60 * 60, Journal(tmp_path / "serving" / "figures")
    for i, at in enumerate(range(now - 3000, now - 60, 60)):
        journal.write([slice_of(endpoint, at, answered=20 + i % 7 * 5, failed=i % 9 // 8, latency_ms=4 + i % 5)])
        if i > 25:
            journal.write([slice_of(endpoint, at, revision=2, answered=8, latency_ms=3 + i % 3)])
    traffic_import()
    journal.write([slice_of(endpoint, now - 60 + s, answered=12, latency_ms=6) for s in range(0, 60, 5)])
    return journal


@pytest.fixture
def visit(browser: Any, live_server: Any, team: Team) -> Any:
    session = team.viewer.browser().cookies[django_settings.SESSION_COOKIE_NAME].value
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
    browser.execute_cdp_cmd("Network.setCookie", cookie)
    return lambda path: browser.get(f"{live_server.url}{path}")


def test_each_range_is_drawn(browser: Any, visit: Any, written: Journal) -> None:
    for name in ("hour", "day", "week", "live"):
        visit(f"/endpoints/intents/monitor?range={name}")
        # Live sees the last minutes only, in which one revision was asked.
        until(browser, f"{DRAWN} >= 6")
        chosen = browser.execute_script("return document.querySelector('.segmented [aria-current]').href")
        assert chosen.endswith(f"range={name}")


def test_new_traffic_appears_while_one_watches(browser: Any, visit: Any, written: Journal, endpoint: Endpoint) -> None:
    visit("/endpoints/intents/monitor?range=hour")
    until(browser, f"{DRAWN} === 9")
    requests = "document.querySelector('.monitor-tiles .figure').textContent"
    before = browser.execute_script(f"return {requests}")
    written.write([slice_of(endpoint, int(time.time()) // 5 * 5 - 10, answered=1000)])
    until(browser, f"{requests} !== {before!r}")
    told = [int(text.replace(",", "")) for text in (before, browser.execute_script(f"return {requests}"))]
    assert told[1] - told[0] == 1000


def test_the_charts_fit_a_phone_and_follow_the_theme(browser: Any, visit: Any, written: Journal) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        visit("/endpoints/intents/monitor?range=hour")
        until(browser, f"{DRAWN} === 9")
        assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
        assert browser.execute_script(CUT_OFF) == []
        browser.execute_script("document.documentElement.dataset.bsTheme = 'dark'")
        until(browser, f"{DRAWN} === 9")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_first_request_turns_the_command_into_charts(
    browser: Any, visit: Any, endpoint: Endpoint, settings: Any
) -> None:
    visit("/endpoints/intents/monitor")
    assert "curl" in browser.find_element("css selector", ".code pre").text
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    at = int(time.time()) // 5 * 5 - 60
    Journal(Path(settings.HOME) / "serving" / "figures").write([slice_of(endpoint, at, answered=3)])
    until(browser, f"{DRAWN} === 6")
