"""From a request to a queued job: what is frozen, what is refused and with which field named."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.errors import AppError
from apps.jobs.models import Job, JobTransition
from apps.jobs.schemas import CloneRequest, TrainRequest
from apps.jobs.services import job_clone, job_create
from tests.apps.jobs.factory import base_model_make, body, dataset_make, job_make


def test_a_job_freezes_everything_it_needs(ready: Any) -> None:
    job = job_make(ready.developer, params={"max_length": 64}, budget_minutes=5)
    assert (job.number, job.status, job.task, job.preset) == (1, "queued", "text_classification", "instant")
    spec = job.spec
    assert spec["job"] == job.public_id
    assert (spec["params"]["method"], spec["params"]["max_length"]) == ("instant", 64)
    assert spec["dataset"]["ref"] == "tickets@1"
    assert spec["base_model"] == {"id": "tiny", "path": "/nowhere", "revision": "1"}
    assert spec["budget_s"] == 300
    assert spec["lineage"]["dataset_digest"] == spec["dataset"]["digest"]
    assert job.predicted["seconds"] > 0
    transition = JobTransition.objects.get(job=job)
    assert (transition.to_status, transition.actor) == ("queued", ready.developer.user)


def test_jobs_are_numbered_within_their_workspace(ready: Any) -> None:
    dataset_make(ready.outsider.identity.workspace)
    assert [job_make(ready.developer).number for _ in range(2)] == [1, 2]
    assert job_make(ready.outsider).number == 1


def test_the_same_form_key_gives_the_same_job(ready: Any) -> None:
    request = TrainRequest(**body())
    first = job_create(by=ready.developer.identity, request=request, key="form-1")
    assert job_create(by=ready.developer.identity, request=request, key="form-1") == first
    assert job_create(by=ready.developer.identity, request=request, key="form-2") != first
    assert Job.objects.count() == 2


def test_a_refused_request_does_not_use_up_its_key(ready: Any) -> None:
    with pytest.raises(AppError):
        job_create(by=ready.developer.identity, request=TrainRequest(**body(dataset="tickets@9")), key="form-1")
    assert job_create(by=ready.developer.identity, request=TrainRequest(**body()), key="form-1").number == 1


@pytest.mark.parametrize(
    ("changes", "field", "code", "status"),
    [
        ({"task": "astrology"}, "task", "task_unknown", 422),
        ({"preset": "magic"}, "preset", "preset_unknown", 422),
        ({"dataset": "tickets@9"}, "dataset", "dataset_not_found", 404),
        ({"dataset": "tickets@latest"}, "dataset", "dataset_not_found", 404),
        ({"base_model": "huge"}, "base_model", "base_model_not_found", 404),
        ({"params": {"nonsense": 1}}, "params.nonsense", "param_unknown", 422),
        ({"preset": None, "params": {"learning_rate": -1}}, "params.learning_rate", "param_invalid", 422),
        ({"params": {"max_length": "long"}}, "params.max_length", "param_invalid", 422),
        ({"params": {"epochs": 7}}, "params.epochs", "param_invalid", 422),
    ],
)
def test_a_wrong_request_names_its_field(ready: Any, changes: Any, field: str, code: str, status: int) -> None:
    with pytest.raises(AppError) as caught:
        job_make(ready.developer, **changes)
    assert (list(caught.value.fields), caught.value.code, caught.value.status) == ([field], code, status)
    assert caught.value.fields[field]
    assert caught.value.hint
    assert Job.objects.count() == 0


def test_every_wrong_field_is_named_at_once(ready: Any) -> None:
    with pytest.raises(AppError) as caught:
        job_make(ready.developer, dataset="none@1", params={"nonsense": 1, "max_length": 1})
    assert set(caught.value.fields) == {"dataset", "params.nonsense", "params.max_length"}


def test_another_workspaces_inputs_are_not_found(ready: Any) -> None:
    rival = ready.outsider.identity.workspace
    dataset_make(rival, "secret")
    base_model_make("theirs", rival)
    for changes, field in (({"dataset": "secret@1"}, "dataset"), ({"base_model": "theirs"}, "base_model")):
        with pytest.raises(AppError) as caught:
            job_make(ready.developer, **changes)
        assert (caught.value.status, list(caught.value.fields)) == (404, [field])


def test_a_dataset_must_be_ready(ready: Any) -> None:
    dataset_make(ready.workspace, status="needs_mapping")
    with pytest.raises(AppError) as caught:
        job_make(ready.developer, dataset="tickets@2")
    assert caught.value.code == "dataset_not_ready"


def test_a_clone_takes_the_spec_and_the_changes(ready: Any) -> None:
    job = job_make(ready.developer, params={"max_length": 64})
    clone = job_clone(by=ready.developer.identity, job=job, changes=CloneRequest(params={"batch_size": 16}))
    assert clone.cloned_from == job
    assert (clone.spec["params"]["max_length"], clone.spec["params"]["batch_size"]) == (64, 16)
    assert job.spec["params"]["batch_size"] == 32


def test_the_same_seed_is_in_the_spec_as_in_the_parameters(ready: Any) -> None:
    job = job_make(ready.developer, preset="balanced", params={"seed": 11})
    assert job.spec["seed"] == job.spec["params"]["seed"] == 11
