"""Compressing a version: the verdicts of methods, a job started once, and the comparison of what came out."""

from __future__ import annotations

from typing import Any

import pytest

from apps.jobs.models import Job
from apps.registry.models import ModelVersion
from tests.apps.jobs.factory import dataset_make

MANIFEST = {
    "task": "text_classification",
    "name": "intents",
    "created_at": "2026-11-22T00:00:00Z",
    "request_example": {"inputs": ["Where is my card?"]},
    "precision": "fp32",
}


def version_make(workspace: Any, number: int = 1, *, parent: ModelVersion | None = None, **values: Any) -> ModelVersion:
    from apps.registry.models import RegisteredModel

    model, _created = RegisteredModel.objects.get_or_create(
        workspace=workspace, name="intents", task="text_classification"
    )
    values = {"manifest": MANIFEST, "bundle_digest": "b" * 64, "size_bytes": 100_000_000} | values
    return ModelVersion.objects.create(model=model, number=number, parent=parent, **values)


def score(accuracy: float, p95_ms: float, size_bytes: int) -> dict[str, Any]:
    return {"accuracy": accuracy, "p95_ms": p95_ms, "size_bytes": size_bytes, "agreement": 0.99}


@pytest.fixture
def source(team: Any, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    from apps.jobs import queue

    monkeypatch.setattr(queue, "send", lambda name, *args, **options: None)
    return version_make(team.workspace, dataset_version=dataset_make(team.workspace))


@pytest.fixture
def variant(team: Any, source: ModelVersion) -> ModelVersion:
    report = {"score": {"baseline": score(0.93, 8.0, 100), "variant": score(0.92, 3.0, 25), "worse": ["accuracy"]}}
    manifest = MANIFEST | {"precision": "int8"}
    recipe = [{"method": "dynamic_int8"}]
    return version_make(team.workspace, 2, parent=source, manifest=manifest, report=report, recipe=recipe)


def test_methods_give_their_verdict_with_the_reason(team: Any, source: ModelVersion, variant: ModelVersion) -> None:
    def method(query: str) -> Any:
        items = team.viewer.api("GET", f"/compression/methods{query}").json()["items"]
        return next(item for item in items if item["name"] == "dynamic_int8")

    assert method("")["applies"] is None
    assert (method("?model=intents@1")["applies"], method("?model=intents@1")["reason"]) == (True, "")
    refused = method("?model=intents@2")
    assert refused["applies"] is False
    assert "int8 already" in refused["reason"]
    assert "per_channel" in refused["params_schema"]["properties"]
    assert team.viewer.api("GET", "/compression/methods?model=none@1").status_code == 404
    assert team.outsider.api("GET", "/compression/methods?model=intents@1").status_code == 404


def test_a_compression_is_a_job(team: Any, source: ModelVersion) -> None:
    body = {"kind": "compress", "model": "intents@1", "method": "dynamic_int8", "params": {"embeddings": False}}
    answer = team.developer.api("POST", "/jobs", body)
    assert answer.status_code == 201, answer.content
    job = Job.objects.get()
    assert (job.kind, job.model_name, job.source_version) == ("compress", "intents", source)
    assert job.spec["source"] == {"ref": "intents@1", "digest": "b" * 64}
    assert job.spec["params"]["embeddings"] is False
    assert job.spec["lineage"]["parent"] == "intents@1"
    clone = team.developer.api("POST", f"/jobs/{job.public_id}/clone", {"params": {"embeddings": True}})
    assert clone.status_code == 201, clone.content
    assert clone.json()["params"]["embeddings"] is True


@pytest.mark.parametrize(
    ("changes", "field", "status"),
    [
        ({"model": "intents@9"}, "model", 404),
        ({"method": "magic"}, "method", 422),
        ({"params": {"bits": 3}}, "params.bits", 422),
        ({"model": "intents@2"}, "method", 422),
    ],
)
def test_a_wrong_compression_names_its_field(
    team: Any, variant: ModelVersion, changes: Any, field: str, status: int
) -> None:
    body = {"kind": "compress", "model": "intents@1", "method": "dynamic_int8"} | changes
    answer = team.developer.api("POST", "/jobs", body)
    assert answer.status_code == status, answer.content
    assert field in answer.json()["error"]["fields"]
    assert Job.objects.count() == 0


def test_variants_are_compared_beside_their_parent(team: Any, source: ModelVersion, variant: ModelVersion) -> None:
    rows = team.viewer.api("GET", "/models/intents/versions/1/variants").json()["items"]
    assert [row["model"] for row in rows] == ["intents@1", "intents@2"]
    assert rows[0]["score"]["p95_ms"] == 8.0
    assert (rows[1]["parent"], rows[1]["recipe"], rows[1]["worse"]) == ("intents@1", ["dynamic_int8"], ["accuracy"])
    assert rows[1]["baseline"]["accuracy"] == 0.93
    assert team.outsider.api("GET", "/models/intents/versions/1/variants").status_code == 404


def test_the_page_offers_versions_and_methods(team: Any, source: ModelVersion, variant: ModelVersion) -> None:
    browser = team.developer.browser()
    assert "intents@1" in browser.get("/compress/").content.decode()
    page = browser.get("/compress/?model=intents@1").content.decode()
    assert "Dynamic INT8" in page
    assert "Measured side by side" in page
    assert "worse: accuracy" in page
    refused = browser.get("/compress/?model=intents@2").content.decode()
    assert "int8 already" in refused
    assert browser.get("/compress/?model=none@1").status_code == 404
    assert team.outsider.browser().get("/compress/?model=intents@1").status_code == 404


def test_two_clicks_start_one_job(team: Any, source: ModelVersion) -> None:
    browser = team.developer.browser()
    form = {"model": "intents@1", "method": "dynamic_int8", "key": "shown-once", "params.per_channel": "false"}
    answers = [browser.post("/compress/start", form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [302, 302]
    job = Job.objects.get()
    assert answers[0]["Location"] == answers[1]["Location"] == f"/jobs/{job.public_id}/"
    assert job.spec["params"]["per_channel"] is False


def test_a_refused_start_says_why(team: Any, source: ModelVersion, variant: ModelVersion) -> None:
    browser = team.developer.browser()
    page = browser.post("/compress/start", {"model": "intents@2", "method": "dynamic_int8"})
    assert page.status_code == 422
    assert "int8 already" in page.content.decode()
    assert team.viewer.browser().post("/compress/start", {"model": "intents@1"}).status_code == 403
    assert Job.objects.count() == 0


def test_a_method_is_reviewed_before_its_start(team: Any, source: ModelVersion) -> None:
    browser = team.developer.browser()
    page = browser.get("/compress/?model=intents@1").content.decode()
    assert "Ready" in page
    assert "curl -X POST" in page
    body = {"model": "intents@1", "method": "dynamic_int8", "params.per_channel": "false", "params.embeddings": "true"}
    answer = browser.post("/compress/review", body).content.decode()
    assert "per_channel" in answer
    assert "<html" not in answer
    preview = team.developer.api(
        "POST", "/jobs/preview", {"kind": "compress", "model": "intents@1", "method": "dynamic_int8"}
    ).json()
    assert preview["ready"]
    assert preview["prediction"]["seconds"] > 1
    assert preview["prediction"]["memory_bytes"] > 100_000_000


def test_a_review_says_why_a_method_is_not_ready(team: Any, source: ModelVersion, variant: ModelVersion) -> None:
    answer = team.developer.browser().post("/compress/review", {"model": "intents@2", "method": "dynamic_int8"})
    assert "Not ready" in answer.content.decode()
    assert "int8 already" in answer.content.decode()
