"""What people decide about a job that exists: cancel, resume, retry, delete."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.services import audit_record
from apps.core import storage
from apps.core.errors import Conflict
from apps.jobs import queue
from apps.jobs.models import Job, JobStatus, JobTransition
from apps.jobs.selectors.records import STOPPED, job_can_resume
from apps.jobs.selectors.timing import phase_entered
from modelkit.wording import say


def job_cancel(*, by: Identity, job: Job) -> Job:
    """Cancel now while queued; while running, ask: the child ends at its next step. Asking twice is no error."""
    now = timezone.now()
    with transaction.atomic():
        queued = Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED)
        if queued.update(status=JobStatus.CANCELLED, phase="", finished_at=now, cancel_requested_at=now):
            _record(by, job, JobStatus.QUEUED, JobStatus.CANCELLED, say("Cancelled while queued"))
        elif Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING, cancel_requested_at=None).update(
            cancel_requested_at=now
        ):
            audit_record(by=by, action="job.cancel", target=f"#{job.number}", details={"id": job.public_id})
    job.refresh_from_db()
    if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ERRORED):
        raise Conflict(_("The job has ended already."), code="job_ended", hint=_("There is nothing left to cancel."))
    return job


def job_resume(*, by: Identity, job: Job) -> Job:
    """Queue a stopped job again; it goes on from its last checkpoint. Raises Conflict where there is none."""
    if job.status == JobStatus.SUCCEEDED:
        raise Conflict(_("The job has succeeded."), code="job_succeeded", hint=_("Clone it to run it again."))
    if not job_can_resume(job):
        raise Conflict(
            _("There is no checkpoint to go on from."),
            code="no_checkpoint",
            hint=_("Use retry to begin anew, or clone to change something first."),
        )
    detail = {name: value for name, value in job.progress_detail.items() if name != "crashes"}
    return _queue_again(by, job, say("Resumed from the last checkpoint"), progress_detail=detail)


def job_retry(*, by: Identity, job: Job) -> Job:
    """Queue a stopped job again, from the start: checkpoints, curves and logs of earlier attempts are thrown away."""
    generation = int(job.progress_detail.get("generation", 0)) + 1
    return _queue_again(
        by,
        job,
        say("Retried from the start"),
        progress_detail={"fresh": True, "generation": generation},
        progress=0,
        event_offset=0,
        mlflow_offset=0,
        mlflow_run_id="",
        metrics={},
        metrics_split="",
        best={},
        actual={},
    )


def _queue_again(by: Identity, job: Job, reason: str, *, progress_detail: Mapping[str, Any], **fields: Any) -> Job:
    before = job.status
    # What passed since it stopped is a wait, not work.
    stopped = job.finished_at or timezone.now()
    detail = phase_entered(progress_detail, "queued", at=stopped.timestamp(), attempt=job.attempt)
    with transaction.atomic():
        changed = Job.objects.filter(pk=job.pk, status=before, status__in=STOPPED).update(
            status=JobStatus.QUEUED,
            phase="queued",
            queued_at=timezone.now(),
            finished_at=None,
            cancel_requested_at=None,
            error=None,
            progress_detail=detail,
            **fields,
        )
        if not changed:
            job.refresh_from_db()
            if job.status == JobStatus.SUCCEEDED:
                hint = _("Clone it to run it again.")
                raise Conflict(_("The job has succeeded."), code="job_succeeded", hint=hint)
            hint = _("Cancel it first, or wait for its end.")
            raise Conflict(_("The job is queued or running already."), code="job_active", hint=hint)
        _record(by, job, JobStatus(before), JobStatus.QUEUED, reason)
        queue.send_on_commit(queue.JOB_LOOK)
    job.refresh_from_db()
    return job


def job_delete(*, by: Identity, job: Job) -> None:
    """Delete a job that has ended, with its folder. Refused while a model version stands on it."""
    if not JobStatus(job.status).is_final:
        raise Conflict(_("The job is queued or running."), code="job_active", hint=_("Cancel it first."))
    if job.published is not None:
        message = _("The model version %(ref)s came from this job.") % {"ref": job.published.ref}
        raise Conflict(
            message, code="in_use", hint=_("Delete that version first."), fields={"used_by": job.published.ref}
        )
    folder = settings.JOBS_DIR / job.public_id
    with transaction.atomic():
        audit_record(by=by, action="job.delete", target=f"#{job.number}", details={"id": job.public_id})
        job.delete()
        transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
        key = (job.spec.get("file") or {}).get("key")
        # A clone asks about the same file.
        if key and not Job.objects.filter(spec__file__key=key).exists():
            transaction.on_commit(lambda: storage.delete_prefix(key.rpartition("/")[0]))


def _record(by: Identity, job: Job, before: JobStatus, after: JobStatus, reason: str) -> None:
    JobTransition.objects.create(
        job=job, actor=by.user, from_status=before, to_status=after, reason=reason, attempt=job.attempt
    )
    verb = {"cancelled": "cancel", "queued": "requeue"}[after]
    audit_record(by=by, action=f"job.{verb}", target=f"#{job.number}", details={"id": job.public_id, "reason": reason})
