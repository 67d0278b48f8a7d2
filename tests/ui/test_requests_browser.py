"""The Requests tab in a real browser: a search is typed, and what it finds is opened."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings

from tests.apps.monitoring.requests.conftest import SamplesMake, home, host, version_make
from tests.apps.monitoring.requests.conftest import endpoint as endpoint
from tests.apps.monitoring.requests.conftest import samples_make as samples_make
from tests.personas import Team, team_make
from tests.ui.test_every_page import PHONE
from tests.ui.test_jobs_browser import until

__all__ = ["home", "host", "version_make"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def team(transactional_db: None) -> Team:
    return team_make()


def test_what_a_search_found_stays_open(browser: Any, live_server: Any, team: Team, samples_make: SamplesMake) -> None:
    """A field that is left tells of its change, which asked for the list anew and closed what had just been opened."""
    samples_make({"text": "where is my card"}, {"text": "give me a refund"})
    session = team.developer.browser().cookies[django_settings.SESSION_COOKIE_NAME].value
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
    browser.execute_cdp_cmd("Network.setCookie", cookie)
    browser.get(f"{live_server.url}/endpoints/intents/requests")
    browser.find_element("name", "text").send_keys("refund")
    # Typed slowly, its beginning has found the same already.
    until(browser, "new URLSearchParams(location.search).get('text') === 'refund'")
    until(browser, "document.querySelectorAll('details.request').length === 1")
    # Of the list; the page asks for the endpoint's status by itself.
    browser.execute_script(
        "window.asked = 0; document.addEventListener('htmx:beforeRequest', (event) => "
        "{ window.asked += event.detail.target.id === 'requests'; })"
    )
    browser.find_element("css selector", "details.request > summary").click()
    until(browser, "document.querySelector('details.request').open")
    assert browser.execute_script("return window.asked") == 0


def test_a_correction_fits_on_a_phone(browser: Any, live_server: Any, team: Team, samples_make: SamplesMake) -> None:
    samples_make({"text": "where is my card"})
    session = team.developer.browser().cookies[django_settings.SESSION_COOKIE_NAME].value
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
    browser.execute_cdp_cmd("Network.setCookie", cookie)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        browser.get(f"{live_server.url}/endpoints/intents/requests")
        browser.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        # A list is as wide as its longest class, chosen or not.
        browser.execute_script(
            "document.querySelector('.feedback-more option').textContent = arguments[0]", "balance_not_updated_" * 3
        )
        assert browser.execute_script("return document.querySelector('.feedback-more select').offsetWidth") > 100
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
