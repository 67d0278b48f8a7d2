"""Events of a child become the latest state of the row, each once; pages read the rest from the folder."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.conf import settings

from apps.core.errors import NotFound
from apps.jobs import services
from apps.jobs.models import Job
from apps.jobs.presenting import result_figures
from apps.jobs.selectors import folders, timing
from modelkit.jobfolder import JobFolder
from modelkit.tracking.folder import FolderReporter
from tests.apps.jobs.factory import device_make, job_make


@pytest.fixture
def running(ready: Any) -> tuple[Job, FolderReporter]:
    """A claimed job with a folder and a reporter into it."""
    job_make(ready.developer)
    device_make()
    job = services.job_claim(owner="a", host="here")
    assert job is not None
    folder = JobFolder(settings.JOBS_DIR / job.public_id)
    folder.create(job.spec)
    return job, FolderReporter(folder)


def bring(job: Job) -> Job:
    events, offset = folders.folder_of(job).read_events(job.event_offset)
    services.job_apply_events(job=job, owner="a", events=events, offset=offset)
    return Job.objects.get(pk=job.pk)


def test_the_row_holds_the_latest_state(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    reporter.attempt(1)
    reporter.phase("training")
    reporter.progress(0.5, step=5, steps=10, eta_s=12.5)
    reporter.metrics({"loss": 0.5}, step=5)
    reporter.metrics({"accuracy": 0.8, "loss": 0.4}, step=5, epoch=1, split="validation")
    reporter.metrics({"accuracy": 0.7}, step=9, epoch=2, split="validation")
    reporter.checkpoint(folders.folder_of(job).checkpoints_path / "step-5", step=5, epoch=1, values={})
    reporter.notice("smaller_batch", "The batch was halved.", level="warning")
    reporter.resources(peak_memory_bytes=10, elapsed_s=2.0, disk_bytes=30)
    row = bring(job)
    assert (row.phase, row.progress) == ("training", 0.5)
    assert row.progress_detail["eta_s"] == 12.5
    assert row.metrics == {"accuracy": 0.7, "loss": 0.4}
    assert (row.best["value"], row.best["epoch"]) == (0.8, 1)
    assert row.progress_detail["checkpoint"]["path"] == "checkpoints/step-5"
    assert row.progress_detail["notices"][0]["code"] == "smaller_batch"
    assert row.actual == {"memory_bytes": 10, "seconds": 2.0, "disk_bytes": 30}


def test_what_the_test_rows_gave_is_not_mixed_with_the_best_of_validation(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    reporter.metrics({"accuracy": 0.8, "f1_macro": 0.7}, step=5, epoch=1, split="validation")
    reporter.metrics({"accuracy": 0.6, "f1_macro": 0.5}, step=9, epoch=2, split="validation")
    assert accuracy_of(bring(job)) == "80.0 %"
    reporter.metrics({"accuracy": 0.75, "f1_macro": 0.74}, step=9, split="test")
    row = bring(job)
    assert (row.metrics_split, accuracy_of(row)) == ("test", "75.0 %")


def accuracy_of(job: Job) -> str:
    return next(figure.value for figure in result_figures(job, None) if figure.title == "Accuracy")


def test_an_event_counts_once_however_often_it_is_looked_at(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    reporter.resources(peak_memory_bytes=10, elapsed_s=2.0, disk_bytes=30)
    bring(job)
    bring(job)
    reporter.resources(peak_memory_bytes=5, elapsed_s=1.0, disk_bytes=40)
    assert bring(job).actual == {"memory_bytes": 10, "seconds": 3.0, "disk_bytes": 40}


def test_curves_are_thinned_and_a_step_taken_again_counts_once(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    for step in [*range(1, 2001), *range(1500, 2001)]:
        reporter.metrics({"loss": 1 / step}, step=step)
    (series,) = folders.metric_series(job, max_points=100)
    assert (len(series.xs), series.xs[0], series.xs[-1]) == (100, 1, 2000)
    assert series.xs == sorted(set(series.xs))


def test_phases_have_their_durations(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    reporter.phase("preparing")
    reporter.phase("training")
    timeline = {phase.name: phase for phase in timing.phase_timeline(bring(job), now=time.time() + 5)}
    assert next(iter(timeline)) == "queued"
    assert timeline["preparing"].state == "done"
    assert (timeline["training"].state, timeline["parity"].state) == ("now", "ahead")
    assert timeline["training"].seconds is not None
    assert timeline["training"].seconds >= 5
    assert timeline["parity"].seconds is None


def test_artifacts_stay_inside_the_folder(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    path = folders.folder_of(job).artifacts_path / "confusion.json"
    path.write_text('{"labels": ["a"]}')
    reporter.artifact("confusion", path, kind="confusion")
    reporter.artifact("evil", folders.folder_of(job).path.parent / "secret", kind="json")
    row = bring(job)
    assert folders.artifact(row, "confusion") == {"labels": ["a"]}
    assert folders.artifact(row, "../spec") is None
    assert folders.artifact_path(row, "confusion") == path.resolve()
    assert [entry["name"] for entry in folders.artifact_names(row)] == ["confusion"]
    for name in ("evil", "none"):
        with pytest.raises(NotFound):
            folders.artifact_path(row, name)


def test_checkpoints_say_which_are_kept(running: tuple[Job, FolderReporter]) -> None:
    job, reporter = running
    for step in (1, 2):
        path = folders.folder_of(job).checkpoints_path / f"step-{step}"
        reporter.checkpoint(path, step=step, epoch=0.5, values={"loss": 1.0})
    path.mkdir()
    rows = folders.checkpoint_list(job)
    assert [(row["step"], row["present"]) for row in rows] == [(2, True), (1, False)]


def test_a_notice_goes_when_it_no_longer_holds(running: tuple[Job, FolderReporter]) -> None:
    job, _ = running
    services.job_notice(job=job, owner="a", code="launcher_down", message="It does not answer.")
    services.job_notice(job=job, owner="a", code="other", message="Something else.")
    services.job_notice_withdraw(job=job, owner="a", code="launcher_down")
    assert [notice["code"] for notice in Job.objects.get(pk=job.pk).progress_detail["notices"]] == ["other"]
