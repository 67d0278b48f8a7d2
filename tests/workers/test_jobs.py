"""Jobs through the real stack: from the POST to the published version, and everything a person may do in between."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.modelkit.launching import wait_for
from tests.workers.stack import OTHER_TOKEN, Stack


def test_a_job_is_trained_and_published(stack: Stack) -> None:
    job_id = stack.job("first", steps=10)
    job = stack.ended(job_id)
    assert job["status"] == "succeeded", job
    assert job["model"] == {"name": "first", "version": 1}
    assert job["metrics"] == {"accuracy": 0.5}
    assert job["metrics_split"] == "test"
    assert job["mlflow_run_id"]
    assert job["actual"]["memory_bytes"] > 0
    assert [step for step, _pid in stack.trace(job_id)] == list(range(1, 11))
    metrics = stack.get(f"/jobs/{job_id}/metrics")
    assert [point["step"] for point in metrics["items"] if point["split"] == "train"] == list(range(1, 11))
    assert stack.get(f"/jobs/{job_id}/metrics?after={metrics['next']}")["items"] == []
    assert any("Starting after step 0" in line for line in stack.get(f"/jobs/{job_id}/logs")["items"])
    statuses = [status for status, _reason in stack.transitions(job_id)]
    assert statuses == ["queued", "running", "succeeded"]


def test_a_first_batch_comes_from_a_child_before_any_job(stack: Stack) -> None:
    def batch(**params: Any) -> dict[str, Any]:
        return dict(stack.post("/jobs/preview", stack.body("unstarted", **params))["first_batch"])

    made = wait_for(lambda: batch(steps=7)["tokens"], what="the first batch")
    assert made["shape"] == [1, 1]
    # Asked again, it is the same one: that process made it once.
    assert batch(steps=7)["tokens"] == made
    refused = wait_for(
        lambda: "does not like" in (found := batch(ending="user_error"))["tokens_reason"] and found, what="a refusal"
    )
    assert refused["tokens"] is None
    assert not [job for job in stack.get("/jobs")["items"] if job["model_name"] == "unstarted"]


def test_mlflow_has_the_run_its_curves_and_a_version_that_opens(stack: Stack) -> None:
    mlflow = pytest.importorskip("mlflow")
    job = stack.ended(stack.job("opened", steps=3))
    uri = stack.environment["MLFLOW_TRACKING_URI"]
    # Both named: without, the registry is whichever this process spoke to last.
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = client.get_run(job["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["steps"] == "3"
    assert run.data.tags["tuneyard.dataset"] == "rows@1"
    assert run.data.tags["tuneyard.dataset_digest"] == "d" * 64
    assert run.data.metrics["test_accuracy"] == 0.5
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3]
    version = client.get_model_version("default.opened", "1")
    assert version.run_id == run.info.run_id
    assert version.tags["tuneyard.job"] == job["id"]
    assert (stack.home / "bundles" / version.tags["tuneyard.bundle_digest"] / "manifest.json").is_file()


def test_the_same_key_gives_the_same_job(stack: Stack) -> None:
    answers: list[dict[str, Any]] = []

    def click() -> None:
        answers.append(stack.post("/jobs", stack.body("keyed", steps=1), key="one-click"))

    clicks = [threading.Thread(target=click) for _ in range(4)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert len({answer["id"] for answer in answers}) == 1
    assert len(stack.get("/jobs?model=keyed")["items"]) == 1
    assert stack.ended(answers[0]["id"])["status"] == "succeeded"


def test_cancel_stops_a_running_job_and_resume_goes_on(stack: Stack) -> None:
    job_id = stack.job("stopped", steps=60, step_ms=30)
    stack.wait_step(job_id, 10)
    stack.post(f"/jobs/{job_id}/cancel")
    job = stack.ended(job_id)
    assert (job["status"], job["can_resume"], job["error"]) == ("cancelled", True, None)
    stack.post(f"/jobs/{job_id}/resume")
    job = stack.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert [step for step, _pid in stack.trace(job_id)] == list(range(1, 61))


def test_retry_begins_anew_and_clone_makes_another(stack: Stack) -> None:
    job_id = stack.job("again", steps=60, step_ms=30)
    stack.wait_step(job_id, 10)
    stack.post(f"/jobs/{job_id}/cancel")
    stack.ended(job_id)
    stack.post(f"/jobs/{job_id}/retry")
    assert stack.ended(job_id)["status"] == "succeeded"
    assert [step for step, _pid in stack.trace(job_id)] == list(range(1, 61))
    assert "Starting after step 0" in stack.folder(job_id).read_log()[0]
    clone = stack.post(f"/jobs/{job_id}/clone", {"params": {"steps": 2, "step_ms": 0}})
    assert clone["id"] != job_id
    done = stack.ended(clone["id"])
    assert (done["status"], done["model"], done["params"]["steps"]) == ("succeeded", {"name": "again", "version": 2}, 2)


def test_the_queue_tells_place_and_reason_and_cancel_empties_it(stack: Stack) -> None:
    busy = stack.job("busy", steps=10_000, step_ms=20)
    stack.wait_step(busy, 1)
    waiting = [stack.job(f"waits-{index}", steps=1) for index in range(3)]
    states = [stack.get(f"/jobs/{job_id}") for job_id in waiting]
    assert [state["queue_position"] for state in states] == [1, 2, 3]
    assert all("slot" in state["waiting_reason"] for state in states)
    stack.post(f"/jobs/{waiting[1]}/cancel")
    assert stack.get(f"/jobs/{waiting[1]}")["status"] == "cancelled"
    assert stack.get(f"/jobs/{waiting[2]}")["queue_position"] == 2
    stack.post(f"/jobs/{busy}/cancel")
    assert stack.ended(busy)["status"] == "cancelled"
    assert stack.ended(waiting[0])["status"] == "succeeded"
    assert stack.ended(waiting[2])["status"] == "succeeded"
    assert not stack.folder(waiting[1]).path.exists()


@pytest.mark.parametrize(
    ("ending", "status", "code"),
    [
        ("user_error", "failed", "toy_refused"),
        ("crash", "errored", "crashed"),
        ("disk_full", "failed", "disk_full"),
        ("memory", "failed", "out_of_memory"),
    ],
)
def test_every_failure_has_its_card(stack: Stack, ending: str, status: str, code: str) -> None:
    job = stack.ended(stack.job("fails", steps=2, ending=ending))
    assert (job["status"], job["error"]["code"]) == (status, code)
    assert job["error"]["message"]
    assert job["error"]["hint"]
    assert "Traceback" not in str(job["error"])


def test_a_process_that_dies_each_time_is_given_up_after_three_times(stack: Stack) -> None:
    job_id = stack.job("dies", steps=2, ending="exit")
    job = stack.ended(job_id)
    assert (job["status"], job["attempt"], job["error"]["code"]) == ("errored", 3, "process_died")
    assert "status 9" in job["error"]["message"]


def test_events_stream_until_the_end(stack: Stack) -> None:
    job_id = stack.job("streamed", steps=5)
    names = []
    with stack.client.stream("GET", f"/jobs/{job_id}/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        for line in response.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
    assert {"attempt", "phase", "metrics", "status"} <= set(names)
    assert names[-1] == "status"


def test_another_workspace_sees_nothing(stack: Stack) -> None:
    job_id = stack.job("private", steps=1)
    outsider = httpx.Client(
        base_url=stack.client.base_url, headers={"Authorization": f"Bearer {OTHER_TOKEN}"}, trust_env=False
    )
    for path in ("", "/metrics", "/logs", "/events"):
        assert outsider.get(f"/jobs/{job_id}{path}").status_code == 404
    for verb in ("cancel", "resume", "retry", "clone"):
        assert outsider.post(f"/jobs/{job_id}/{verb}").status_code == 404
    assert outsider.delete(f"/jobs/{job_id}").status_code == 404
    assert outsider.get("/jobs").json()["items"] == []
    stack.ended(job_id)


def test_a_deleted_job_takes_its_folder_with_it(stack: Stack) -> None:
    job_id = stack.job("deleted", steps=2, ending="user_error")
    stack.ended(job_id)
    assert stack.client.delete(f"/jobs/{job_id}").status_code == 204
    assert stack.client.get(f"/jobs/{job_id}").status_code == 404
    wait_for(lambda: not stack.folder(job_id).path.exists())
    published = stack.job("kept", steps=1)
    stack.ended(published)
    answer = stack.client.delete(f"/jobs/{published}")
    assert answer.status_code == 409
    assert answer.json()["error"]["fields"] == {"used_by": "kept@1"}
