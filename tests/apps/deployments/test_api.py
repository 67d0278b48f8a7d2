"""The routes: shapes, codes, idempotency and who may."""

from __future__ import annotations

import time

import httpx
import pytest

from apps.deployments.applying import deployment_apply, desired_set
from apps.deployments.models import DesiredState, Endpoint, Revision
from modelkit.serving.plan import Runtime
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host
from tests.personas import Team, call

MODEL = {"name": "intents", "model": "intents@1"}


@pytest.fixture(autouse=True)
def _versions(team: Team, version_make: VersionMake) -> None:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2)


def test_the_whole_life_over_rest(team: Team, settings: object) -> None:
    made = team.developer.api("POST", "/endpoints", MODEL)
    assert made.status_code == 201, made.content
    body = made.json()
    assert {"name", "status", "url", "revisions"} <= body.keys()
    assert (body["name"], body["status"]) == ("intents", "pending")
    assert body["url"].endswith("/predict/intents")
    (only,) = body["revisions"]
    assert (only["number"], only["model"], only["weight"], only["status"]) == (1, "intents@1", 100, "pending")
    assert team.developer.api("POST", "/endpoints/intents/revisions", {"model": "intents@1"}).status_code == 200
    second = team.developer.api("POST", "/endpoints/intents/revisions", {"model": "intents@2"})
    assert second.status_code == 201
    assert [(r["number"], r["weight"]) for r in second.json()["revisions"]] == [(2, 100), (1, 0)]
    shared = team.developer.api("PATCH", "/endpoints/intents/traffic", {"revisions": {"1": 10, "2": 90}})
    assert [(r["number"], r["weight"]) for r in shared.json()["revisions"]] == [(2, 90), (1, 10)]
    assert team.developer.api("POST", "/endpoints/intents/stop").status_code == 200
    assert team.developer.api("POST", "/endpoints/intents/start").status_code == 200
    assert team.developer.api("POST", "/endpoints/intents/rollback").json()["error"]["code"] == "nothing_to_roll_back"
    assert [e["name"] for e in team.viewer.api("GET", "/endpoints").json()["items"]] == ["intents"]
    timeline = team.viewer.api("GET", "/endpoints/intents/timeline").json()["items"]
    assert [entry["kind"] for entry in timeline] == ["start", "stop", "traffic", "deploy", "create"]
    assert timeline[-1]["actor"] == "developer"
    assert team.developer.api("DELETE", "/endpoints/intents").status_code == 403
    assert team.maintainer.api("DELETE", "/endpoints/intents").status_code == 204
    assert team.viewer.api("GET", "/endpoints/intents").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/endpoints/intents", None),
        ("GET", "/endpoints/intents/timeline", None),
        ("POST", "/endpoints/intents/revisions", {"model": "intents@2"}),
        ("POST", "/endpoints/intents/stop", None),
        ("POST", "/endpoints/intents/start", None),
        ("POST", "/endpoints/intents/rollback", None),
        ("PATCH", "/endpoints/intents/traffic", {"revisions": {"1": 100}}),
        ("PATCH", "/endpoints/intents", {"limits": {"max_batch": 8}}),
        ("DELETE", "/endpoints/intents", None),
    ],
)
def test_default_deny(team: Team, method: str, path: str, body: object) -> None:
    team.developer.api("POST", "/endpoints", MODEL)
    assert team.outsider.api(method, path, body).status_code == 404
    assert call(method, path, body).status_code == 401
    if method != "GET":
        assert team.viewer.api(method, path, body).status_code == 403
    assert (Endpoint.objects.get().running, Revision.objects.count()) == (True, 1)


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/endpoints", {"name": "intents"}, 422, "model"),
        ("/endpoints", {"name": "Bad Name", "model": "intents@1"}, 422, "name"),
        ("/endpoints", {"name": "a", "model": "intents"}, 422, "model"),
        ("/endpoints", {"name": "a", "model": "intents@1", "replicas": 3}, 422, "replicas"),
        ("/endpoints", {"name": "a", "model": 7}, 422, "model"),
        ("/endpoints", {"name": "a", "model": "intents@9"}, 404, ""),
        ("/endpoints/used/traffic", {"revisions": {"1": 99}}, 422, "revisions"),
        ("/endpoints/used/traffic", {"revisions": {"1": "100"}}, 422, "revisions.1"),
        ("/endpoints/used/traffic", {"revisions": {"one": 100}}, 422, "revisions.one"),
        ("/endpoints/used/traffic", {"revisions": {}}, 422, "revisions"),
        ("/endpoints/used", {"limits": {"max_batch": 0}}, 422, "limits.max_batch"),
        ("/endpoints/used", {"limits": {"max_batch": 5000}}, 422, "limits.max_batch"),
        ("/endpoints/used", {"limits": {"max_bytes": "many"}}, 422, "limits.max_bytes"),
        ("/endpoints/used", {"limits": {"per_second": 3}}, 422, "limits.per_second"),
        ("/endpoints/used", {"title": "x" * 201}, 422, "title"),
        ("/endpoints/used", {"name": "other"}, 422, "name"),
    ],
)
def test_bad_bodies_name_the_field(team: Team, path: str, body: object, status: int, field: str) -> None:
    team.developer.api("POST", "/endpoints", {"name": "used", "model": "intents@1"})
    answer = team.developer.api("PATCH" if "/used" in path else "POST", path, body)
    assert answer.status_code == status, answer.content
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "fields", "hint", "request_id"}
    if field:
        assert field in error["fields"], error


