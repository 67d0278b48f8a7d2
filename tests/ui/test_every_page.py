"""Every page in a real browser: no error in the console, nothing wider than a phone; theme, language, search, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from apps.deployments.keeping import endpoint_key_create
from apps.deployments.models import Endpoint, Revision
from apps.deployments.pages import BUILDERS
from tests.apps.jobs.factory import base_model_make, dataset_make
from tests.apps.registry.factory import version_make
from tests.personas import Team, team_make

pytestmark = pytest.mark.django_db(transaction=True)

#: As long as a name may be, without a place to break it.
LONG_NAME = "e" * 63
PHONE = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}


def plain_pages(team: Team, patterns: Any = None) -> Iterator[str]:
    """The addresses without arguments that answer an owner with a whole page."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver) and str(pattern.pattern) == "":
            yield from plain_pages(team, pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and not set("<(") & set(str(pattern.pattern)):
            path = f"/{pattern.pattern}"
            answer = team.owner.browser().get(path)
            if answer.status_code == 200 and b'<main class="page"' in answer.content:
                yield path


@pytest.fixture
def team(transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team with data and a model with a variant; messages go nowhere, since no broker runs."""
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    settings.HOME = tmp_path
    settings.BUNDLES_DIR = tmp_path / "bundles"
    settings.BUNDLES_DIR.mkdir()
    made = team_make()
    data = dataset_make(made.workspace)
    data.labels = ["card", "l" * 63]
    data.save()
    base_model_make()
    parent = version_make(made.workspace, dataset_version=data)
    version_make(made.workspace, number=2, parent=parent, dataset_version=data)
    long = Endpoint.objects.create(
        workspace=made.workspace, name=LONG_NAME, title="客户询问并且希望银行尽快处理" * 4, task="text_classification"
    )
    Revision.objects.create(endpoint=long, number=1, model_version=parent, weight=100, name="n" * 60)
    for name in ("shop", "k" * 100):
        limits = {"rate_per_minute": 10_000_000, "burst": 1_000_000, "quota_per_day": 10_000_000}
        endpoint_key_create(by=made.owner.identity, endpoint=long, name=name, limits=limits)
    return made


@pytest.fixture
def signed_in(browser: Any, live_server: Any, team: Team) -> Any:
    """The owner's browser, on Home."""
    session = team.owner.browser().cookies[settings.SESSION_COOKIE_NAME].value
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}
    browser.execute_cdp_cmd("Network.setCookie", cookie)
    browser.get(live_server.url)
    return browser


def test_one_signs_in_through_the_form(browser: Any, live_server: Any, team: Team) -> None:
    browser.get(f"{live_server.url}/models/")
    browser.find_element("name", "login").send_keys("owner")
    browser.find_element("name", "password").send_keys("owner-Passw0rd!")
    browser.find_element("css selector", "form .btn-primary").click()
    WebDriverWait(browser, 30).until(lambda page: page.current_url == f"{live_server.url}/models/")
    assert browser.find_element("tag name", "h1").text == "Models"
    assert browser.get_cookie(settings.SESSION_COOKIE_NAME)


def test_no_page_breaks_the_policy_or_overflows_a_phone(signed_in: Any, live_server: Any, team: Team) -> None:
    """The browser's fixture fails on every line of the console that tells of an error, a refused script included."""
    paths = [*plain_pages(team), "/datasets/tickets/1/", "/models/intents/1/", "/models/intents/2/lineage"]
    paths += [f"/endpoints/{LONG_NAME}/{tab}" for tab in ("monitor", "requests", *(f"?tab={id_}" for id_ in BUILDERS))]
    assert {"/", "/datasets/", "/jobs/", "/jobs/new", "/models/", "/compress/", "/endpoints/"} <= set(paths)
    wide = {}
    signed_in.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        for path in paths:
            for language in ("en", "zh-hans"):
                cookie = {"name": settings.LANGUAGE_COOKIE_NAME, "value": language, "url": live_server.url}
                signed_in.execute_cdp_cmd("Network.setCookie", cookie)
                signed_in.get(f"{live_server.url}{path}")
                assert signed_in.execute_script("return document.documentElement.lang") == language
                # Not against innerWidth: a phone zooms out until the page fits, which makes that as wide as the page.
                extra = signed_in.execute_script("return document.documentElement.scrollWidth") - PHONE["width"]
                if extra > 0:
                    wide[path, language] = extra
    finally:
        signed_in.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == {}


def test_the_open_tab_is_in_view_on_a_phone(signed_in: Any, live_server: Any) -> None:
    signed_in.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        signed_in.get(f"{live_server.url}/endpoints/{LONG_NAME}/?tab=settings")
        box = "document.querySelector('.tabs [aria-current]').getBoundingClientRect()"
        left, right = signed_in.execute_script(f"return [{box}.left, {box}.right]")
        assert (left >= 0, right <= PHONE["width"]) == (True, True)
        assert signed_in.execute_script("return scrollY") == 0
    finally:
        signed_in.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_theme_is_kept_and_there_before_the_first_paint(signed_in: Any, live_server: Any) -> None:
    root = "return document.documentElement.dataset.bsTheme"
    before = signed_in.execute_script(root)
    signed_in.find_element("css selector", "[data-theme-toggle]").click()
    after = signed_in.execute_script(root)
    assert {before, after} == {"light", "dark"}
    signed_in.get(f"{live_server.url}/models/")
    assert signed_in.execute_script(root) == after
    assert f'data-bs-theme="{after}"' in signed_in.execute_script("return document.documentElement.outerHTML")[:200]


def test_the_language_is_switched_with_one_click(signed_in: Any) -> None:
    signed_in.find_element("css selector", "button[name=language]").click()
    language = "return document.documentElement.lang"
    WebDriverWait(signed_in, 30).until(lambda page: page.execute_script(language) == "zh-hans")
    assert signed_in.find_element("tag name", "h1").text == "首页"


def test_a_slash_focuses_the_search_which_answers_while_one_types(signed_in: Any) -> None:
    body = signed_in.find_element("tag name", "body")
    body.send_keys("/")
    box = signed_in.switch_to.active_element
    assert box.get_attribute("name") == "q"
    box.send_keys("ticket")
    hits = WebDriverWait(signed_in, 20).until(lambda page: page.find_elements("css selector", "#search-hits a"))
    assert hits[0].get_attribute("href").endswith("/datasets/tickets/")


def test_the_first_tab_stop_skips_to_the_content(signed_in: Any, live_server: Any) -> None:
    signed_in.get(f"{live_server.url}/")
    signed_in.find_element("tag name", "body").send_keys(Keys.TAB)
    assert signed_in.switch_to.active_element.get_attribute("class") == "skip-link"


@pytest.mark.parametrize(
    ("path", "dialog"),
    [
        (f"/endpoints/{LONG_NAME}/?tab=settings", "delete-endpoint"),
        ("/models/intents/", "delete-model"),
        ("/models/intents/1/", "promote"),
    ],
)
def test_a_dialog_opens_amid_the_window_and_gives_the_focus_back(
    signed_in: Any, live_server: Any, path: str, dialog: str
) -> None:
    signed_in.get(f"{live_server.url}{path}")
    opener = signed_in.find_element("css selector", f"[data-open-dialog={dialog}]")
    signed_in.execute_script("arguments[0].focus()", opener)
    opener.send_keys(Keys.ENTER)
    box, width, height, heading = signed_in.execute_script(
        f"const dialog = document.querySelector('#{dialog}:modal'); const box = dialog.getBoundingClientRect();"
        "const heading = document.getElementById(dialog.getAttribute('aria-labelledby'));"
        "return [box, innerWidth, innerHeight, heading.textContent]"
    )
    assert heading
    assert abs(box["left"] - (width - box["right"])) <= 20
    assert abs(box["top"] - (height - box["bottom"])) <= 2
    assert box["height"] < height / 2
    # Return, pressed once too often, keeps what is there.
    if dialog.startswith("delete-"):
        assert signed_in.switch_to.active_element.get_attribute("data-close-dialog") is not None
    signed_in.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not signed_in.find_elements("css selector", "dialog[open]")
    assert signed_in.switch_to.active_element == opener


def test_a_question_stays_out_of_sight_until_it_is_asked(signed_in: Any, live_server: Any, team: Team) -> None:
    """A page of settings has no style sheet of its own, which once left its dialogs open amid the table."""
    signed_in.get(f"{live_server.url}/settings/tokens")
    dialogs = signed_in.find_elements("css selector", "main dialog")
    assert dialogs
    assert not any(dialog.is_displayed() for dialog in dialogs)
    signed_in.find_element("css selector", "[data-open-dialog^=revoke-]").click()
    box = signed_in.execute_script("return document.querySelector('dialog:modal').getBoundingClientRect()")
    assert abs(box["left"] - (signed_in.execute_script("return innerWidth") - box["right"])) <= 20


#: Of what has the focus: how far its outline lies within all the boxes around it that cut off what lies outside.
OUTLINE_ROOM = """
const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
const reach = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
let room = Infinity;
for (let around = one.parentElement; around && around !== document.body; around = around.parentElement) {
  if (getComputedStyle(around).overflowX === 'visible') continue;
  const frame = around.getBoundingClientRect();
  room = Math.min(room, box.top - frame.top - reach, frame.bottom - box.bottom - reach);
}
return [style.outlineStyle, style.outlineWidth, Math.min(room, 99)];
"""


@pytest.mark.parametrize("path", [f"/endpoints/{LONG_NAME}/", f"/endpoints/{LONG_NAME}/monitor"])
def test_the_keyboards_place_is_seen_whole(signed_in: Any, live_server: Any, path: str) -> None:
    signed_in.get(f"{live_server.url}{path}")
    seen = 0
    for place in signed_in.find_elements("css selector", ".tabs a, .segmented > a, .segmented > button"):
        if not place.is_displayed():
            continue
        signed_in.execute_script("arguments[0].focus({focusVisible: true, preventScroll: true})", place)
        style, width, room = signed_in.execute_script(OUTLINE_ROOM)
        assert (style, width) == ("solid", "2px")
        assert room >= 0
        seen += 1
    assert seen


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_what_lies_behind_them(theme: str) -> None:
    """WCAG AA, 4.5 to 1, for every pair of colours that words are shown in."""
    sheet = (settings.BASE_DIR / "static/css/tuneyard.css").read_text()
    block = re.search(rf'\[data-bs-theme="{theme}"\] \{{(.+?)\}}', sheet, re.DOTALL)
    assert block is not None
    colours = dict(re.findall(r"--ty-([\w-]+): (#\w{6});", block.group(1)))
    tones = ("accent", "queued", "running", "good", "warning", "failed")
    pairs = [(words, behind) for words in ("ink", "muted", *tones) for behind in ("card", "page", "well")]
    pairs += [(tone, f"{tone}-soft") for tone in tones] + [("on-accent", "accent"), ("ink", "accent-soft")]
    pairs.append(("muted", "accent-soft"))
    dim = {pair: ratio for pair in pairs if (ratio := contrast(*(colours[name] for name in pair))) < 4.5}
    assert dim == {}


def contrast(one: str, other: str) -> float:
    """Of two colours such as #1b2434."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
