"""Rows of jobs: one, many, and what the API answers of one."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core.errors import NotFound
from apps.jobs.models import Device, Job, JobStatus, WorkerProcess
from apps.jobs.selectors.queue import Place, queue_places
from apps.jobs.selectors.timing import left_s

ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING)
#: From these a job can be queued again; a succeeded one is cloned instead.
STOPPED = (JobStatus.FAILED, JobStatus.ERRORED, JobStatus.CANCELLED)


def job_list(
    *,
    workspace: Workspace,
    status: str = "",
    kind: str = "",
    task: str = "",
    model: str = "",
    dataset: str = "",
    search: str = "",
) -> QuerySet[Job]:
    """Jobs of a workspace, newest first, narrowed by each filter that is not empty.

    `status` takes a status or `active`; `dataset` a dataset's name, or `name@version`.
    """
    jobs = Job.objects.filter(workspace=workspace).select_related(
        "dataset_version__dataset", "base_model", "source_version__model", "published__model", "created_by", "device"
    )
    if status == "active":
        jobs = jobs.filter(status__in=ACTIVE)
    elif status:
        jobs = jobs.filter(status=status)
    if kind:
        jobs = jobs.filter(kind=kind)
    if task:
        jobs = jobs.filter(task=task)
    if model:
        jobs = jobs.filter(model_name=model)
    if dataset:
        name, _at, number = dataset.partition("@")
        jobs = jobs.filter(dataset_version__dataset__name=name)
        if number.isdigit():
            jobs = jobs.filter(dataset_version__number=int(number))
    if search:
        jobs = jobs.filter(title__icontains=search)
    return jobs


def job_get(*, workspace: Workspace, public_id: str) -> Job:
    """The job of that id, or NotFound; another workspace's is not found either."""
    job = job_list(workspace=workspace).select_related("workspace").filter(public_id=public_id).first()
    if job is None:
        message = _("This workspace has no job “%(id)s”.") % {"id": public_id}
        raise NotFound(message, code="job_not_found", hint=_("See the list of jobs."))
    return job


def job_counts(*, workspace: Workspace) -> dict[str, int]:
    """How many jobs have each status."""
    counts = dict.fromkeys(JobStatus.values, 0)
    for status in Job.objects.filter(workspace=workspace).values_list("status", flat=True):
        counts[status] += 1
    return counts


def job_can_resume(job: Job) -> bool:
    """Whether a stopped job left a checkpoint, or even its finished bundle."""
    detail = job.progress_detail
    return job.status in STOPPED and not detail.get("fresh") and bool(detail.get("checkpoint") or detail.get("bundle"))


def places_for(jobs: list[Job]) -> dict[int, Place]:
    """The places of those jobs that are queued; asks nothing when none is."""
    return queue_places() if any(job.status == JobStatus.QUEUED for job in jobs) else {}


def job_state(job: Job, place: Place | None = None) -> dict[str, Any]:
    """The job as the API answers it (`schemas.JobOut`)."""
    spec = job.spec
    running = job.status == JobStatus.RUNNING
    error = job.problem and {name: job.problem.get(name, "") for name in ("code", "message", "hint")}
    return {
        "id": job.public_id,
        "number": job.number,
        "kind": job.kind,
        "task": job.task,
        "title": job.title,
        "status": job.status,
        "phase": job.phase,
        "progress": round(job.progress, 4),
        "eta_s": left_s(job) if running else place.wait_s if place else None,
        "queue_position": place.position if place else None,
        "waiting_reason": place.reason if place else None,
        "attempt": job.attempt,
        "metrics": job.metrics,
        "metrics_split": job.metrics_split or None,
        "model": (
            {"name": job.published.model.name, "version": job.published.number} if job.published is not None else None
        ),
        "error": error or None,
        "mlflow_run_id": job.mlflow_run_id or None,
        "model_name": job.model_name,
        "dataset": (spec.get("dataset") or {}).get("ref"),
        "base_model": (spec.get("base_model") or {}).get("id"),
        "source": (spec.get("source") or {}).get("ref"),
        "method": spec.get("method"),
        "preset": job.preset or None,
        "split": spec.get("split"),
        "file": (spec.get("file") or {}).get("name"),
        "result_dataset": job.progress_detail.get("dataset"),
        "params": spec["params"],
        "seed": spec["seed"],
        "predicted": job.predicted,
        "actual": job.actual,
        "cancel_requested": running and job.cancel_requested_at is not None,
        "can_resume": job_can_resume(job),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def worker_list() -> list[WorkerProcess]:
    """Every worker process that reports in, by host and queue."""
    return list(WorkerProcess.objects.order_by("host", "queue", "name"))


def device_list() -> list[Device]:
    """Every device offered, with the job that holds it."""
    return list(Device.objects.select_related("job__workspace").order_by("host", "name"))
