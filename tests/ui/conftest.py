"""A real browser for pages with script: Debian's Chromium, headless."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor" / "htmx.min.js"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1440,1000"
)

#: htmx's words when a page is left while it refreshes a part of itself. A request that fails for another reason is told
#: by the browser, too, in a line of its own.
LEFT = ('"htmx:afterRequest, ', '"htmx:sendAbort, ', '"htmx:sendError, ')


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of the session."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    if not VENDOR.is_file():
        pytest.skip("no browser assets in static/vendor; `make setup-dev` copies them")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The browser without cookies; a line of its console that tells of an error fails the test."""
    chromium.get("about:blank")
    # Not `delete_all_cookies`, which knows only the present page's: a language chosen before would stay.
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get_log("browser")
    yield chromium
    errors = [line["message"] for line in chromium.get_log("browser") if line["level"] == "SEVERE"]
    chromium.get("about:blank")
    assert [error for error in errors if not any(words in error for words in LEFT)] == []
