"""Starting a batch prediction: what is frozen, what is refused and how, over REST and on its page."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.core import storage
from apps.jobs.models import Job, JobStatus
from apps.jobs.schemas import CloneRequest
from apps.jobs.services import job_clone, job_delete
from tests.apps.registry.factory import version_make

CSV = "id;Nachricht;Klasse\n1;Meine Karte ist seit zwei Wochen weg;card\n2;Wo bleibt meine Erstattung denn nur;refund\n"
TEXT = '{"text": "Nachricht"}'
BODY = {"kind": "predict", "model": "intents@1"}


@pytest.fixture
def model(ready: Any) -> Any:
    """The team with `tickets@1` and `intents@1`."""
    version_make(ready.workspace)
    return ready


def send(person: Any, content: str = CSV, **fields: str) -> Any:
    file = SimpleUploadedFile("messages.csv", content.encode("cp1252"), content_type="text/csv")
    data = {"file": file, "model": "intents@1", "mapping": TEXT} | fields
    headers = {"Authorization": f"Bearer {person.token}"}
    return Client().post("/api/v1/jobs/predictions", data, headers=headers)


def test_a_job_over_a_version_freezes_what_it_needs(model: Any) -> None:
    answer = model.developer.api("POST", "/jobs", BODY | {"dataset": "tickets@1", "split": "test", "save_as": "told"})
    assert answer.status_code == 201, answer.content
    state = answer.json()
    assert (state["kind"], state["source"], state["dataset"], state["split"]) == (
        "predict", "intents@1", "tickets@1", "test",
    )  # fmt: skip
    spec = Job.objects.get().spec
    assert (spec["save_as"], spec["file"], spec["source"]["ref"]) == ("told", None, "intents@1")
    assert 'data-label="Data">tickets@1<' in model.viewer.browser().get("/jobs/").content.decode()
    clone = job_clone(by=model.developer.identity, job=Job.objects.get(), changes=CloneRequest())
    assert {**clone.spec, "job": ""} == {**spec, "job": ""}


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({}, "dataset", "rows_missing"),
        ({"dataset": "nothing@1"}, "dataset", "dataset_not_found"),
        ({"dataset": "tickets@1", "model": "nobody@1"}, "model", "model_not_found"),
        ({"dataset": "tickets@1", "split": "some"}, "split", "invalid"),
        ({"dataset": "tickets@1", "save_as": "No Name"}, "save_as", "invalid"),
        ({"dataset": "tickets@1", "file": {"key": "datasets/x"}}, "file", "invalid"),
    ],
)
def test_what_does_not_fit_is_named(model: Any, change: dict[str, Any], field: str, code: str) -> None:
    answer = model.developer.api("POST", "/jobs", BODY | change)
    assert answer.status_code in (404, 422), answer.content
    error = answer.json()["error"]
    assert error["code"] == code
    assert any(field in place for place in error["fields"]), error
    assert not Job.objects.exists()


def test_models_and_data_of_another_workspace_do_not_exist(model: Any) -> None:
    answer = model.outsider.api("POST", "/jobs", BODY | {"dataset": "tickets@1"})
    assert answer.status_code == 404
    assert model.viewer.api("POST", "/jobs", BODY | {"dataset": "tickets@1"}).status_code == 403
    assert send(model.outsider).status_code == 404
    assert send(model.viewer).status_code == 403


def test_a_file_is_read_before_it_is_kept(model: Any) -> None:
    answer = send(model.developer)
    assert answer.status_code == 201, answer.content
    job = Job.objects.get()
    file = job.spec["file"]
    assert answer.json()["file"] == "messages.csv"
    assert file["mapping"]["text"] == "Nachricht"
    assert storage.exists(file["key"])
    clone = job_clone(by=model.developer.identity, job=job, changes=CloneRequest())
    assert clone.spec["file"] == file


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"mapping": '{"text": "Text"}'}, "mapping.text", "unknown_column"),
        ({"mapping": '{"words": "Nachricht"}'}, "mapping.words", "invalid"),
        ({"mapping": "{"}, "mapping", "invalid"),
        ({"encoding": "klingon"}, "encoding", "invalid"),
        ({"colour": "red"}, "colour", "invalid"),
        ({"save_as": "No Name"}, "save_as", "invalid"),
    ],
)
def test_a_file_that_cannot_be_read_makes_no_job_and_is_not_kept(
    model: Any, fields: dict[str, str], field: str, code: str
) -> None:
    answer = send(model.developer, **fields)
    assert answer.status_code == 422, answer.content
    error = answer.json()["error"]
    assert error["code"] == code
    assert field in error["fields"], error
    assert not Job.objects.exists()
    assert not storage.exists(f"predictions/{model.workspace.public_id}")


def test_a_file_without_rows_says_so(model: Any) -> None:
    answer = send(model.developer, "Nachricht\n", header="true")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_rows")


def test_the_file_goes_with_the_last_job_that_asks_about_it(model: Any) -> None:
    send(model.developer)
    job = Job.objects.get()
    key = job.spec["file"]["key"]
    clone = job_clone(by=model.developer.identity, job=job, changes=CloneRequest())
    Job.objects.update(status=JobStatus.CANCELLED)
    for row in (job, clone):
        assert storage.exists(key)
        row.refresh_from_db()
        _delete(model, row)
    assert not storage.exists(key)


def _delete(model: Any, job: Job) -> None:
    from django.test import TestCase

    with TestCase.captureOnCommitCallbacks(execute=True):
        job_delete(by=model.developer.identity, job=job)


# --- the pages --------------------------------------------------------------------------------------------------------


def test_the_page_starts_a_job_over_a_version(model: Any) -> None:
    browser = model.developer.browser()
    page = browser.get("/jobs/predict?model=intents@1&dataset=tickets@1").content.decode()
    assert '<option value="tickets@1" selected' in page
    form = {"model": "intents@1", "dataset": "tickets@1", "split": "test", "save_as": "", "key": "k1"}
    answer = browser.post("/jobs/predict", form)
    job = Job.objects.get()
    assert answer.headers["Location"] == f"/jobs/{job.public_id}/"
    browser.post("/jobs/predict", form)
    assert Job.objects.count() == 1, "two clicks are one job"
    for address in (
        f"/jobs/{job.public_id}/",
        f"/jobs/{job.public_id}/config",
        "/jobs/",
        "/",
        f"/jobs/{job.public_id}/live",
    ):
        assert browser.get(address).status_code == 200
    assert browser.get(f"/jobs/predict?clone={job.public_id}").status_code == 200


def test_the_page_starts_a_job_over_a_file_and_says_what_is_wrong_with_it(model: Any) -> None:
    browser = model.developer.browser()
    form = {
        "model": "intents@1",
        "dataset": "",
        "split": "all",
        "text_column": "Nothing",
        "encoding": "",
        "save_as": "",
    }
    refused = browser.post("/jobs/predict", form | {"file": SimpleUploadedFile("m.csv", CSV.encode())})
    assert refused.status_code == 422
    assert "has no column" in refused.content.decode()
    form["text_column"] = "Nachricht"
    made = browser.post("/jobs/predict", form | {"file": SimpleUploadedFile("m.csv", CSV.encode())})
    job = Job.objects.get()
    assert made.headers["Location"] == f"/jobs/{job.public_id}/"
    assert browser.get(f"/jobs/{job.public_id}/config").status_code == 200


def test_neither_rows_nor_model_and_who_may_not(model: Any) -> None:
    refused = model.developer.browser().post("/jobs/predict", {"model": "intents@1", "dataset": "", "split": "all"})
    assert refused.status_code == 422
    assert "which rows" in refused.content.decode()
    assert model.viewer.browser().get("/jobs/predict").status_code == 403
    empty = model.outsider.browser().get("/jobs/predict")
    assert "Fine-tune one first" in empty.content.decode()
