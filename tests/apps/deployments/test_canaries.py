"""A canary from its start to each of its ends, by reports as the agent makes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEntry
from apps.core.errors import Conflict, Forbidden, Invalid
from apps.deployments import canaries, selectors, services
from apps.deployments.canaries import canary_look
from apps.deployments.models import Canary, Endpoint, Revision
from modelkit.serving.plan import ObservedEndpoint, ObservedRevision, ObservedSet, RevisionTally
from modelkit.serving.tally import BOUNDS_MS
from tests.apps.deployments.conftest import VersionMake
from tests.personas import Team


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    """`intents` with version 1 live, versions 2 and 3 published."""
    for number in (1, 2, 3):
        version_make(team.workspace, number)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    Revision.objects.filter(endpoint=made, number=1).update(status="live", live_at=timezone.now())
    return again(made)


def again(endpoint: Endpoint) -> Endpoint:
    return selectors.endpoint_by_name(endpoint.workspace, endpoint.name)


def weights(endpoint: Endpoint) -> dict[int, int]:
    return {r.number: r.weight for r in again(endpoint).revisions.all() if r.weight}


class Reports:
    """What the agent would report: where traffic points, and what each revision has done so far."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.totals: dict[int, dict[str, Any]] = {}
        self.since = 1.0
        self.crashes = 0

    def count(self, number: int, requests: int, *, failures: int = 0, label: str = "card", ms: float = 8) -> None:
        total = self.totals.setdefault(
            number, {"requests": 0, "failures": 0, "labels": {}, "buckets": [0] * (len(BOUNDS_MS) + 1)}
        )
        total["requests"] += requests
        total["failures"] += failures
        total["labels"][label] = total["labels"].get(label, 0) + requests - failures
        total["buckets"][next(i for i, bound in enumerate(BOUNDS_MS) if ms <= bound)] += requests - failures

    def report(self, **points: int) -> ObservedSet:
        workspace, name = self.endpoint.workspace.public_id, self.endpoint.name
        pointed = {int(n[1:]): w for n, w in points.items()} if points else weights(self.endpoint)
        return ObservedSet(
            endpoints=(
                ObservedEndpoint(
                    workspace=workspace,
                    name=name,
                    status="live",
                    weights=pointed,
                    revisions=tuple(
                        ObservedRevision(number=n, status="live", restarts=self.crashes if n > 1 else 0)
                        for n in pointed
                    ),
                ),
            ),
            tallies=tuple(
                RevisionTally(workspace=workspace, name=name, number=n, since=self.since, **total)
                for n, total in self.totals.items()
            ),
        )

    def look(self, **points: int) -> Canary:
        canary = Canary.objects.get(endpoint=self.endpoint)
        canary_look(canary, self.report(**points))
        canary.refresh_from_db()
        return canary


def start(team: Team, endpoint: Endpoint, **how: Any) -> Reports:
    """A canary of version 2 whose revision has passed its checks."""
    how = {"model": "intents@2", "step_s": 60, **how}
    canaries.canary_start(by=team.developer.identity, endpoint=again(endpoint), **how)
    Revision.objects.filter(endpoint=endpoint, number=2).update(status="live", live_at=timezone.now())
    return Reports(endpoint)


def step_over(endpoint: Endpoint) -> None:
    Canary.objects.filter(endpoint=endpoint).update(step_began_at=timezone.now() - timedelta(seconds=61))


def test_it_starts_with_the_first_share_and_writes_that_down(team: Team, endpoint: Endpoint) -> None:
    start(team, endpoint, name="candidate")
    assert weights(endpoint) == {1: 95, 2: 5}
    assert Revision.objects.get(number=2).name == "candidate"
    entry = selectors.timeline_of(endpoint)[0]
    assert (entry.kind, entry.revision, entry.model_ref) == ("canary", 2, "intents@2")
    assert AuditEntry.objects.filter(action="endpoint.canary_start", target="intents").count() == 1


def test_it_rises_step_by_step_to_the_whole_traffic(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    for share in (5, 25, 50):
        assert weights(endpoint) == {1: 100 - share, 2: share}
        assert reports.look().step_began_at is not None
        reports.count(1, 300)
        reports.count(2, 150)
        reports.look()
        assert weights(endpoint) == {1: 100 - share, 2: share}
        step_over(endpoint)
        reports.look()
    canary = Canary.objects.get()
    assert canary.status == "promoted"
    assert canary.reason == ("No bound broke in 3 steps, while it answered 450 requests and the stable revision 900.")
    assert weights(endpoint) == {2: 100}
    assert [step["share"] for step in canary.passed] == [5, 25, 50]
    assert canary.passed[0]["requests"] == {"stable": 300, "canary": 150}
    kinds = [entry.kind for entry in selectors.timeline_of(endpoint)]
    assert kinds[:4] == ["canary_end", "canary_step", "canary_step", "canary"]
    # Nothing is left to move.
    reports.look()
    assert weights(endpoint) == {2: 100}


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"failures": 60}, "requests failed"),
        ({"ms": 200}, "95th percentile"),
        ({"label": "refund"}, "labels"),
    ],
)
def test_a_broken_bound_takes_the_traffic_back_and_says_which(
    team: Team, endpoint: Endpoint, worse: dict[str, Any], words: str
) -> None:
    reports = start(team, endpoint)
    reports.look()
    reports.count(1, 2000)
    reports.count(2, 120, **worse)
    # At once: the step has not lasted its time.
    canary = reports.look()
    assert canary.status == "rolled_back"
    assert weights(endpoint) == {1: 100}
    assert words in canary.reason
    assert sum(check["broken"] for check in canary.verdict) >= 1
    entry = selectors.timeline_of(endpoint)[0]
    assert (entry.kind, entry.details["outcome"], entry.actor) == ("canary_end", "rolled_back", None)


