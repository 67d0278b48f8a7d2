"""Brings what a child reported into the job's row: the latest state only, with the offset read so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from apps.jobs.models import Job, JobStatus
from apps.jobs.selectors.timing import phase_entered
from apps.jobs.services.leasing import LeaseLost
from modelkit import catalog
from modelkit.wording import pack

NOTICES_KEPT = 30


def job_apply_events(*, job: Job, owner: str, events: Iterable[Mapping[str, Any]], offset: int) -> None:
    """Fold events into the row, in one update together with the offset: each counts once. Raises LeaseLost."""
    for event in events:
        _fold(job, event)
    job.event_offset = offset
    _save(
        job,
        owner,
        "phase",
        "progress",
        "progress_detail",
        "metrics",
        "metrics_split",
        "best",
        "actual",
        "event_offset",
    )


def job_launched(*, job: Job, owner: str) -> None:
    """The child of this attempt runs: the folder is no longer to be emptied first."""
    job.progress_detail.pop("fresh", None)
    _save(job, owner, "progress_detail")


def job_phase(*, job: Job, owner: str, name: str) -> None:
    """Enter a phase that the worker itself carries out (`publishing`)."""
    _fold(job, {"type": "phase", "name": name, "t": time.time()})
    _save(job, owner, "phase", "progress_detail")


def job_notice(*, job: Job, owner: str, code: str, message: str, level: str = "warning") -> None:
    """Tell the user something from the worker's side. The same code replaces its last notice."""
    notices = [notice for notice in job.progress_detail.get("notices", []) if notice["code"] != code]
    notices.append({"t": time.time(), "level": level, "code": code, "message": pack(message)})
    job.progress_detail["notices"] = notices[-NOTICES_KEPT:]
    _save(job, owner, "progress_detail")


def job_notice_withdraw(*, job: Job, owner: str, code: str) -> None:
    """Take back what no longer holds, e.g. that a part of the platform does not answer."""
    notices = job.progress_detail.get("notices", [])
    kept = [notice for notice in notices if notice["code"] != code]
    if len(kept) < len(notices):
        job.progress_detail["notices"] = kept
        _save(job, owner, "progress_detail")


def job_mirrored(*, job: Job, owner: str, run_id: str, offset: int) -> None:
    """MLflow has the run's metrics up to `offset`."""
    job.mlflow_run_id, job.mlflow_offset = run_id, offset
    _save(job, owner, "mlflow_run_id", "mlflow_offset")


#: Where a loop is, as its progress tells it.
_POSITION = ("step", "steps", "epoch", "epochs", "rows_per_s", "eta_s")


def _save(job: Job, owner: str, *names: str) -> None:
    values = {name: getattr(job, name) for name in names}
    if not Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING, lease_owner=owner).update(**values):
        raise LeaseLost


def _fold(job: Job, event: Mapping[str, Any]) -> None:
    detail = job.progress_detail
    match event["type"]:
        case "attempt":
            # What a resumed job does before its loop tells time left of its own, which is not the loop's.
            for name in _POSITION:
                detail.pop(name, None)
        case "usage":
            peak = max(event["peak_memory_bytes"], job.actual.get("memory_bytes", 0))
            job.actual = job.actual | {"memory_bytes": peak, "disk_bytes": event["disk_bytes"]}
        case "phase":
            # Speed and time left are of the loop that ended with its phase.
            for name in ("eta_s", "rows_per_s"):
                detail.pop(name, None)
            job.phase = str(event["name"])[:20]
            job.progress_detail = phase_entered(detail, job.phase, at=event["t"], attempt=job.attempt)
        case "progress":
            job.progress = float(event["fraction"])
            detail.update({name: event[name] for name in _POSITION if event.get(name) is not None})
        case "metrics" if event["split"] != "train":
            job.metrics = job.metrics | event["values"]
            job.metrics_split = str(event["split"])[:10]
            _fold_best(job, event)
        case "metrics":
            detail["train"] = event["values"]
        case "checkpoint":
            detail["checkpoint"] = {name: event.get(name) for name in ("path", "step", "epoch", "values", "t")}
        case "artifact":
            detail.setdefault("artifacts", {})[event["name"]] = {"path": event["path"], "kind": event["kind"]}
        case "notice":
            notice = {name: event[name] for name in ("t", "level", "code", "message")}
            detail["notices"] = [*detail.get("notices", []), notice][-NOTICES_KEPT:]
        case "resources":
            job.actual = {
                "memory_bytes": max(event["peak_memory_bytes"], job.actual.get("memory_bytes", 0)),
                "seconds": round(job.actual.get("seconds", 0) + event["elapsed_s"], 3),
                "disk_bytes": event["disk_bytes"],
            }


def _fold_best(job: Job, event: Mapping[str, Any]) -> None:
    spec = catalog.tasks().get(job.task)
    if spec is None or event["split"] != "validation" or spec.primary_metric not in event["values"]:
        return
    name, value = spec.primary_metric, float(event["values"][spec.primary_metric])
    higher = spec.metric(name).higher_is_better
    known = job.best.get("value")
    if known is None or (value > known if higher else value < known):
        job.best = {"name": name, "value": value, "step": event.get("step"), "epoch": event.get("epoch")}
