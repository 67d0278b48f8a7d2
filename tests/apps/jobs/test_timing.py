"""Time left, phases ahead and what a job takes while it runs."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from apps.core.templatetags.ui import duration
from apps.jobs import figures, progressing, services
from apps.jobs.models import Job, JobStatus
from apps.jobs.presenting import row_of
from apps.jobs.selectors.timing import left_s, phase_timeline, predicted_phases, worked_s
from apps.jobs.services.recording import _fold
from tests.apps.jobs.conftest import ready as ready
from tests.apps.jobs.factory import device_make, job_make
from tests.ui import jobs


def at(job: Any, phase: str, *, entered: float, **detail: Any) -> Any:
    job.phase = phase
    job.progress_detail = {"phases": [{"name": phase, "at": entered, "attempt": 1}], **detail}
    return job


def test_time_left_counts_the_phases_ahead(ready: Any) -> None:
    job = jobs.running(ready.developer)
    phases = predicted_phases(job)
    assert set(phases) == {"preparing", "loading", "training", "evaluating", "exporting", "parity", "publishing"}
    assert sum(phases.values()) == pytest.approx(job.predicted["seconds"], rel=0.05)
    after = sum(phases[name] for name in ("evaluating", "exporting", "parity", "publishing"))
    job.predicted = job.predicted | {"training_s": 90.0}
    looping = at(job, "training", entered=100.0, eta_s=40.0, steps=10)
    assert left_s(looping, now=150.0) == pytest.approx(40.0 + after, abs=0.1)
    # Before the loop counts steps, the prediction of the phase stands.
    early = at(job, "training", entered=100.0, eta_s=0.1)
    assert left_s(early, now=100.0) == pytest.approx(90.0 + after, abs=0.1)
    last = at(job, "publishing", entered=100.0)
    assert left_s(last, now=1000.0) == 0.0


def test_a_busy_host_is_expected_to_stay_busy(ready: Any) -> None:
    job = jobs.running(ready.developer)
    ahead = sum(predicted_phases(job)[name] for name in ("exporting", "parity", "publishing"))
    phases = [("training", 0.0, 1), ("evaluating", 1000.0, 1)]
    job.progress_detail = {"phases": [{"name": name, "at": at_, "attempt": n} for name, at_, n in phases]}
    job.phase = "evaluating"
    slow = left_s(job, now=5000.0)
    assert slow is not None
    assert slow > 2 * ahead
    # The wait between two attempts is no work.
    job.progress_detail["phases"][0]["attempt"] = 0
    assert left_s(job, now=1000.0) == pytest.approx(predicted_phases(job)["evaluating"] + ahead, abs=0.1)


def test_a_loop_slower_than_predicted_corrects_all_that_the_page_says(ready: Any) -> None:
    job = jobs.running(ready.developer)
    now = time.time()
    predicted = predicted_phases(job)
    after = ("evaluating", "exporting", "parity", "publishing")
    # Half of the loop took twice what was predicted for all of it: the whole takes four times as long.
    whole = 4 * max(100.0, predicted["training"])
    job.predicted = job.predicted | {"training_s": whole / 4}
    slow = at(job, "training", entered=now - whole / 2, eta_s=whole / 2, steps=10)
    ahead = sum(predicted[name] for name in after)
    left = left_s(slow, now=now)
    assert left is not None
    assert 3.5 * ahead < left - whole / 2 < 4 * ahead
    shown = {step.title: step.expected_s or 0.0 for step in progressing.steps_of(slow) if step.state == "ahead"}
    assert sum(shown.values()) == pytest.approx(left - whole / 2, rel=0.02)
    time_line = next(item for item in progressing.comparisons_of(slow) if item.title == "Time, whole job")
    whole_s = (worked_s(slow) or 0.0) + (left_s(slow) or 0.0)
    assert time_line.note == f"At this pace about {duration(whole_s)} in all"
    # One that is resumed has less to do than was predicted, on the same host.
    slow.progress_detail["phases"] = [
        {"name": "loading", "at": now - 301.0, "attempt": 2},
        {"name": "training", "at": now - 1.0, "attempt": 2},
    ]
    slow.progress_detail["eta_s"] = 1.0
    assert (left_s(slow, now=now) or 0.0) > 5 * ahead


def test_a_phase_that_overran_without_a_word_tells_of_those_after_it(ready: Any) -> None:
    job = jobs.running(ready.developer)
    predicted = predicted_phases(job)
    ahead = sum(predicted[name] for name in ("parity", "publishing"))
    exporting = at(job, "exporting", entered=1000.0)
    assert left_s(exporting, now=1000.0) == pytest.approx(predicted["exporting"] + ahead, abs=0.1)
    overran = left_s(exporting, now=1000.0 + 3 * predicted["exporting"] + 30.0)
    assert overran is not None
    assert overran > 2 * ahead


def test_a_job_without_predictions_and_without_word_says_nothing(ready: Any) -> None:
    job = jobs.running(ready.developer)
    job.predicted = {}
    assert left_s(at(job, "loading", entered=1.0), now=2.0) is None
    assert left_s(at(job, "training", entered=1.0, eta_s=7.0), now=2.0) == 7.0


def test_the_whole_is_the_sum_of_its_phases_and_what_the_clock_shows(ready: Any) -> None:
    """Start and publishing count, which the child that measures itself does not see; waits between attempts do not."""
    job_make(ready.developer)
    device_make()
    job = claimed()
    for name in ("preparing", "training", "publishing"):
        _fold(job, {"type": "phase", "name": name, "t": job.started_at.timestamp() + 1})
    _fold(job, {"type": "resources", "peak_memory_bytes": 1, "elapsed_s": 0.001, "disk_bytes": 1})
    assert services.job_requeue(job=job, owner="a", reason="x", crashed=False)
    shift(job, seconds=100)
    job = claimed()
    services.job_finish(job=job, owner="a", status=JobStatus.FAILED, reason="x")
    shift(job, seconds=1000)
    job = services.job_retry(by=ready.developer.identity, job=job)
    assert worked_s(job) == 0.0
    job = claimed()
    shift(job, seconds=10)
    _fold(job, {"type": "phase", "name": "publishing", "t": time.time()})
    shift(job, seconds=10)
    services.job_finish(job=job, owner="a", status=JobStatus.SUCCEEDED, reason="x")
    job.refresh_from_db()
    steps = {step.title: step.seconds or 0.0 for step in progressing.steps_of(job)}
    waited = steps.pop("Queued")
    assert 20.0 <= sum(steps.values()) < 100.0
    assert sum(steps.values()) == pytest.approx(job.actual["seconds"], abs=0.1)
    assert worked_s(job) == pytest.approx(job.actual["seconds"], abs=0.01)
    assert row_of(job, None).duration_s == worked_s(job)
    assert waited >= 1000.0
    whole = next(item for item in progressing.comparisons_of(job) if item.title == "Time, whole job")
    assert whole.actual == duration(sum(steps.values()))


def claimed() -> Job:
    job = services.job_claim(owner="a", host="here")
    assert job is not None
    return job


def shift(job: Job, *, seconds: float) -> None:
    """Let time pass: move all that has been into the past."""
    job.refresh_from_db()
    for phase in job.progress_detail["phases"]:
        phase["at"] -= seconds
    for name in ("created_at", "queued_at", "started_at", "finished_at"):
        if getattr(job, name) is not None:
            setattr(job, name, getattr(job, name) - timedelta(seconds=seconds))
    job.save()


def test_the_wait_between_two_attempts_is_queueing(ready: Any) -> None:
    job_make(ready.developer)
    device_make()
    job = claimed()
    shift(job, seconds=30)
    assert services.job_requeue(job=job, owner="a", reason="x", crashed=True)
    shift(job, seconds=300)
    assert 30.0 <= (worked_s(job) or 0.0) < 300.0
    job = claimed()
    shift(job, seconds=7)
    assert 37.0 <= (worked_s(job) or 0.0) < 300.0
    timeline = {phase.name: phase.seconds or 0.0 for phase in phase_timeline(job, now=time.time())}
    assert 37.0 <= timeline["preparing"] < 300.0
    assert timeline["queued"] >= 300.0


def test_the_speed_of_a_phase_ends_with_it(ready: Any) -> None:
    job = jobs.running(ready.developer)
    job.progress_detail |= {"eta_s": 9.0, "rows_per_s": 3.0}
    _fold(job, {"type": "phase", "name": "exporting", "t": 5.0})
    assert "eta_s" not in job.progress_detail
    assert "rows_per_s" not in job.progress_detail


def test_a_resumed_job_does_not_take_its_preparations_for_its_loop(ready: Any) -> None:
    job = jobs.running(ready.developer)
    job.predicted = job.predicted | {"training_s": 300.0}
    _fold(job, {"type": "progress", "fraction": 0.1, "step": 2, "steps": 849, "eta_s": 280.0, "rows_per_s": 60.0})
    assert progressing.progress_facts(job)[0] == "Step 2 of 849"
    _fold(job, {"type": "attempt", "t": 1.0})
    _fold(job, {"type": "phase", "name": "training", "t": time.time()})
    _fold(job, {"type": "progress", "fraction": 0.1, "eta_s": 14.0, "rows_per_s": 60.0})
    assert progressing.progress_facts(job) == ["60.0 rows/s"]
    assert (left_s(job) or 0.0) > 290.0


def test_a_short_phase_that_was_slow_says_little_of_a_long_one(ready: Any) -> None:
    job = jobs.running(ready.developer)
    job.predicted = job.predicted | {"preparing_s": 0.5, "training_s": 300.0}
    now = time.time()
    whole = sum(predicted_phases(job).values())
    left = left_s(at(job, "preparing", entered=now - 8.0), now=now)
    assert left is not None
    assert whole < left < 1.4 * whole


def test_memory_and_disk_are_known_while_it_runs(ready: Any) -> None:
    job = jobs.running(ready.developer)
    for second, memory in ((0, 700_000_000), (2, 1_900_000_000), (4, 800_000_000)):
        event = {"type": "usage", "t": 1000.0 + second, "memory_bytes": memory, "peak_memory_bytes": memory}
        event["disk_bytes"] = 50_000_000
        jobs.events_append(job, event)
        _fold(job, event)
    assert job.actual["memory_bytes"] == 1_900_000_000
    lines = {item.title: item for item in progressing.comparisons_of(job)}
    assert lines["Memory, peak"].actual.endswith("so far")
    drawn = figures.usage_figures(job)
    assert set(drawn) == {"memory", "disk"}
    assert drawn["memory"]["unit"] == "GB"
    assert [y for _x, y in drawn["memory"]["series"][0]["points"]] == [0.7, 1.9, 0.8]
    assert drawn["memory"]["references"][0]["value"] == pytest.approx(job.predicted["memory_bytes"] / 1e9, abs=1e-3)


def test_the_stepper_says_how_long_the_phases_ahead_take(ready: Any) -> None:
    job = jobs.running(ready.developer)
    page = ready.viewer.browser().get(f"/jobs/{job.public_id}/").content.decode()
    ahead = [step for step in progressing.steps_of(job) if step.state == "ahead"]
    assert ahead
    assert all(step.expected_s for step in ahead)
    assert page.count("<strong>Exporting</strong>about ") == 1
