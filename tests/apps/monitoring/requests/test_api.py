"""The request log over REST: filters, paging, and its settings."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from apps.accounts.models import AuditEntry
from apps.deployments.applying import desired_set
from apps.deployments.models import Endpoint, TimelineEntry
from tests.apps.monitoring.requests.conftest import SamplesMake
from tests.personas import Team


@pytest.fixture
def log(team: Team, samples_make: SamplesMake) -> dict[str, str]:
    """Names by request id."""
    hour = 3600.0
    rows = samples_make(
        {"text": "Where is my CARD", "at": time.time() - 3 * hour},
        {"text": "我要退款", "label": "refund", "score": 0.3, "at": time.time() - 2 * hour},
        {"text": "send money", "label": "transfer", "revision": 2, "at": time.time() - hour},
        {"text": "bad", "status": 500, "error": "ArithmeticError", "outputs": []},
    )
    names = dict(zip((row.request_id for row in rows), ("card", "refund", "transfer", "failed"), strict=True))
    by_name = {name: request_id for request_id, name in names.items()}
    team.viewer.api("POST", "/feedback", {"request_id": by_name["card"], "rating": "up"})
    team.viewer.api("POST", "/feedback", {"request_id": by_name["refund"], "label": "card"})
    team.viewer.api("POST", "/feedback", {"request_id": by_name["transfer"], "rating": "down"})
    return names


def moment(hours_ago: float) -> str:
    return datetime.fromtimestamp(time.time() - hours_ago * 3600, UTC).isoformat()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "failed transfer refund card"),
        ({"text": "card"}, "card"),
        ({"text": "退款"}, "refund"),
        ({"text": "100%"}, ""),
        ({"label": "refund"}, "refund"),
        ({"label": "ref"}, ""),
        ({"revision": 2}, "transfer"),
        ({"below": 0.5}, "refund"),
        ({"after": moment(2.5), "before": moment(1.5)}, "refund"),
        ({"feedback": "any"}, "transfer refund card"),
        ({"feedback": "none"}, "failed"),
        ({"feedback": "up"}, "card"),
        ({"feedback": "down"}, "transfer"),
        ({"feedback": "corrected"}, "refund"),
        ({"failed": "true"}, "failed"),
        ({"failed": "false", "feedback": "any", "below": 0.9}, "transfer refund card"),
    ],
)
def test_filters(team: Team, log: dict[str, str], query: dict[str, Any], found: str) -> None:
    answer = team.viewer.api("GET", f"/endpoints/intents/requests?{urlencode(query)}")
    assert [log[item["request_id"]] for item in answer.json()["items"]] == found.split()


def test_one_request_by_its_id_tells_all(team: Team, log: dict[str, str]) -> None:
    wanted = next(request_id for request_id, name in log.items() if name == "refund")
    (item,) = team.viewer.api("GET", f"/endpoints/intents/requests?request_id={wanted}").json()["items"]
    assert item["inputs"] == ["我要退款"]
    assert item["outputs"] == [{"label": "refund", "score": 0.3}]
    assert item["latency_ms"] == {"total": 12.0, "queue": 1.0, "preprocess": 2.0, "model": 6.0}
    assert [said["label"] for said in item["feedback"]] == ["card"]


def test_pages_follow_each_other_while_requests_come(
    team: Team, log: dict[str, str], samples_make: SamplesMake
) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        body = team.viewer.api("GET", f"/endpoints/intents/requests?limit=3&cursor={cursor}").json()
        seen += [log[item["request_id"]] for item in body["items"]]
        samples_make("newer")
        cursor = body["next"]
        if not cursor:
            break
    assert seen == ["failed", "transfer", "refund", "card"]


@pytest.mark.parametrize("query", ["below=2", "revision=0", "after=yesterday", "feedback=maybe", "cursor=x", "limit=0"])
def test_filters_that_cannot_be_are_named(team: Team, endpoint: Endpoint, query: str) -> None:
    answer = team.viewer.api("GET", f"/endpoints/intents/requests?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["error"]["fields"]


# --- settings ---


def test_the_log_is_on_a_little_and_set_by_the_user(team: Team, endpoint: Endpoint) -> None:
    body = team.viewer.api("GET", "/endpoints/intents").json()["sampling"]
    assert (body["rate"], body["patterns"], body["hide_inputs"]) == (0.05, ["email", "phone", "card"], False)
    new = {"rate": 1, "patterns": ["card"], "hide_fields": ["customer.name"]}
    changed = team.developer.api("PATCH", "/endpoints/intents", {"sampling": new})
    assert changed.status_code == 200, changed.content
    assert changed.json()["sampling"] == {**body, **new}
    team.developer.api("PATCH", "/endpoints/intents", {"sampling": {"keep_days": 30}})
    (desired,) = desired_set().endpoints
    assert (desired.sampling.rate, desired.sampling.keep_days, desired.sampling.hide_fields) == (
        1, 30, ("customer.name",),
    )  # fmt: skip
    assert TimelineEntry.objects.filter(kind="sampling").count() == 2
    assert AuditEntry.objects.filter(action="endpoint.update").count() == 2
    assert team.viewer.api("PATCH", "/endpoints/intents", {"sampling": {"rate": 0}}).status_code == 403


@pytest.mark.parametrize(
    "bad",
    [{"rate": 5}, {"keep_days": 0}, {"keep_days": 366}, {"patterns": ["iban"]}, {"hide_fields": ["a b"]}, {"speed": 1}],
)
def test_settings_that_cannot_be_are_named(team: Team, endpoint: Endpoint, bad: dict[str, Any]) -> None:
    answer = team.developer.api("PATCH", "/endpoints/intents", {"sampling": bad})
    assert answer.status_code == 422
    assert any(field.startswith(f"sampling.{next(iter(bad))}") for field in answer.json()["error"]["fields"])
