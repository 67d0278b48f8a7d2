"""The routes: shapes, codes, idempotency and who may."""

from __future__ import annotations

import pytest

from apps.deployments.models import Endpoint, Revision
from tests.apps.deployments.conftest import VersionMake
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
    assert body["revisions"] == [{"number": 1, "model": "intents@1", "weight": 100, "status": "pending", "reason": ""}]
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
        ("/endpoints/used/traffic", {"revisions": {"one": 100}}, 422, "revisions.one.[key]"),
        ("/endpoints/used/traffic", {"revisions": {}}, 422, "revisions"),
    ],
)
def test_bad_bodies_name_the_field(team: Team, path: str, body: object, status: int, field: str) -> None:
    team.developer.api("POST", "/endpoints", {"name": "used", "model": "intents@1"})
    answer = team.developer.api("PATCH" if path.endswith("traffic") else "POST", path, body)
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
