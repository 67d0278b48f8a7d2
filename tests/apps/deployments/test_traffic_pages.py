"""The tabs of traffic, shadow and timeline, and what their forms do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.deployments.canaries import canary_look
from apps.deployments.models import Canary, Endpoint, Revision, ShadowCount, ShadowDifference, ShadowSummary
from modelkit.serving.plan import ObservedSet
from tests.apps.deployments.conftest import VersionMake
from tests.personas import Team

BOUNDS = {"min_requests": "100", "max_error_increase": "0.01", "max_p95_ratio": "1.5", "max_distance": "0.1"}
CANARY = {"candidate": "intents@2", "name": "candidate", "steps": "10, 50, 100", "step_s": "60", **BOUNDS}


def tab(team: Team, name: str, **query: str) -> str:
    answer = team.developer.browser().get("/endpoints/intents/", {"tab": name, **query})
    assert answer.status_code == 200
    return str(answer.content.decode())


def post(team: Team, path: str, data: dict[str, Any]) -> Any:
    return team.developer.browser().post(f"/endpoints/intents/{path}", data)


def test_a_canary_from_the_form_to_its_end(team: Team, endpoint: Endpoint) -> None:
    assert "Start the canary" in tab(team, "traffic")
    assert post(team, "canary", CANARY).status_code == 302
    canary = Canary.objects.get()
    assert (canary.steps, canary.step_s, canary.bounds["max_distance"]) == ([10, 50, 100], 60, 0.1)
    page = tab(team, "traffic")
    assert 'hx-trigger="every 3s"' in page
    assert "Waits until the traffic has come to its share." in page
    assert "Start the canary" not in page
    assert post(team, "canary/pause", {}).status_code == 302
    page = tab(team, "traffic")
    assert "Go on" in page
    assert "Held at its share" in page
    assert not [words for words in ("Waits until", "Waits for", "The step lasts") if words in page]
    assert post(team, "canary/abort", {}).status_code == 302
    page = tab(team, "traffic")
    assert "Last canary" in page
    assert "Start the canary" in page


def test_a_canary_refused_says_why_at_the_field(team: Team, endpoint: Endpoint) -> None:
    for given, field in (({"steps": "50, 20"}, "canary_steps"), ({"max_distance": "7"}, "canary_max_distance")):
        page = post(team, "canary", {**CANARY, **given}).content.decode()
        assert f'id="id_{field}-error"' in page
        assert "<details open>" in page
    refused = post(team, "shadow", {"candidate": "intents@2", "name": "", "percent": "101"})
    assert 'id="id_shadow_percent-error"' in refused.content.decode()


def test_the_endpoints_own_model_is_offered_first(team: Team, endpoint: Endpoint, version_make: VersionMake) -> None:
    version_make(team.workspace, 1, name="another")
    page = tab(team, "traffic")
    assert page.index('value="intents@2"') < page.index('value="another@1"')
    page = team.developer.browser().get("/endpoints/new?endpoint=intents").content.decode()
    assert 'value="intents@2" selected' in page


def test_a_verdict_is_shown_with_its_numbers(team: Team, endpoint: Endpoint) -> None:
    post(team, "canary", CANARY)
    Revision.objects.filter(number=2).update(status="failed", reason="The golden set differs.")
    canary_look(Canary.objects.get(), ObservedSet())
    check = {"bound": "errors", "stable": 0.01, "canary": 0.25, "limit": 0.02, "noise": 0.05, "broken": True}
    Canary.objects.update(verdict=[check, {**check, "bound": "distance", "canary": None, "broken": False}])
    page = tab(team, "traffic")
    for shown in ("Rolled back", "The golden set differs.", "25.0 %", "1.0 %", "5.0 pp", "broken"):
        assert shown in page
    assert "taken back" in tab(team, "timeline")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": "a lot"}, "whole numbers"),
        ({"steps": "50, 10, 100"}, "rising shares"),
        ({"max_p95_ratio": "0.2"}, "p95 times"),
        ({"step_s": ""}, "whole numbers"),
        ({"candidate": "intents@1"}, "all the traffic already"),
    ],
)
def test_a_refused_canary_says_why_and_keeps_the_form(
    team: Team, endpoint: Endpoint, wrong: dict[str, str], words: str
) -> None:
    answer = post(team, "canary", CANARY | wrong)
    assert answer.status_code in (409, 422)
    page = answer.content.decode()
    assert words in page
    assert "<details open>" in page
    assert not Canary.objects.exists()


def test_shares_names_and_stickiness_are_set_together(team: Team, endpoint: Endpoint) -> None:
    form = {"weight-1": "100", "name-1": "steady", "sticky": "header", "sticky-header": "X-User-Id"}
    assert post(team, "traffic", form).status_code == 302
    page = tab(team, "traffic")
    assert 'value="steady"' in page
    assert 'value="x-user-id"' in page
    refused = post(team, "traffic", form | {"sticky-header": "a b"})
    assert refused.status_code == 422
    assert b"header:NAME" in refused.content


def test_the_shadow_from_its_form_to_the_list_of_differences(team: Team, endpoint: Endpoint) -> None:
    assert "Copy traffic to another version" in tab(team, "shadow")
    made = post(team, "shadow", {"candidate": "intents@2", "name": "", "percent": "40"})
    assert made.status_code == 302
    assert Revision.objects.get(number=2).shadow == 40
    assert not Endpoint.objects.get().shadow_inputs
    assert "has answered nothing yet" in tab(team, "shadow")
    summary = ShadowSummary.objects.create(endpoint=endpoint, champion=1, challenger=2, compared=50, agreed=48)
    ShadowCount.objects.create(summary=summary, champion_label="a&b", challenger_label="<script>", count=2)
    for text in ("<b>where is it?</b>", ""):
        ShadowDifference.objects.create(
            summary=summary, at=timezone.now(), request_id="req_1", input=text,
            champion_label="a&b", champion_score=0.9, challenger_label="<script>", challenger_score=0.6,
        )  # fmt: skip
    page = tab(team, "shadow")
    for shown in ("96.00 %", "&lt;b&gt;where is it?", "&lt;script&gt;", "label=a%26b", "not kept"):
        assert shown in page
    assert "They have not differed" in tab(team, "shadow", label="nothing")
    assert post(team, "shadow/end", {}).status_code == 302
    assert Revision.objects.get(number=2).shadow == 0


def test_shares_that_are_refused_stay_in_their_fields(team: Team, endpoint: Endpoint) -> None:
    form = {"weight-1": "70", "name-1": "steady", "sticky": "header", "sticky-header": "X-User-Id"}
    page = post(team, "traffic", form).content.decode()
    assert "Nothing was changed" in page
    assert 'name="weight-1" value="70"' in page
    assert 'name="name-1" value="steady"' in page
    assert '<option value="header" selected>' in page
    assert 'name="sticky-header" value="X-User-Id"' in page
    assert 'name="weight-1" value="100"' in tab(team, "traffic")


def test_what_answered_then_is_asked_by_a_form(team: Team, endpoint: Endpoint) -> None:
    at = datetime(2026, 11, 17, 14, 5, tzinfo=UTC)
    endpoint.timeline.create(
        kind="moved", at=at - timedelta(hours=1), details={"weights": {"1": 100}, "models": {"1": "intents@1"}}
    )
    page = tab(team, "timeline", at="2026-11-17T14:05")
    assert "<b>100 %</b> intents@1" in page
    assert "until now" in page
    assert "Nothing is known of that moment" in tab(team, "timeline", at="2026-11-17T12:05:00")
    for wrong in ("tomorrow", "2026-13-41T00:00"):
        assert "An example is 2026-11-17T14:05." in tab(team, "timeline", at=wrong)


def test_viewers_see_all_and_change_nothing(team: Team, endpoint: Endpoint) -> None:
    post(team, "canary", CANARY)
    browser = team.viewer.browser()
    for name in ("traffic", "shadow", "timeline"):
        page = browser.get("/endpoints/intents/", {"tab": name}).content.decode()
        assert "/endpoints/intents/canary" not in page
        assert "/endpoints/intents/shadow" not in page
    for path in ("canary", "canary/abort", "canary/promote", "shadow", "shadow/end"):
        assert browser.post(f"/endpoints/intents/{path}").status_code == 403
    assert Canary.objects.get().finished_at is None
