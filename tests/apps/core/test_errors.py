"""The one error shape, however a call fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts import api as accounts_api
from apps.accounts.models import ApiToken
from apps.core.errors import CODES, of_status
from tests.personas import Team, call

SHAPE = {"code", "message", "fields", "hint", "request_id"}


def error_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"].startswith("application/json")
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == SHAPE
    assert error["code"] == code
    assert error["message"]
    assert isinstance(error["fields"], dict)
    assert error["request_id"] == answer["X-Request-ID"]
    return error


@pytest.mark.parametrize("status", [*CODES, 418, 502])
def test_every_status_comes_with_a_remedy(status: int) -> None:
    assert of_status(status).hint


def test_without_a_token(team: Team) -> None:
    answer = call("GET", "/me")
    error_of(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("token", ["", "ty_wrong", "Basic abc", "nonsense"])
def test_a_wrong_token_is_401_for_every_method(team: Team, method: str, token: str) -> None:
    path = {"GET": "/me", "POST": "/tokens", "PUT": "/models/a/aliases/b", "DELETE": "/tokens/x"}[method]
    error = error_of(call(method, path, {}, Authorization=f"Bearer {token}"), 401, "unauthenticated")
    assert error["hint"]


def test_an_unknown_address(team: Team) -> None:
    known = error_of(team.owner.api("GET", "/nothing"), 404, "not_found")
    unknown = error_of(call("GET", "/nothing"), 404, "not_found")
    assert known["message"] == unknown["message"]


def test_a_slash_at_the_end_changes_nothing(team: Team) -> None:
    made = team.owner.api("POST", "/datasets/", {"name": "tickets", "task": "text_classification"})
    assert made.status_code == 201, made.content
    assert team.owner.api("GET", "/datasets/tickets/").json() == team.owner.api("GET", "/datasets/tickets").json()
    error_of(call("GET", "/datasets/"), 401, "unauthenticated")
    error_of(team.owner.api("GET", "/nothing/"), 404, "not_found")
    error_of(team.owner.api("GET", "/"), 404, "not_found")


JOB = {"kind": "train", "task": "text_classification", "dataset": "a@1", "base_model": "minilm-l6", "model_name": "m"}


@pytest.mark.parametrize(
    ("path", "body", "field", "says"),
    [
        ("/jobs", {**JOB, "dataset": "a"}, "dataset", "such as tickets@1"),
        ("/jobs", {**JOB, "surprise": 1}, "surprise", "not permitted"),
        ("/jobs", {**JOB, "budget_minutes": -1}, "budget_minutes", "greater than 0"),
        ("/jobs", {key: value for key, value in JOB.items() if key != "model_name"}, "model_name", "required"),
        ("/jobs", {**JOB, "kind": "teach"}, "kind", "'train', 'compress', 'predict'"),
        ("/jobs", {}, "kind", "required"),
        ("/base-models", {"source": {"kind": "hub", "repo": 1}}, "source.repo", "string"),
        ("/base-models", {"source": {"kind": "post"}}, "source.kind", "'hub'"),
        ("/base-models", {"source": {}}, "source.kind", "required"),
        ("/endpoints/e/traffic", {"revisions": {"two": 100}}, "revisions.two", "integer"),
        ("/endpoints", {"name": "e", "model": "nothing@1"}, "model", "no model named nothing"),
    ],
)  # fmt: skip
def test_a_field_is_named_as_it_was_sent(team: Team, path: str, body: dict[str, Any], field: str, says: str) -> None:
    answer = team.owner.api("PATCH" if path.endswith("traffic") else "POST", path, body)
    error = answer.json()["error"]
    assert answer.status_code in {404, 422}
    assert list(error["fields"]) == [field]
    assert says in error["fields"][field]


@pytest.mark.parametrize("path", ["/jobs/abcdefabcdef", "/jobs/abcdefabcdef/logs", "/tasks/magic", "/endpoints/e"])
def test_what_is_not_there_comes_with_a_hint(team: Team, path: str) -> None:
    answer = team.owner.api("GET", path)
    assert answer.status_code == 404
    assert answer.json()["error"]["hint"]


@pytest.mark.parametrize("path", ["/base-models/import", "/workspaces/switch"])
def test_where_a_form_leads_to_has_a_page_that_says_so(team: Team, path: str) -> None:
    answer = team.owner.browser().get(path)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "A form is sent to this address; it has no page." in answer.content.decode()


def test_a_wrong_method_names_the_right_ones(team: Team) -> None:
    answer = team.owner.api("PUT", "/tokens", {})
    error_of(answer, 405, "method_not_allowed")
    assert set(answer["Allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"name": NaN}', b'{"name": "\\ud800"}', b"[" * 2000])
def test_malformed_json(team: Team, body: bytes) -> None:
    answer = team.owner.api("POST", "/tokens", body)
    error_of(answer, answer.status_code, "malformed_json" if body else "invalid")
    assert answer.status_code == (400 if body else 422)


def test_wrong_values_are_named_by_path(team: Team) -> None:
    error = error_of(team.owner.api("POST", "/tokens", {"role": "king", "extra": 1}), 422, "invalid")
    assert set(error["fields"]) == {"name", "role", "extra"}
    assert error["hint"]
    error = error_of(team.owner.api("GET", "/tokens?limit=0"), 422, "invalid")
    assert set(error["fields"]) == {"limit"}
    error = error_of(team.owner.api("POST", "/base-models", {"source": {"kind": "folder"}}), 422, "invalid")
    assert set(error["fields"]) == {"source.path"}
    error = error_of(team.owner.api("GET", "/models/a/versions/x"), 422, "invalid")
    assert set(error["fields"]) == {"number"}


@pytest.mark.parametrize("path", ["/tokens?cursor=%00", "/members/a%00b"])
def test_a_nul_character_is_refused(team: Team, path: str) -> None:
    error = error_of(team.owner.api("GET", path), 400, "nul_character")
    assert error["hint"]
    error_of(team.owner.api("POST", "/tokens", b'{"name": "a\\u0000", "role": "viewer"}'), 422, "nul_character")
    assert not ApiToken.objects.filter(name__startswith="a").exists()


def test_too_large_a_body(team: Team, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    before = ApiToken.objects.count()
    error_of(team.owner.api("POST", "/tokens", {"name": "x" * 2000, "role": "viewer"}), 413, "too_large")
    settings.UPLOAD_LIMIT_BYTES = 0
    error_of(team.owner.api("POST", "/tokens", b" " * 1_100_000), 413, "too_large")
    assert ApiToken.objects.count() == before


def test_a_session_needs_the_csrf_token(team: Team) -> None:
    client = team.owner.browser(enforce_csrf_checks=True)
    assert client.get("/api/v1/me").status_code == 200
    body = '{"name": "ci", "role": "viewer"}'
    error_of(client.post("/api/v1/tokens", body, content_type="application/json"), 403, "csrf_failed")
    client.get("/accounts/password/change/")
    token = next(cookie.value for name, cookie in client.cookies.items() if "csrf" in name)
    headers = {"X-CSRFToken": token}
    answer = client.post("/api/v1/tokens", body, content_type="application/json", headers=headers)
    assert answer.status_code == 201, answer.content


def test_a_crash_tells_nothing_of_the_inside(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(accounts_api.selectors, "memberships_of", crash)
    answer = team.owner.api("GET", "/me")
    error_of(answer, 500, "internal")
    assert b"secret" not in answer.content


def test_a_page_says_it_in_words(team: Team) -> None:
    answer = team.viewer.browser().get("/no-such-page")
    assert answer.status_code == 404
    assert b"nothing at this address" in answer.content
    assert answer["Content-Security-Policy"]
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "a", "password": "b"})
    assert answer.status_code == 403
    assert b"too old" in answer.content
