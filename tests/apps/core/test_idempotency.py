"""A repeated POST starts nothing anew, also when two come at once or the first one failed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import ApiToken
from apps.core import idempotency
from apps.core.models import IdempotencyRecord
from apps.registry.models import BaseModel
from tests.personas import Team, team_make


@pytest.fixture
def source(settings: Any, shared_models: Any, team: Team) -> dict[str, Any]:
    settings.MODEL_PATHS = [shared_models]
    return {"source": {"kind": "folder", "path": str(shared_models / "stories260k-llama")}, "name": "stories"}


def post(team: Team, body: Any, key: str, who: str = "developer") -> Any:
    return getattr(team, who).api("POST", "/base-models", body, Idempotency_Key=key)


def test_a_repeat_gets_the_first_answer(team: Team, source: dict[str, Any]) -> None:
    first = post(team, source, "k1")
    assert first.status_code == 201, first.content
    BaseModel.objects.filter(name="stories").delete()
    again = post(team, source, "k1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again["Idempotent-Replay"] == "true"
    assert not BaseModel.objects.filter(name="stories").exists()


def test_another_body_is_refused(team: Team, source: dict[str, Any]) -> None:
    assert post(team, source, "k1").status_code == 201
    refused = post(team, {**source, "name": "other"}, "k1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert not BaseModel.objects.filter(name="other").exists()


def test_a_failure_is_not_remembered(team: Team, source: dict[str, Any]) -> None:
    wrong = {"source": {"kind": "folder", "path": "/etc"}}
    assert post(team, wrong, "k1").status_code == 422
    assert not IdempotencyRecord.objects.exists()
    assert post(team, source, "k1").status_code == 201


def test_a_key_is_the_callers_own(team: Team, source: dict[str, Any]) -> None:
    assert post(team, source, "k1").status_code == 201
    other = post(team, source, "k1", "outsider")
    assert other.status_code == 201
    assert "Idempotent-Replay" not in other.headers
    assert BaseModel.objects.filter(name="stories").count() == 2


def test_a_lower_role_gets_no_replay(team: Team, source: dict[str, Any]) -> None:
    assert post(team, source, "k1").status_code == 201
    ApiToken.objects.filter(user=team.developer.user).update(role="viewer")
    assert post(team, source, "k1").status_code == 403


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_wrong_key_is_named(team: Team, source: dict[str, Any], key: str) -> None:
    refused = post(team, source, key)
    assert refused.status_code == 422
    assert list(refused.json()["error"]["fields"]) == ["Idempotency-Key"]


def test_old_answers_are_forgotten(team: Team, source: dict[str, Any]) -> None:
    post(team, source, "k1")
    assert idempotency.records_forget(before_hours=24) == 0
    assert idempotency.records_forget(before_hours=0) == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_one(settings: Any, shared_models: Any) -> None:
    team = team_make()
    settings.MODEL_PATHS = [shared_models]
    body = {"source": {"kind": "folder", "path": str(shared_models / "stories260k-llama")}, "name": "stories"}
    answers: list[Any] = []
    start = threading.Barrier(4)

    def send() -> None:
        start.wait()
        try:
            answers.append(post(team, body, "together"))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert sum("Idempotent-Replay" in answer.headers for answer in answers) == 3
    assert len({answer.content for answer in answers}) == 1
