"""Kill -9 of every part in the middle of a job: it ends resumed or clearly failed, never twice, never hanging."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import psutil

from tests.modelkit.launching import wait_for
from tests.workers.stack import Stack

LONG = {"steps": 120, "step_ms": 30, "checkpoint_every": 10}


def assert_no_step_was_taken_twice_at_once(stack: Stack, job_id: str) -> None:
    """Each process took a run of its own, one after the other, and each went on from a checkpoint of the last."""
    trace = stack.trace(job_id)
    pids = list(dict.fromkeys(pid for _step, pid in trace))
    runs = [[step for step, owner in trace if owner == pid] for pid in pids]
    assert [pid for _step, pid in trace] == [pid for pid, run in zip(pids, runs, strict=True) for _ in run]
    for run in runs:
        assert run == list(range(run[0], run[-1] + 1))
    for before, after in itertools.pairwise(runs):
        # A step is in the trace before its checkpoint is on disk.
        assert after[0] in {before[-1] // 10 * 10 + 1, (before[-1] - 1) // 10 * 10 + 1}
    assert trace[-1][0] == LONG["steps"]


def assert_published_once(stack: Stack, job: dict) -> None:  # type: ignore[type-arg]
    assert job["status"] == "succeeded", job
    made = stack.rows("SELECT number FROM registry_modelversion WHERE job_public_id = ?", job["id"])
    assert made == [(job["model"]["version"],)]
    assert [status for status, _reason in stack.transitions(job["id"])].count("succeeded") == 1


def test_a_killed_child_is_resumed_from_its_checkpoint(stack: Stack) -> None:
    job_id = stack.job("kill-child", **LONG)
    os.kill(stack.wait_step(job_id, 25), signal.SIGKILL)
    job = stack.ended(job_id)
    assert job["attempt"] == 2
    assert "SIGKILL" in str(stack.transitions(job_id))
    assert_no_step_was_taken_twice_at_once(stack, job_id)
    assert_published_once(stack, job)


def test_a_killed_launcher_leaves_the_child_at_work(stack: Stack) -> None:
    job_id = stack.job("kill-launcher", **LONG)
    pid = stack.wait_step(job_id, 10)
    stack.kill("launcher")
    job = stack.ended(job_id)
    assert job["attempt"] == 1
    assert {owner for _step, owner in stack.trace(job_id)} == {pid}
    assert_published_once(stack, job)


def test_a_job_waits_for_a_launcher_that_is_down_and_starts_when_it_is_back(stack: Stack) -> None:
    stack.kill("launcher")
    job_id = stack.job("no-launcher", steps=2)
    wait_for(lambda: stack.get(f"/jobs/{job_id}")["status"] == "running")
    wait_for(lambda: "launcher_down" in stack.log("gpu") or "does not answer" in stack.log("gpu"))
    stack.start("launcher")
    assert_published_once(stack, stack.ended(job_id))


def test_a_killed_worker_hands_the_living_child_to_the_next_one(stack: Stack) -> None:
    job_id = stack.job("kill-worker", **LONG)
    pid = stack.wait_step(job_id, 10)
    stack.kill("gpu")
    stack.start("gpu")
    job = stack.ended(job_id)
    assert job["attempt"] == 1
    assert {owner for _step, owner in stack.trace(job_id)} == {pid}
    assert_published_once(stack, job)


def test_worker_and_child_killed_together_are_resumed(stack: Stack) -> None:
    job_id = stack.job("kill-both", **LONG)
    pid = stack.wait_step(job_id, 25)
    stack.kill("gpu")
    os.kill(pid, signal.SIGKILL)
    stack.start("gpu")
    job = stack.ended(job_id)
    assert job["attempt"] == 2
    assert_no_step_was_taken_twice_at_once(stack, job_id)
    assert_published_once(stack, job)


def test_a_worker_asked_to_stop_leaves_the_child_to_the_next_one(stack: Stack) -> None:
    # Longer than any test may last: it ends by the cancel that only the second worker can see.
    job_id = stack.job("stop-worker", steps=100_000, step_ms=30)
    pid = stack.wait_step(job_id, 10)
    stack.terminate("gpu")
    assert psutil.pid_exists(pid)
    assert stack.get(f"/jobs/{job_id}")["status"] == "running"
    stack.post(f"/jobs/{job_id}/cancel")
    stack.start("gpu")
    job = stack.ended(job_id)
    assert (job["status"], job["attempt"]) == ("cancelled", 1)
    assert {owner for _step, owner in stack.trace(job_id)} == {pid}


def test_a_launcher_asked_to_stop_checkpoints_and_the_next_one_resumes(stack: Stack) -> None:
    job_id = stack.job("stop-launcher", **LONG)
    stack.wait_step(job_id, 25)
    stack.terminate("launcher")
    stack.start("launcher")
    job = stack.ended(job_id)
    assert job["attempt"] == 2
    # It stopped with a checkpoint at its very step, so none is taken again.
    assert [step for step, _pid in stack.trace(job_id)] == list(range(1, LONG["steps"] + 1))
    assert_published_once(stack, job)


def test_the_whole_product_killed_at_once_goes_on_after_a_restart(stack: Stack) -> None:
    job_id = stack.job("kill-all", **LONG)
    queued = stack.job("kill-all-queued", steps=2)
    pid = stack.wait_step(job_id, 25)
    for name in list(stack.processes):
        stack.kill(name)
    os.kill(pid, signal.SIGKILL)
    stack.start("redis", "mlflow", "web", "launcher", "cpu", "gpu", "beat")
    job = stack.ended(job_id)
    assert job["attempt"] == 2
    assert_no_step_was_taken_twice_at_once(stack, job_id)
    assert_published_once(stack, job)
    assert_published_once(stack, stack.ended(queued))


def test_a_killed_redis_stops_no_job_and_loses_none(stack: Stack) -> None:
    job_id = stack.job("kill-redis", **LONG)
    pid = stack.wait_step(job_id, 10)
    stack.kill("redis")
    # Acknowledged while the broker is down: the row is there, the message is not.
    unsent = stack.job("no-message", steps=2)
    stack.redis_socket.unlink(missing_ok=True)
    stack.start("redis")
    job = stack.ended(job_id)
    assert {owner for _step, owner in stack.trace(job_id)} == {pid}
    assert_published_once(stack, job)
    assert_published_once(stack, stack.ended(unsent))


def test_a_lost_message_only_delays(stack: Stack) -> None:
    busy = stack.job("flush-busy", steps=10_000, step_ms=20)
    stack.wait_step(busy, 1)
    job_id = stack.job("flushed", steps=2)
    import redis

    redis.Redis(unix_socket_path=str(stack.redis_socket)).flushall()
    stack.post(f"/jobs/{busy}/cancel")
    assert stack.ended(busy)["status"] == "cancelled"
    assert_published_once(stack, stack.ended(job_id))


def test_a_killed_mlflow_delays_the_publishing_and_says_so(stack: Stack) -> None:
    job_id = stack.job("kill-mlflow", steps=30, step_ms=30)
    stack.wait_step(job_id, 5)
    stack.kill("mlflow")
    wait_for(lambda: stack.get(f"/jobs/{job_id}")["phase"] == "publishing", timeout_s=60)
    wait_for(lambda: "MLflow does not answer" in stack.log("gpu"), timeout_s=60)
    assert stack.get(f"/jobs/{job_id}")["status"] == "running"
    stack.start("mlflow")
    assert_published_once(stack, stack.ended(job_id))


def test_a_cancel_ends_the_wait_for_mlflow_and_resume_only_publishes(stack: Stack) -> None:
    job_id = stack.job("cancel-publishing", steps=3)
    stack.kill("mlflow")
    wait_for(
        lambda: "MLflow does not answer" in stack.log("gpu") and stack.get(f"/jobs/{job_id}")["phase"] == "publishing"
    )
    stack.post(f"/jobs/{job_id}/cancel")
    assert stack.ended(job_id)["status"] == "cancelled"
    stack.start("mlflow")
    stack.post(f"/jobs/{job_id}/resume")
    job = stack.ended(job_id)
    assert [step for step, _pid in stack.trace(job_id)] == [1, 2, 3]
    assert_published_once(stack, job)


def test_nothing_is_left_running_after_the_jobs_ended(stack: Stack) -> None:
    folders = [Path(path) for path in stack.home.glob("jobs/*")]
    assert folders
    for folder in folders:
        child = stack.folder(folder.name).child()
        assert child is None or not child.alive
