"""The chart of a model's versions in a real browser: the name of the best one does not cover that of the champion."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from tests.apps.registry.factory import version_make
from tests.ui.test_jobs_browser import until
from tests.ui.test_scatter_browser import meet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

#: The boxes of what is written in the chart, in pixels.
WRITTEN = """
const chart = echarts.getInstanceByDom(document.querySelector("[data-drawn=lines]"));
return chart.getZr().storage.getDisplayList(true).filter((shape) => shape.type === "tspan").map((shape) => {
  const rect = shape.getBoundingRect().clone();
  rect.applyTransform(shape.getComputedTransform());
  return [shape.style.text, [rect.x, rect.y, rect.x + rect.width, rect.y + rect.height]];
});
"""


@pytest.mark.parametrize(
    "accuracies", [(0.909, 0.909), (0.91, 0.9095, 0.9099), (0.909, 0.9091, 0.9093), (0.90, 0.91, 0.905)]
)
def test_best_and_champion_are_both_readable(
    browser: Any, live_server: Any, team: Any, accuracies: tuple[float, ...]
) -> None:
    for number, accuracy in enumerate(accuracies, start=1):
        version_make(team.workspace, number=number, accuracy=accuracy)
    session = team.developer.browser().cookies[settings.SESSION_COOKIE_NAME].value
    browser.get(f"{live_server.url}/accounts/login/")
    browser.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": session, "path": "/"})
    browser.get(f"{live_server.url}/models/intents")
    until(browser, "document.querySelector('[data-drawn=lines] canvas')")
    written = browser.execute_script(WRITTEN)
    best = [box for text, box in written if text.startswith("best ")]
    champion = [box for text, box in written if text == "champion"]
    assert (len(best), len(champion)) == (1, 1), written
    assert not meet(best[0], champion[0])