def test_a_crash_takes_it_back_but_not_the_count_of_another_agent(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    reports.crashes = 3
    reports.look()
    reports.crashes = 0
    assert reports.look().status == "ramping"
    reports.crashes = 1
    canary = reports.look()
    assert canary.status == "rolled_back"
    assert "died" in canary.reason


def test_too_few_requests_wait_and_say_so(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    reports.look()
    reports.count(1, 2000)
    reports.count(2, 37)
    step_over(endpoint)
    canary = reports.look()
    assert (canary.status, canary.share) == ("ramping", 5)
    assert canaries.missing_requests(canary) == 63


def test_what_came_before_a_step_is_not_counted_in_it(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    reports.count(2, 500, failures=500)
    assert reports.look().status == "ramping"
    reports.count(1, 200)
    reports.count(2, 200)
    stable, own = canaries.numbers_of(reports.look())
    assert (stable.requests, own.requests, own.failures) == (200, 200, 0)


def test_a_step_begins_when_its_traffic_has_come(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    assert reports.look(r1=100).step_began_at is None
    assert reports.look(r1=95, r2=5).step_began_at is not None


def test_the_same_report_twice_counts_once_and_a_new_front_loses_nothing(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    reports.look()
    reports.count(1, 50)
    reports.count(2, 50)
    reports.look()
    assert canaries.numbers_of(reports.look())[1].requests == 50
    reports.totals, reports.since = {}, 2.0
    reports.count(2, 20)
    assert canaries.numbers_of(reports.look())[1].requests == 70


def test_a_look_that_dies_in_the_middle_leaves_all_as_it_was(
    team: Team, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = start(team, endpoint)
    reports.look()
    reports.count(1, 200)
    reports.count(2, 200)
    step_over(endpoint)
    before = Canary.objects.values().get()

    def die() -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(canaries, "desired_changed", die)
        with pytest.raises(SystemExit):
            reports.look()
    assert Canary.objects.values().get() == before
    assert weights(endpoint) == {1: 95, 2: 5}
    assert reports.look().share == 25


def test_a_failed_revision_ends_it(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    Revision.objects.filter(number=2).update(status="failed", reason="Its golden set differs.")
    canary = reports.look()
    assert (canary.status, str(canary.reason)) == ("rolled_back", "Its golden set differs.")
    assert weights(endpoint) == {1: 100}


def test_shares_that_something_else_changed_end_it(team: Team, endpoint: Endpoint) -> None:
    reports = start(team, endpoint)
    Revision.objects.filter(number=1).update(weight=0, status="failed")
    Revision.objects.filter(number=2).update(weight=100)
    assert reports.look().status == "aborted"
    assert weights(endpoint) == {2: 100}


# --- people ---------------------------------------------------------------------------------------------------------


def test_pause_holds_the_share_but_not_the_judge(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    reports = start(team, endpoint)
    canaries.canary_pause(by=by, endpoint=endpoint)
    reports.look()
    reports.count(1, 500)
    reports.count(2, 500)
    step_over(endpoint)
    assert reports.look().share == 5
    canaries.canary_resume(by=by, endpoint=endpoint)
    assert reports.look().share == 25
    canaries.canary_pause(by=by, endpoint=endpoint)
    reports.look()
    reports.count(1, 500)
    reports.count(2, 500, failures=400)
    assert reports.look().status == "rolled_back"


def test_promote_and_abort_by_people(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    start(team, endpoint)
    assert canaries.canary_promote(by=by, endpoint=endpoint).status == "promoted"
    assert weights(endpoint) == {2: 100}
    canaries.canary_start(by=by, endpoint=again(endpoint), model="intents@3")
    with pytest.raises(Conflict) as caught:
        canaries.canary_promote(by=by, endpoint=endpoint)
    assert caught.value.code == "canary_not_live"
    ended = canaries.canary_abort(by=by, endpoint=endpoint)
    assert (ended.status, ended.finished_by) == ("aborted", by.user)
    assert weights(endpoint) == {2: 100}
    with pytest.raises(Conflict) as caught:
        canaries.canary_abort(by=by, endpoint=endpoint)
    assert caught.value.code == "no_canary"


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({"steps": [5, 5, 100]}, "steps"),
        ({"steps": [5, 50]}, "steps"),
        ({"steps": [100]}, "steps"),
        ({"step_s": 0}, "step_s"),
        ({"model": ""}, "model"),
        ({"revision": 1}, "model"),
        ({"model": "", "revision": 1}, "revision"),
        ({"model": "", "revision": 9}, "revision"),
        ({"model": "intents@1"}, "model"),
        ({"name": "x" * 61}, "name"),
    ],
)
def test_what_cannot_be_started(team: Team, endpoint: Endpoint, what: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        start(team, endpoint, **what)
    assert field in caught.value.fields
    assert weights(endpoint) == {1: 100}
    assert Revision.objects.count() == 1


def test_a_canary_needs_one_live_revision_with_all_the_traffic(team: Team, endpoint: Endpoint) -> None:
    Revision.objects.update(status="starting")
    with pytest.raises(Conflict) as caught:
        start(team, endpoint)
    assert caught.value.code == "no_stable_revision"


def test_viewers_change_nothing_and_outsiders_see_nothing(team: Team, endpoint: Endpoint) -> None:
    with pytest.raises(Forbidden):
        canaries.canary_start(by=team.viewer.identity, endpoint=endpoint, model="intents@2")
    assert team.outsider.api("GET", "/endpoints/intents/canary").status_code == 404
    assert team.outsider.api("POST", "/endpoints/intents/canary", {"model": "intents@2"}).status_code == 404


# --- with other changes -----------------------------------------------------------------------------------------------


def test_while_it_runs_deploying_sharing_and_a_second_one_are_refused(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    start(team, endpoint)
    endpoint = again(endpoint)
    attempts = (
        lambda: services.revision_create(by=by, endpoint=endpoint, model="intents@3"),
        lambda: services.traffic_set(by=by, endpoint=endpoint, weights={1: 50, 2: 50}),
        lambda: canaries.canary_start(by=by, endpoint=endpoint, model="intents@3"),
    )
    for attempt in attempts:
        with pytest.raises(Conflict) as caught:
            attempt()
        assert caught.value.code == "canary_running"
    assert weights(endpoint) == {1: 95, 2: 5}


def test_rolling_back_ends_it_and_so_does_stopping(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    start(team, endpoint, steps=[60, 100])
    services.endpoint_rollback(by=by, endpoint=again(endpoint))
    assert weights(endpoint) == {1: 100}
    assert Canary.objects.get().status == "aborted"
    canaries.canary_start(by=by, endpoint=again(endpoint), model="intents@3")
    services.endpoint_stop(by=by, endpoint=again(endpoint))
    assert weights(endpoint) == {1: 100}
    assert not Canary.objects.filter(finished_at=None).exists()
    services.endpoint_start(by=by, endpoint=again(endpoint))
    assert weights(endpoint) == {1: 100}


def test_nobody_goes_back_to_what_was_only_tried(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    start(team, endpoint)
    canaries.canary_abort(by=by, endpoint=endpoint)
    services.revision_create(by=by, endpoint=again(endpoint), model="intents@3")
    target = selectors.rollback_target(again(endpoint))
    assert target is not None
    assert target.number == 1
    # One that was promoted is as good as deployed.
    Revision.objects.filter(number=3).update(status="live", live_at=timezone.now())
    canaries.canary_start(by=by, endpoint=again(endpoint), model="intents@2")
    Revision.objects.filter(number=4).update(status="live", live_at=timezone.now())
    canaries.canary_promote(by=by, endpoint=endpoint)
    services.revision_create(by=by, endpoint=again(endpoint), model="intents@1")
    target = selectors.rollback_target(again(endpoint))
    assert target is not None
    assert target.number == 4


def test_deleting_the_endpoint_takes_it_along(team: Team, endpoint: Endpoint) -> None:
    start(team, endpoint)
    services.endpoint_delete(by=team.maintainer.identity, endpoint=again(endpoint))
    assert not Canary.objects.exists()


def test_the_whole_of_it_by_rest(team: Team, endpoint: Endpoint) -> None:
    api = team.developer.api
    assert api("GET", "/endpoints/intents/canary").status_code == 404
    made = api("POST", "/endpoints/intents/canary", {"model": "intents@2", "bounds": {"max_distance": 0.3}})
    assert made.status_code == 201
    body = made.json()
    assert (body["status"], body["share"], body["missing_requests"]) == ("ramping", 5, 100)
    assert body["bounds"]["max_distance"] == 0.3
    assert api("POST", "/endpoints/intents/canary/pause").json()["status"] == "paused"
    assert api("POST", "/endpoints/intents/canary/resume").json()["status"] == "ramping"
    assert api("POST", "/endpoints/intents/canary/abort").json()["status"] == "aborted"
    assert len(api("GET", "/endpoints/intents/canaries").json()["items"]) == 1
    wrong = api("POST", "/endpoints/intents/canary", {"model": "intents@2", "bounds": {"max_p95_ratio": 0.5}})
    assert wrong.status_code == 422
    assert any("max_p95_ratio" in field for field in wrong.json()["error"]["fields"])
    assert team.viewer.api("GET", "/endpoints/intents/canary").status_code == 200
    assert team.viewer.api("POST", "/endpoints/intents/canary/pause").status_code == 403
