"""Jobs in every state with the files that a child leaves, for the tests of their pages."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from apps.jobs.models import Job, JobStatus
from tests.apps.jobs.factory import job_make

LABELS = [f"class_{number:02d}" for number in range(20)]


def folder_of(job: Job) -> Path:
    folder = Path(settings.JOBS_DIR) / job.public_id
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    return folder


def events_append(job: Job, *events: dict[str, Any]) -> None:
    with (folder_of(job) / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"t": time.time(), **event}) + "\n" for event in events)


def log_append(job: Job, *lines: str) -> None:
    with (folder_of(job) / "log.txt").open("a") as file:
        file.writelines(line + "\n" for line in lines)


def metrics(split: str, step: int, **values: float) -> dict[str, Any]:
    return {"type": "metrics", "split": split, "step": step, "epoch": step / 10, "values": values}


def running(person: Any, **changes: Any) -> Job:
    """A job in the middle of its training."""
    job = job_make(person, **changes)
    now = timezone.now()
    phases = [{"name": name, "at": now.timestamp() - 60 + 10 * i, "attempt": 1} for i, name in enumerate(PHASES)]
    job.progress_detail = {"step": 12, "steps": 40, "epoch": 1.2, "epochs": 4, "eta_s": 109.0, "phases": phases}
    job.status, job.phase, job.progress, job.attempt = JobStatus.RUNNING, "training", 0.3, 1
    job.started_at, job.host = now - timedelta(seconds=60), "node-1"
    job.best = {"name": "accuracy", "value": 0.926, "step": 10, "epoch": 1.0}
    job.lease_owner, job.lease_expires_at = "tests", now + timedelta(hours=1)
    job.save()
    events_append(job, *(metrics("train", step, loss=2 / step) for step in range(1, 13)))
    events_append(job, metrics("validation", 10, accuracy=0.926, loss=0.4))
    log_append(job, "14:43:02 INFO Step 12 of 40")
    return job


PHASES = ("preparing", "loading", "training")


def succeeded(person: Any, **changes: Any) -> Job:
    """A job that ended well, with everything that evaluation leaves."""
    job = running(person, **changes)
    contents = evaluation()
    for name, content in contents.items():
        (folder_of(job) / "artifacts" / f"{name}.json").write_text(json.dumps(content))
    job.progress_detail["artifacts"] = {name: {"path": f"artifacts/{name}.json", "kind": "json"} for name in contents}
    job.status, job.phase, job.progress, job.finished_at = JobStatus.SUCCEEDED, "", 1.0, timezone.now()
    job.metrics, job.metrics_split = {"accuracy": 0.95, "f1_macro": 0.949}, "test"
    job.actual = {"memory_bytes": 1_200_000_000, "seconds": 61.0, "disk_bytes": 90_000_000}
    job.save()
    return job


def failed(person: Any, *, code: str = "bad_labels", status: str = JobStatus.FAILED, **error: str) -> Job:
    """A job that ended with an error card."""
    job = running(person)
    job.status, job.phase, job.finished_at = status, "", timezone.now()
    job.error = {"code": code, "message": "Only one class is left.", "hint": "Add rows of another class."} | error
    job.save()
    return job


def evaluation() -> dict[str, Any]:
    """The artifacts of an evaluation over 20 classes of ten rows; class_03 is taken for class_04 four times."""
    size = len(LABELS)
    matrix = [[10 if row == column else 0 for column in range(size)] for row in range(size)]
    matrix[3][3], matrix[3][4] = 6, 4
    rows = [
        {"label": label, "precision": 1.0, "recall": matrix[i][i] / 10, "f1": 0.75 if i == 3 else 1.0, "support": 10}
        for i, label in enumerate(LABELS)
    ]
    rows[0]["label"] = "=1+1"
    row = {"row_id": "a-0", "text": "where <b>is</b> it", "label": "class_03", "predicted": "class_04"}
    return {
        "confusion": {"labels": LABELS, "matrix": matrix, "split": "test"},
        "per_class": {"rows": rows, "split": "test"},
        "samples": {name: [row | {"score": 0.9, "loss": 2.3}] for name in ("best", "worst", "random")},
        "first_batch": {
            "rows": [{"text": "where is it", "tokens": ["[CLS]", "where", "##is", "[SEP]"], "label": "class_03"}],
            "max_length": 9,
            "truncated_fraction": 0.0,
            "mean_tokens": 4.0,
        },
        "parity": {"golden": 200, "agree": 200, "max_drift": 1e-6, "mean_drift": 1e-8, "ok": True},
    }