def test_an_existing_endpoint_is_a_conflict_with_a_hint(team: Team) -> None:
    team.developer.api("POST", "/endpoints", MODEL)
    answer = team.developer.api("POST", "/endpoints", MODEL)
    assert answer.status_code == 409
    assert "/endpoints/intents/revisions" in answer.json()["error"]["hint"]


def test_the_same_key_makes_one_endpoint(team: Team) -> None:
    first = team.developer.api("POST", "/endpoints", MODEL, Idempotency_Key="k1")
    again = team.developer.api("POST", "/endpoints", MODEL, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert Endpoint.objects.count() == 1


def test_title_and_limits_are_changed_one_by_one(team: Team) -> None:
    made = team.developer.api("POST", "/endpoints", MODEL).json()
    assert made["limits"] == {
        "max_batch": 256,
        "max_bytes": 1_000_000,
        "max_tokens": 0,
        "rate_per_minute": 0,
        "timeout_s": 60,
    }
    generation = DesiredState.objects.get().generation
    changed = team.developer.api("PATCH", "/endpoints/intents", {"limits": {"max_batch": 8}})
    assert changed.status_code == 200, changed.content
    assert changed.json()["limits"] == made["limits"] | {"max_batch": 8}
    assert DesiredState.objects.get().generation == generation + 1
    titled = team.developer.api("PATCH", "/endpoints/intents", {"title": "Tickets"}).json()
    assert (titled["title"], titled["limits"]["max_batch"]) == ("Tickets", 8)
    again = team.developer.api("PATCH", "/endpoints/intents", {"limits": {"max_batch": 8}})
    assert again.status_code == 200
    assert DesiredState.objects.get().generation == generation + 1
    back = team.developer.api("PATCH", "/endpoints/intents", {"limits": {"max_batch": 256}})
    assert back.json()["limits"]["max_batch"] == 256
    assert Endpoint.objects.get().limits == {}
    timeline = team.viewer.api("GET", "/endpoints/intents/timeline").json()["items"]
    assert [entry["kind"] for entry in timeline] == ["limits", "limits", "create"]
    assert timeline[1]["details"]["limits"] == made["limits"] | {"max_batch": 8}


def test_placement_is_changed_beside_the_limits_and_reaches_the_desired_set(team: Team) -> None:
    made = team.developer.api("POST", "/endpoints", MODEL).json()
    assert made["placement"] == {"replicas": 1, "memory_mb": 0, "shared": False, "idle_s": 0}
    body = {"placement": {"replicas": 2, "idle_s": 600}, "limits": {"timeout_s": 5}}
    changed = team.developer.api("PATCH", "/endpoints/intents", body)
    assert changed.json()["placement"] == {"replicas": 2, "memory_mb": 0, "shared": False, "idle_s": 600}
    (desired,) = desired_set().endpoints
    assert (desired.placement.replicas, desired.placement.idle_s, desired.limits.timeout_s) == (2, 600, 5)
    refused = team.developer.api("PATCH", "/endpoints/intents", {"placement": {"replicas": 99}})
    assert refused.status_code == 422
    kinds = [entry["kind"] for entry in team.viewer.api("GET", "/endpoints/intents/timeline").json()["items"]]
    assert sorted(kinds) == ["create", "limits", "placement"]


def test_a_goal_is_measured_and_the_user_may_override_the_choice(team: Team, host: Host) -> None:
    made = team.developer.api("POST", "/endpoints", {**MODEL, "goal": "latency"})
    assert made.status_code == 201, made.content
    deployment_apply()
    (live,) = team.viewer.api("GET", "/endpoints/intents").json()["revisions"]
    assert (live["status"], live["goal"]) == ("live", "latency")
    assert live["runtime"]["engine"] == "onnxruntime"
    assert live["tuning"]["candidates"][0]["passes"] is True
    assert "onnxruntime" in live["tuning"]["reason"]
    # What was measured is kept: the next start of the host measures nothing.
    assert desired_set().endpoints[0].revisions[0].runtime is not None
    page = team.viewer.browser().get("/endpoints/intents/?tab=traffic").content.decode()
    assert "Runtimes measured for revision 1" in page
    assert "cannot run this model" in page
    fixed = {**MODEL, "runtime": {"engine": "onnxruntime", "slots": 1}}
    del fixed["name"]
    assert team.developer.api("POST", "/endpoints/intents/revisions", fixed).status_code == 201
    assert desired_set().endpoints[0].revisions[0].runtime == Runtime(slots=1)
    # The same again is deployed already; by another runtime it is not.
    assert team.developer.api("POST", "/endpoints/intents/revisions", fixed).status_code == 200


def test_an_unknown_engine_or_goal_is_refused_by_name(team: Team) -> None:
    team.developer.api("POST", "/endpoints", MODEL)
    for wrong, field in (({"runtime": {"engine": "warp"}}, "engine"), ({"goal": "beauty"}, "goal")):
        refused = team.developer.api("POST", "/endpoints/intents/revisions", {"model": "intents@2", **wrong})
        assert refused.status_code == 422
        assert any(field in name for name in refused.json()["error"]["fields"])


def test_limits_reach_the_serving_port_without_a_restart(team: Team, host: Host) -> None:
    team.developer.api("POST", "/endpoints", MODEL)
    deployment_apply()
    key = {"authorization": f"Bearer {team.viewer.token}"}
    url = f"{host.url}/predict/intents"
    pid = host.observed().front.pid
    assert httpx.post(url, json={"inputs": ["card"] * 3}, headers=key).status_code == 200
    team.developer.api("PATCH", "/endpoints/intents", {"limits": {"max_batch": 2, "max_bytes": 200}})
    deployment_apply()
    until = time.monotonic() + 20
    while httpx.post(url, json={"inputs": ["card"] * 3}, headers=key).status_code == 200:
        assert time.monotonic() < until, "the front never took the new limits"
        time.sleep(0.05)
    assert httpx.post(url, json={"inputs": ["card"] * 3}, headers=key).status_code == 422
    assert httpx.post(url, json={"inputs": ["card " * 100]}, headers=key).status_code == 413
    assert httpx.post(url, json={"inputs": ["card"] * 2}, headers=key).status_code == 200
    assert host.observed().front.pid == pid
