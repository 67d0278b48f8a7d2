"""The chart of a model's variants in a real browser: every point can be told from the others, also on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from tests.apps.registry.factory import version_make
from tests.ui.test_jobs_browser import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

#: p95 in ms and accuracy of the parent and its variants: two are one point, two lie beside each other.
MEASURED = ((8.0, 0.92), (3.0, 0.918), (3.0, 0.918), (3.05, 0.9181), (7.95, 0.9199), (9.0, 0.91))


@pytest.fixture
def chart(browser: Any, live_server: Any, team: Any) -> Any:
    """Open the page of the variants of a model with the longest name, in a theme and at a width."""
    name = "intents-of-the-customers-of-a-bank-in-seven-languages-and-more"[:63]
    parent = version_make(team.workspace, name=name)
    baseline = {"accuracy": 0.92, "p95_ms": 8.0, "size_bytes": 88_000_000}
    for number, (p95, accuracy) in enumerate(MEASURED[1:], start=2):
        score = {"accuracy": accuracy, "p95_ms": p95, "agreement": 0.99, "size_bytes": 22_000_000}
        report = {"score": {"baseline": baseline, "variant": score}}
        version_make(team.workspace, name=name, number=number, parent=parent, accuracy=accuracy, report=report)
    session = team.developer.browser().cookies[settings.SESSION_COOKIE_NAME].value

    def show(*, width: int, theme: str) -> Any:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(f"{live_server.url}/accounts/login/")
        browser.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": session, "path": "/"})
        browser.get(f"{live_server.url}/models/{name}/1/variants")
        until(browser, "document.querySelector('[data-drawn=scatter] canvas')")
        return browser

    yield show
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


#: What the library has drawn in the chart: names beside points and the points themselves, as boxes in pixels.
DRAWN = """
const element = document.querySelector("[data-drawn=scatter]");
const chart = echarts.getInstanceByDom(element);
const box = (shape) => {
  const rect = shape.getBoundingRect().clone();
  rect.applyTransform(shape.getComputedTransform());
  return [rect.x, rect.y, rect.x + rect.width, rect.y + rect.height];
};
const names = [], symbols = [];
chart.getZr().storage.getDisplayList(true).forEach((shape) => {
  if (shape.type === "tspan" && shape.style.text.includes("@")) names.push([shape.style.text, box(shape)]);
});
chart.getOption().series.filter((item) => item.type === "scatter").forEach((item) => item.data.forEach((point) => {
  const [x, y] = chart.convertToPixel({ gridIndex: 0 }, point.value);
  const half = item.symbolSize / 2 - 2;
  symbols.push([x - half, y - half, x + half, y + half]);
}));
return { names, symbols, width: chart.getWidth(), height: chart.getHeight() };
"""


def meet(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_every_point_is_named_and_no_name_covers_anything(chart: Any, width: int, theme: str) -> None:
    page = chart(width=width, theme=theme)
    drawn = page.execute_script(DRAWN)
    named = [part for text, _box in drawn["names"] for part in text.split(", ")]
    assert sorted(named) == [f"@{number}" for number in range(1, 1 + len(MEASURED))]
    for index, (text, box) in enumerate(drawn["names"]):
        assert min(box) >= 0, text
        assert (box[2] <= drawn["width"], box[3] <= drawn["height"]) == (True, True), text
        assert not any(meet(box, symbol) for symbol in drawn["symbols"]), text
        assert not any(meet(box, other) for _text, other in drawn["names"][index + 1 :]), text
