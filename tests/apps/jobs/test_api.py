"""The REST shapes of jobs and tasks, and who may do what."""

from __future__ import annotations

from typing import Any

from apps.jobs import services
from apps.jobs.models import Job, JobStatus
from tests.apps.jobs.factory import body, dataset_make, device_make, job_make

RELIED_ON = {
    "id",
    "kind",
    "status",
    "phase",
    "progress",
    "queue_position",
    "metrics",
    "metrics_split",
    "model",
    "error",
    "mlflow_run_id",
}


def test_post_answers_201_with_the_shape_clients_rely_on(ready: Any) -> None:
    answer = ready.developer.api("POST", "/jobs", body())
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert set(job) >= RELIED_ON
    assert (job["status"], job["queue_position"], job["model"], job["error"]) == ("queued", 1, None, None)
    assert ready.viewer.api("GET", f"/jobs/{job['id']}").json() == job


def test_a_key_makes_one_job(ready: Any) -> None:
    answers = [ready.developer.api("POST", "/jobs", body(), Idempotency_Key="k").json() for _ in range(2)]
    assert answers[0]["id"] == answers[1]["id"]
    assert Job.objects.count() == 1
    refused = ready.developer.api("POST", "/jobs", body(model_name="other"), Idempotency_Key="k")
    assert refused.status_code == 422


def test_bad_input_names_the_field(ready: Any) -> None:
    cases = [
        (body(extra=1), "extra"),
        (body(model_name="Not A Slug"), "model_name"),
        (body(dataset="tickets"), "dataset"),
        (body(budget_minutes=-1), "budget_minutes"),
        (body(params={"learning_rate": -1}, preset=None), "params.learning_rate"),
        (body(params={"learning_rate": "NaN"}, preset=None), "params.learning_rate"),
    ]
    for payload, field in cases:
        answer = ready.developer.api("POST", "/jobs", payload)
        assert answer.status_code == 422, answer.content
        fields = answer.json()["error"]["fields"]
        assert any(name == field or name.endswith(f".{field}") for name in fields), (field, fields)
    assert ready.developer.api("POST", "/jobs", b'{"kind": ').status_code == 400
    assert ready.developer.api("POST", "/jobs", {"kind": "dance"}).status_code == 422


def test_preview_is_ready_or_says_why_not(ready: Any) -> None:
    device_make()
    preview = ready.developer.api("POST", "/jobs/preview", body()).json()
    assert preview["ready"] is True, preview
    assert preview["reasons"] == []
    assert preview["prediction"]["memory_bytes"] > 0
    assert preview["first_batch"]["rows"][0]["text"] == "退款还没有到账"
    assert preview["first_batch"]["max_characters"] >= 16
    assert preview["first_batch"]["tokens"] is None
    refused = ready.developer.api("POST", "/jobs/preview", body(dataset="none@1", params={"nonsense": 1})).json()
    assert refused["ready"] is False
    assert {reason["field"] for reason in refused["reasons"]} == {"dataset", "params.nonsense"}
    assert Job.objects.count() == 0


def test_preview_warns_where_no_worker_reports_in(ready: Any) -> None:
    preview = ready.developer.api("POST", "/jobs/preview", body()).json()
    assert [warning["code"] for warning in preview["warnings"]] == ["no_worker"]


def test_the_list_is_newest_first_paged_and_filtered(ready: Any) -> None:
    for name in ("a", "b", "c"):
        job_make(ready.developer, model_name=name)
    first = ready.viewer.api("GET", "/jobs?limit=2").json()
    assert [job["model_name"] for job in first["items"]] == ["c", "b"]
    rest = ready.viewer.api("GET", f"/jobs?limit=2&cursor={first['next']}").json()
    assert ([job["model_name"] for job in rest["items"]], rest["next"]) == (["a"], None)
    assert [job["model_name"] for job in ready.viewer.api("GET", "/jobs?model=b").json()["items"]] == ["b"]
    assert ready.viewer.api("GET", "/jobs?status=succeeded").json()["items"] == []
    assert len(ready.viewer.api("GET", "/jobs?status=active&dataset=tickets@1").json()["items"]) == 3
    assert ready.viewer.api("GET", "/jobs?status=dancing").status_code == 422


