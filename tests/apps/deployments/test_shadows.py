"""Shadows: what may be set, what the front's files become, and the whole way over real processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import Conflict, Invalid
from apps.deployments import selectors, services, shadows
from apps.deployments.applying import deployment_apply, desired_set
from apps.deployments.models import Endpoint, Revision, ShadowBatch, ShadowDifference, ShadowSummary
from apps.deployments.watching import traffic_watch
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Team


def again(endpoint: Endpoint) -> Endpoint:
    return selectors.endpoint_by_name(endpoint.workspace, endpoint.name)


def shares(endpoint: Endpoint) -> dict[int, tuple[int, int]]:
    return {r.number: (r.weight, r.shadow) for r in again(endpoint).revisions.all()}


def batch(endpoint: Endpoint, *examples: tuple[str, str, str], agreed: int = 0, **more: Any) -> dict[str, Any]:
    labels: dict[tuple[str, str], int] = {("card", "card"): agreed} if agreed else {}
    for _text, champion, challenger in examples:
        labels[(champion, challenger)] = labels.get((champion, challenger), 0) + 1
    pair = {
        "workspace": endpoint.workspace.public_id, "name": endpoint.name, "champion": 1, "challenger": 2,
        "sent": agreed + len(examples), "dropped": 1, "failed": 2, "compared": agreed + len(examples), "agreed": agreed,
        "labels": [[*pair, count] for pair, count in labels.items()],
        "examples": [
            {
                "at": time.time(), "request_id": f"req_{i}", "input": text,
                "champion": {"label": champion, "score": 0.9}, "challenger": {"label": challenger, "score": 0.6},
            }
            for i, (text, champion, challenger) in enumerate(examples)
        ],
    }  # fmt: skip
    return {"pairs": [pair | more]}


def put(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_shadow_is_desired_without_traffic_and_ends_by_request(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    shadows.shadow_set(by=by, endpoint=endpoint, model="intents@2", percent=30, keep_inputs=False)
    assert shares(endpoint) == {1: (100, 0), 2: (0, 30)}
    (wanted,) = desired_set().endpoints
    assert [(r.number, r.weight, r.shadow) for r in wanted.revisions] == [(1, 100, 0), (2, 0, 30)]
    assert not wanted.shadow_inputs
    # Once more with another share: the same revision.
    shadows.shadow_set(by=by, endpoint=endpoint, model="intents@2", percent=60)
    assert shares(endpoint) == {1: (100, 0), 2: (0, 60)}
    shadows.shadow_end(by=by, endpoint=endpoint)
    assert shares(endpoint) == {1: (100, 0), 2: (0, 0)}
    assert [e.kind for e in selectors.timeline_of(endpoint)][:3] == ["shadow_end", "shadow", "shadow"]


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({"model": "intents@2", "percent": 0}, "percent"),
        ({"model": "intents@2", "percent": 101}, "percent"),
        ({"model": "intents@2", "revision": 1}, "model"),
        ({}, "model"),
        ({"revision": 1}, "revision"),
        ({"revision": 7}, "revision"),
    ],
)
def test_what_cannot_be_a_shadow(team: Team, endpoint: Endpoint, what: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        shadows.shadow_set(by=team.developer.identity, endpoint=endpoint, **what)
    assert field in caught.value.fields


def test_a_shadow_that_gets_traffic_is_none_any_more(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    shadows.shadow_set(by=by, endpoint=endpoint, model="intents@2")
    services.traffic_set(by=by, endpoint=endpoint, weights={1: 90, 2: 10})
    assert shares(endpoint) == {1: (90, 0), 2: (10, 0)}


def test_stopping_and_starting_keep_it(team: Team, endpoint: Endpoint) -> None:
    by = team.developer.identity
    shadows.shadow_set(by=by, endpoint=endpoint, model="intents@2")
    services.endpoint_stop(by=by, endpoint=again(endpoint))
    with pytest.raises(Conflict):
        shadows.shadow_set(by=by, endpoint=again(endpoint), model="intents@2")
    Revision.objects.update(status="stopped")
    services.endpoint_start(by=by, endpoint=again(endpoint))
    assert shares(endpoint) == {1: (100, 0), 2: (0, 100)}
    assert {r.status for r in Revision.objects.all()} == {"pending"}


def test_files_are_taken_in_once_and_add_up(endpoint: Endpoint, home: Path, team: Team) -> None:
    shadows.shadow_set(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    folder = home / "serving" / "shadow"
    first = batch(endpoint, ("a", "card", "refund"), ("b", "card", "refund"), ("c", "refund", "card"), agreed=5)
    put(folder, "1.json", first)
    put(folder, "2.json", batch(endpoint, ("d", "card", "transfer"), agreed=1))
    put(folder, "3.json", "not json")
    put(folder, "4.part", "half")
    assert shadows.batches_take(folder) == 2
    # As after a death between commit and removal.
    put(folder, "1.json", first)
    assert shadows.batches_take(folder) == 0
    assert [path.name for path in folder.iterdir()] == ["4.part"]
    summary = ShadowSummary.objects.get()
    assert (summary.compared, summary.agreed, summary.dropped, summary.failed) == (10, 6, 2, 4)
    card, refund = selectors.shadow_classes(summary)
    assert (card.label, card.compared, card.agreed, card.instead) == ("card", 9, 6, [("refund", 2), ("transfer", 1)])
    assert (refund.label, refund.compared, refund.agreed) == ("refund", 1, 0)
    assert [row.input for row in selectors.shadow_differences(endpoint)] == ["d", "c", "b", "a"]
    assert selectors.shadow_differences(endpoint, label="transfer").get().input == "d"
    assert ShadowBatch.objects.count() == 2


def test_differences_are_bounded_and_old_ones_go(
    endpoint: Endpoint, home: Path, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "KEEP_DIFFERENCES", 3)
    shadows.shadow_set(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    put(home / "shadow", "1.json", batch(endpoint, *[(f"text {i}", "card", "refund") for i in range(8)]))
    shadows.batches_take(home / "shadow")
    assert [row.input for row in selectors.shadow_differences(endpoint)] == ["text 7", "text 6", "text 5"]
    monkeypatch.setattr(shadows, "KEEP_DAYS", 0)
    put(home / "shadow", "2.json", batch(endpoint, agreed=1))
    shadows.batches_take(home / "shadow")
    assert not ShadowDifference.objects.exists()


def test_files_of_what_is_gone_are_let_go(endpoint: Endpoint, home: Path) -> None:
    put(home / "shadow", "1.json", batch(endpoint, ("a", "card", "refund"), name="other"))
    put(home / "shadow", "2.json", batch(endpoint, ("a", "card", "refund"), challenger=9))
    shadows.batches_take(home / "shadow")
    assert not ShadowSummary.objects.exists()
    assert not list((home / "shadow").iterdir())


def test_from_the_request_to_the_disagreement_by_rest(
    team: Team, version_make: VersionMake, host: Host, home: Path
) -> None:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2, bias=3.0)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    deployment_apply()
    put_it = team.developer.api("PUT", "/endpoints/intents/shadow", {"model": "intents@2", "name": "challenger"})
    assert put_it.status_code == 200
    deployment_apply()
    endpoint = again(made)
    assert (endpoint.status, {r.number: r.status for r in endpoint.revisions.all()}) == ("live", {1: "live", 2: "live"})
    for text in ("refund refund", "transfer transfer"):
        assert host.predict("intents", text, token=team.owner.token).json()["model"] == "intents@1"

    def arrived() -> bool:
        traffic_watch()
        return ShadowSummary.objects.filter(compared=2).exists()

    wait_until(arrived, what="the comparison")
    body = team.viewer.api("GET", "/endpoints/intents/shadow").json()
    assert (body["revision"]["number"], body["revision"]["name"], body["revision"]["shadow"]) == (2, "challenger", 100)
    (comparison,) = body["comparisons"]
    assert (comparison["champion"], comparison["challenger"], comparison["agreement"]) == (1, 2, 0.5)
    assert comparison["classes"][0] == {"label": "refund", "compared": 1, "agreed": 0, "instead": {"transfer": 1}}
    (difference,) = team.viewer.api("GET", "/endpoints/intents/shadow/differences").json()["items"]
    assert difference["input"] == "refund refund"
    assert (difference["champion"]["label"], difference["challenger"]["label"]) == ("refund", "transfer")
    assert team.outsider.api("GET", "/endpoints/intents/shadow/differences").status_code == 404
    assert team.developer.api("DELETE", "/endpoints/intents/shadow").json()["revision"] is None


def test_a_shadow_that_fails_its_checks_leaves_the_endpoint_whole(
    team: Team, version_make: VersionMake, host: Host
) -> None:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2, golden_bias=5.0, bias=0.5)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    deployment_apply()
    shadows.shadow_set(by=team.developer.identity, endpoint=made, model="intents@2")
    deployment_apply()
    deployment_apply()
    assert shares(made) == {1: (100, 0), 2: (0, 0)}
    assert again(made).status == "live"
    assert Revision.objects.get(number=2).status == "failed"
