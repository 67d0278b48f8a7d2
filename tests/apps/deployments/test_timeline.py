"""Who put what where, with the numbers of then; and what answered at a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from django.utils import timezone

from apps.core.errors import Invalid
from apps.deployments import selectors, services
from apps.deployments.applying import deployment_apply
from apps.deployments.models import Endpoint, Revision, TimelineEntry
from apps.deployments.observing import deployment_sync
from apps.deployments.presenting import PATTERNS, moment_of
from modelkit.serving.plan import ObservedEndpoint, ObservedSet, Pattern
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Team

NOON = datetime(2026, 11, 17, 12, 0, tzinfo=UTC)


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    for number in (1, 2):
        version_make(team.workspace, number)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    services.revision_create(by=team.developer.identity, endpoint=made, model="intents@2", name="candidate")
    return selectors.endpoint_by_name(team.workspace, "intents")


def report(endpoint: Endpoint, weights: dict[int, int], at: datetime) -> None:
    seen = ObservedEndpoint(
        workspace=endpoint.workspace.public_id,
        name=endpoint.name,
        status="live",
        weights=weights,
        weights_since=at.timestamp(),
    )
    deployment_sync(ObservedSet(endpoints=(seen,)), current=False)


def answered(team: Team, at: str) -> dict[str, Any]:
    body = team.viewer.api("GET", f"/endpoints/intents/timeline?at={at}").json()
    found: dict[str, Any] = body["answered"]
    return found


def test_what_answered_is_what_the_agent_said_not_what_was_wished(team: Team, endpoint: Endpoint) -> None:
    report(endpoint, {1: 100}, NOON)
    report(endpoint, {1: 75, 2: 25}, NOON + timedelta(hours=2))
    report(endpoint, {}, NOON + timedelta(hours=4))
    before = answered(team, "2026-11-17T11:59:59Z")
    assert (before["revisions"], before["since"]) == ([], None)
    at_14_05 = answered(team, "2026-11-17T14:05")
    assert [(r["number"], r["name"], r["model"], r["weight"]) for r in at_14_05["revisions"]] == [
        (1, "", "intents@1", 75),
        (2, "candidate", "intents@2", 25),
    ]
    assert at_14_05["revisions"][0]["mlflow_run_id"] == "r" * 32
    assert datetime.fromisoformat(at_14_05["since"]) == NOON + timedelta(hours=2)
    assert datetime.fromisoformat(at_14_05["until"]) == NOON + timedelta(hours=4)
    now = answered(team, "2026-11-17T16:00:00Z")
    assert (now["revisions"], now["until"]) == ([], None)


def test_offsets_and_the_installations_time_zone(team: Team, endpoint: Endpoint, settings: Any) -> None:
    report(endpoint, {1: 100}, NOON)
    assert answered(team, "2026-11-17T20:00:00%2B08:00")["revisions"]
    assert not answered(team, "2026-11-17T19:59:59%2B08:00")["revisions"]
    # Few callers escape the plus sign, which then means a space.
    assert answered(team, "2026-11-17T20:00:00+08:00")["revisions"]
    assert not answered(team, "2026-11-17T19:59:59+0800")["revisions"]
    settings.TIME_ZONE = "Asia/Shanghai"
    assert answered(team, "2026-11-17T20:00")["revisions"]
    assert not answered(team, "2026-11-17T19:59")["revisions"]


def test_the_same_report_again_is_no_second_move(endpoint: Endpoint) -> None:
    for _ in range(3):
        report(endpoint, {1: 100}, NOON)
    # A new agent sets the same shares at another time: nothing moved.
    report(endpoint, {1: 100}, NOON + timedelta(hours=1))
    assert endpoint.timeline.filter(kind="moved").count() == 1


def test_the_list_ends_at_the_moment_and_a_page_without_one_is_as_before(team: Team, endpoint: Endpoint) -> None:
    TimelineEntry.objects.filter(kind="create").update(at=NOON)
    body = team.viewer.api("GET", "/endpoints/intents/timeline?at=2026-11-17T12:00:00Z").json()
    assert [item["kind"] for item in body["items"]] == ["create"]
    everything = team.viewer.api("GET", "/endpoints/intents/timeline").json()
    assert (everything["answered"], len(everything["items"])) == (None, 2)
    assert everything["items"][0]["mlflow_run_id"] == "r" * 32


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01T00:00", "0001-01-01T00:00:00%2B14:00"])
def test_no_such_moment(team: Team, endpoint: Endpoint, at: str) -> None:
    answer = team.viewer.api("GET", f"/endpoints/intents/timeline?at={at}")
    assert answer.status_code == 422
    assert answer.json()["error"]["fields"]


def test_a_moment_outside_of_time_is_refused() -> None:
    with pytest.raises(Invalid):
        moment_of(datetime.min.replace(tzinfo=timezone.get_fixed_timezone(14 * 60)))


def test_real_traffic_is_noted_with_the_numbers_of_then(
    team: Team, version_make: VersionMake, host: Host, endpoint: Endpoint
) -> None:
    deployment_apply()
    assert host.predict("intents", token=team.owner.token).status_code == 200
    wait_until(lambda: any(row.requests == 1 for row in host.observed().counters), what="the count of the request")
    services.traffic_set(by=team.developer.identity, endpoint=endpoint, weights={1: 40, 2: 60}, sticky="key")
    deployment_apply()
    moves = [e.details["weights"] for e in endpoint.timeline.filter(kind="moved").order_by("at")]
    assert moves == [{"2": 100}, {"1": 40, "2": 60}]
    numbers = endpoint.timeline.filter(kind="moved").order_by("-at")[0].details["numbers"]
    assert numbers["requests"] == 1
    seen = host.endpoint("intents", team.workspace.public_id)
    assert seen is not None
    assert endpoint.timeline.filter(kind="moved").order_by("-at")[0].at.timestamp() == pytest.approx(seen.weights_since)


# --- names and callers that stay --------------------------------------------------------------------------------------


def test_callers_stay_by_what_is_asked(team: Team, endpoint: Endpoint) -> None:
    api = team.developer.api
    Revision.objects.update(status="live", live_at=timezone.now())
    body = {"revisions": {"1": 50, "2": 50}, "sticky": "header:X-User-Id"}
    assert api("PATCH", "/endpoints/intents/traffic", body).json()["sticky"] == "header:x-user-id"
    # Left out, it stays; named, it goes.
    assert api("PATCH", "/endpoints/intents/traffic", {"revisions": {"2": 100}}).json()["sticky"] == "header:x-user-id"
    none = api("PATCH", "/endpoints/intents/traffic", {"revisions": {"2": 100}, "sticky": "none"})
    assert none.json()["sticky"] == "none"
    for wrong in ("cookie", "header:", "header:a b", "header:authorization", "header:" + "x" * 65):
        refused = api("PATCH", "/endpoints/intents/traffic", {"revisions": {"2": 100}, "sticky": wrong})
        assert refused.status_code == 422
        assert "sticky" in refused.json()["error"]["fields"]


def test_a_revision_is_named(team: Team, endpoint: Endpoint) -> None:
    api = team.developer.api
    named = api("PATCH", "/endpoints/intents/revisions/1", {"name": "old faithful"}).json()
    assert {r["number"]: r["name"] for r in named["revisions"]} == {1: "old faithful", 2: "candidate"}
    assert api("PATCH", "/endpoints/intents/revisions/9", {"name": "x"}).status_code == 404
    assert team.viewer.api("PATCH", "/endpoints/intents/revisions/1", {"name": "x"}).status_code == 403


def test_hidden_patterns_are_named_as_the_form_names_them(team: Team, endpoint: Endpoint) -> None:
    """On the timeline, and among the settings of who may only read them."""
    changed = {"rate": 0.1, "patterns": ["email", "card"], "hide_fields": ["customer.name"]}
    services.endpoint_update(by=team.developer.identity, endpoint=endpoint, sampling=changed)
    reader = team.viewer.browser()
    timeline = reader.get("/endpoints/intents/?tab=timeline").content.decode()
    assert "without e-mail addresses, card numbers, customer.name" in timeline
    assert "<dd>e-mail addresses, card numbers</dd>" in reader.get("/endpoints/intents/?tab=settings").content.decode()


def test_every_pattern_has_a_title() -> None:
    assert tuple(PATTERNS) == get_args(Pattern)
