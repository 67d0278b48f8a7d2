"""Feedback: for any answered request, joined in either order, and closed to other workspaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.datasets.models import Dataset, DatasetVersion
from apps.deployments import services
from apps.deployments.models import Endpoint
from apps.monitoring import feedback
from apps.monitoring.models import Feedback
from apps.monitoring.sampling import samples_import
from modelkit.serving.plan import request_tag
from tests.apps.deployments.conftest import VersionMake
from tests.apps.monitoring.requests.conftest import SamplesMake, line, segment_write
from tests.personas import Person, Team


def give(person: Person, request_id: str, **body: Any) -> Any:
    return person.api("POST", "/feedback", {"request_id": request_id} | body)


def made_id(endpoint: Endpoint) -> str:
    return f"req_{request_tag(endpoint.workspace.public_id, endpoint.name)}-0123456789a"


def test_a_rating_of_a_sampled_request_by_whoever_may_predict(team: Team, samples_make: SamplesMake) -> None:
    (row,) = samples_make("one")
    answer = give(team.viewer, row.request_id, rating="up", comment=" thanks ")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["endpoint"], body["predicted"], body["revision"], body["agrees"]) == ("intents", "card", 1, True)
    assert (body["comment"], body["author"]) == ("thanks", "viewer")
    again = give(team.developer, row.request_id, label="refund")
    assert (again.status_code, again.json()["agrees"], again.json()["rating"]) == (200, False, None)
    assert Feedback.objects.count() == 1


def test_a_request_that_was_not_sampled_is_found_by_the_id_that_the_front_made(team: Team, endpoint: Endpoint) -> None:
    answer = give(team.viewer, made_id(endpoint), rating="down")
    assert (answer.status_code, answer.json()["agrees"], answer.json()["revision"]) == (201, False, None)


def test_feedback_before_the_sample_is_kept_and_joined(team: Team, endpoint: Endpoint, home: Path) -> None:
    request_id = made_id(endpoint)
    first = give(team.viewer, request_id, label="card", index=1).json()
    assert (first["agrees"], first["predicted"]) == (None, None)
    assert feedback.accuracy_of(endpoint) == (0, 0, 1)
    segment_write(home, line(endpoint, texts=["a", "b"], request_id=request_id))
    samples_import()
    row = Feedback.objects.get()
    assert (row.predicted, row.revision, row.agrees) == ("card", 1, True)
    assert feedback.accuracy_of(endpoint) == (1, 1, 0)


def test_an_id_of_ones_own_needs_the_endpoint_unless_it_was_sampled(team: Team, endpoint: Endpoint) -> None:
    unknown = give(team.developer, "order-7", rating="up")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert "request_id" in unknown.json()["error"]["fields"]
    assert give(team.developer, "order-7", rating="up", endpoint="intents").status_code == 201
    assert give(team.developer, "order-8", rating="up", endpoint="nowhere").status_code == 404


def test_another_workspaces_request_looks_like_one_that_never_was(
    team: Team, endpoint: Endpoint, samples_make: SamplesMake
) -> None:
    (row,) = samples_make("one")
    never = give(team.outsider, "trace-never", rating="up").json()["error"]
    for request_id in (row.request_id, made_id(endpoint)):
        answer = give(team.outsider, request_id, rating="up")
        assert answer.status_code == 404
        assert {**answer.json()["error"], "request_id": ""} == {**never, "request_id": ""}
        assert give(team.outsider, request_id, rating="up", endpoint="intents").status_code == 404
    assert not Feedback.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rating"),
        ({"rating": "sideways"}, "rating"),
        ({"label": "nonsense"}, "label"),
        ({"rating": "up", "index": 1}, "index"),
        ({"rating": "up", "index": -1}, "index"),
        ({"rating": "up", "comment": "x" * 2001}, "comment"),
        ({"rating": "up", "stars": 5}, "stars"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    team: Team, samples_make: SamplesMake, body: dict[str, Any], field: str
) -> None:
    (row,) = samples_make("one")
    answer = give(team.developer, row.request_id, **body)
    assert answer.status_code == 422
    assert field in answer.json()["error"]["fields"]
    assert not Feedback.objects.exists()


def test_an_unknown_label_is_told_the_known_ones(team: Team, endpoint: Endpoint) -> None:
    said = give(team.developer, made_id(endpoint), label="cards").json()["error"]["fields"]["label"]
    assert "card, refund, transfer" in said


def test_accuracy_counts_what_was_judged_by_revision(team: Team, endpoint: Endpoint, samples_make: SamplesMake) -> None:
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    rows = samples_make("a", "b", {"revision": 2}, {"revision": 2})
    for row, said in zip(rows, ({"rating": "up"}, {"label": "refund"}, {"label": "card"}, {}), strict=True):
        if said:
            assert give(team.viewer, row.request_id, **said).status_code == 201
    give(team.viewer, made_id(endpoint), rating="down")
    body = team.viewer.api("GET", "/endpoints/intents/accuracy").json()
    assert (body["judged"], body["agreed"], body["share"]) == (4, 2, 0.5)
    assert {number: found["share"] for number, found in body["revisions"].items()} == {"1": 0.5, "2": 1.0}
    listed = team.viewer.api("GET", "/endpoints/intents/feedback?limit=3").json()
    assert (len(listed["items"]), bool(listed["next"])) == (3, True)


# --- corrections ---


def test_corrections_become_a_dataset_version_once(
    team: Team,
    endpoint: Endpoint,
    samples_make: SamplesMake,
    monkeypatch: pytest.MonkeyPatch,
    version_make: VersionMake,
) -> None:
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    Endpoint.objects.filter(pk=endpoint.pk).update(task="text_classification")
    empty = team.developer.api("POST", "/endpoints/intents/corrections", {})
    assert (empty.status_code, empty.json()["error"]["code"]) == (409, "no_corrections")
    one, two, three = samples_make("退款, 在哪里", {"texts": ["a", 'say "b"']}, {"inputs": []})
    give(team.viewer, one.request_id, label="refund")
    give(team.viewer, two.request_id, label="transfer", index=1)
    give(team.viewer, three.request_id, label="refund")
    give(team.viewer, made_id(endpoint), label="refund")
    refused = team.viewer.api("POST", "/endpoints/intents/corrections", {})
    assert refused.status_code == 403
    made = team.developer.api("POST", "/endpoints/intents/corrections")
    assert made.status_code == 201, made.content
    version = DatasetVersion.objects.get()
    assert (version.dataset.name, version.dataset.task, made.json()["ref"]) == (
        "intents-feedback", "text_classification", "intents-feedback@1",
    )  # fmt: skip
    from apps.core import storage

    with storage.open_read(version.parts[0]["key"]) as file:
        assert file.read().decode() == 'text,label\r\n"退款, 在哪里",refund\r\n"say ""b""",transfer\r\n'
    again = team.developer.api("POST", "/endpoints/intents/corrections", {})
    assert (again.status_code, DatasetVersion.objects.count()) == (200, 1)
    Dataset.objects.create(workspace=team.workspace, name="other", task="token_classification")
    wrong = team.developer.api("POST", "/endpoints/intents/corrections", {"dataset": "other"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "wrong_task")