def test_each_role_may_do_its_part(ready: Any) -> None:
    job = job_make(ready.developer)
    assert ready.viewer.api("POST", "/jobs", body()).status_code == 403
    assert ready.viewer.api("POST", "/jobs/preview", body()).status_code == 403
    for verb in ("cancel", "resume", "retry", "clone"):
        assert ready.viewer.api("POST", f"/jobs/{job.public_id}/{verb}").status_code == 403
        assert ready.outsider.api("POST", f"/jobs/{job.public_id}/{verb}").status_code == 404
    assert ready.viewer.api("DELETE", f"/jobs/{job.public_id}").status_code == 403
    assert ready.developer.api("POST", f"/jobs/{job.public_id}/cancel").json()["status"] == "cancelled"


def test_verbs_that_do_not_fit_the_state_are_conflicts(ready: Any) -> None:
    job = job_make(ready.developer)
    path = f"/jobs/{job.public_id}"
    for verb, code in (("resume", "no_checkpoint"), ("retry", "job_active")):
        answer = ready.developer.api("POST", f"{path}/{verb}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)
    assert ready.developer.api("DELETE", path).status_code == 409
    Job.objects.filter(pk=job.pk).update(status="succeeded")
    for verb, code in (("cancel", "job_ended"), ("retry", "job_succeeded"), ("resume", "job_succeeded")):
        answer = ready.developer.api("POST", f"{path}/{verb}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)
        assert answer.json()["error"]["hint"]


def test_retry_forgets_what_was_and_resume_keeps_it(ready: Any) -> None:
    job = job_make(ready.developer)
    Job.objects.filter(pk=job.pk).update(
        status="failed", progress=0.5, event_offset=9, progress_detail={"checkpoint": {"step": 5}, "crashes": 2}
    )
    resumed = ready.developer.api("POST", f"/jobs/{job.public_id}/resume").json()
    assert (resumed["status"], resumed["progress"]) == ("queued", 0.5)
    job.refresh_from_db()
    assert waits(job) == {"checkpoint": {"step": 5}}
    Job.objects.filter(pk=job.pk).update(status="errored")
    ready.developer.api("POST", f"/jobs/{job.public_id}/retry")
    job.refresh_from_db()
    assert (job.progress, job.event_offset, waits(job)) == (0, 0, {"fresh": True, "generation": 1})


def waits(job: Job) -> dict[str, Any]:
    """What the job's row remembers, besides that it waits again."""
    detail = dict(job.progress_detail)
    assert detail.pop("phases")[-1]["name"] == "queued"
    return detail


def test_tasks_carry_the_schema_of_their_parameters(ready: Any) -> None:
    assert "text_classification" in [task["name"] for task in ready.viewer.api("GET", "/tasks").json()["items"]]
    task = ready.viewer.api("GET", "/tasks/text_classification").json()
    epochs = task["params_schema"]["properties"]["epochs"]
    assert epochs["title"]
    assert epochs["description"]
    assert epochs["minimum"] == 1
    assert task["presets"][0]["id"] == "instant"
    assert ready.viewer.api("GET", "/tasks/astrology").status_code == 404


def test_a_running_job_shows_its_eta_and_a_failed_one_its_card(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = services.job_claim(owner="a", host="here")
    assert job is not None
    event = {"t": 1.0, "type": "progress", "fraction": 0.25, "eta_s": 30.0}
    services.job_apply_events(job=job, owner="a", events=[event], offset=1)
    state = ready.viewer.api("GET", f"/jobs/{job.public_id}").json()
    assert (state["status"], state["progress"], state["queue_position"]) == ("running", 0.25, None)
    # What its loop says, and the phases after it.
    assert 30.0 < state["eta_s"] < 30.0 + state["predicted"]["seconds"]
    card = {"code": "x", "message": "m", "hint": "h", "traceback": "secret"}
    services.job_finish(job=job, owner="a", status=JobStatus.FAILED, reason="m", error=card)
    state = ready.viewer.api("GET", f"/jobs/{job.public_id}").json()
    assert state["error"] == {"code": "x", "message": "m", "hint": "h"}


def test_streams_metrics_and_logs_of_a_job_that_has_not_begun_are_empty(ready: Any) -> None:
    job = job_make(ready.developer)
    assert ready.viewer.api("GET", f"/jobs/{job.public_id}/metrics").json() == {"items": [], "next": 0}
    assert ready.viewer.api("GET", f"/jobs/{job.public_id}/logs?after=7").json() == {"items": [], "next": 7}
    assert ready.viewer.api("GET", f"/jobs/{job.public_id}/logs?after=-1").status_code == 422


def test_the_dataset_of_another_task_is_refused(ready: Any) -> None:
    version = dataset_make(ready.workspace, "other")
    version.dataset.task = "toy"
    version.dataset.save()
    answer = ready.developer.api("POST", "/jobs", body(dataset="other@1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "dataset_of_another_task")
