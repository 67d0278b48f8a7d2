"""Who runs a job: claim, lease, adoption, requeue and end. Every change is conditional on holding the lease.

A worker that lost its lease finds the count of its update to be zero, and stops touching the job.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.jobs import queue
from apps.jobs.models import Device, Job, JobStatus, JobTransition, WorkerProcess
from apps.jobs.selectors.queue import DEVICE_FRESH, queue_order
from apps.jobs.selectors.timing import phase_entered, worked_s
from modelkit.wording import say

logger = logging.getLogger(__name__)

#: How long a lease lasts without a heartbeat; six heartbeats come in that time.
LEASE = timedelta(seconds=settings.JOB_LEASE_S)
#: After this silence of a whole host, its jobs go elsewhere. Long, since its children may still run.
HOST_LOST = timedelta(minutes=5)
#: A child that dies this often without a word is not started again.
MAX_CRASHES = 3
#: A kick that no worker took by then is void; the next sweep sends another.
KICK_EXPIRES_S = 10


class LeaseLost(Exception):
    """Another worker holds the job now, or it has ended."""


def job_claim(*, owner: str, host: str) -> Job | None:
    """Take the next job for a free device of `host`, or None. Two workers never get the same job or device."""
    while True:
        device = Device.objects.filter(host=host, job=None).order_by("name").first()
        if device is None:
            return None
        order = queue_order()
        if not order:
            return None
        job = next(filter(None, (_claim(pk, device, owner, host) for pk in order)), None)
        if job is not None:
            return job
        # Every candidate or the device went to somebody else meanwhile: look again.


def _claim(pk: int, device: Device, owner: str, host: str) -> Job | None:
    now = timezone.now()
    with transaction.atomic():
        claimed = Job.objects.filter(pk=pk, status=JobStatus.QUEUED, cancel_requested_at=None).update(
            status=JobStatus.RUNNING,
            phase="preparing",
            attempt=F("attempt") + 1,
            host=host,
            lease_owner=owner,
            lease_expires_at=now + LEASE,
            started_at=Coalesce("started_at", now),
        )
        if not claimed:
            return None
        if not Device.objects.filter(pk=device.pk, job=None).update(job=pk):
            transaction.set_rollback(True)
            return None
        job = Job.objects.select_related("workspace", "dataset_version", "source_version", "device").get(pk=pk)
        # The clock runs from here on, not from the child's first word.
        job.progress_detail = phase_entered(job.progress_detail, job.phase, at=now.timestamp(), attempt=job.attempt)
        job.save(update_fields=["progress_detail"])
        taken = say("Taken by {host} on {device}", host=host, device=device.name)
        _record(job, JobStatus.QUEUED, JobStatus.RUNNING, taken)
    return job


def job_adopt(*, owner: str, host: str) -> Job | None:
    """Take over a running job whose lease has expired: one of this host, or one of a host that is gone."""
    now = timezone.now()
    alive = WorkerProcess.objects.filter(seen_at__gte=now - HOST_LOST).values("host")
    mine_or_lost = Q(host=host) | (Q(lease_expires_at__lt=now - HOST_LOST) & ~Q(host__in=alive))
    expired = Job.objects.filter(mine_or_lost, status=JobStatus.RUNNING, lease_expires_at__lt=now)
    for job in expired.select_related("workspace", "dataset_version", "source_version", "device"):
        same = Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING, lease_expires_at=job.lease_expires_at)
        if same.update(lease_owner=owner, lease_expires_at=now + LEASE):
            logger.info("Job %s is taken over from %s.", job.public_id, job.lease_owner or "nobody")
            job.lease_owner = owner
            return job
    return None


def job_heartbeat(*, job: Job, owner: str) -> bool:
    """Prolong the lease; False when it is lost."""
    return bool(_held(job, owner).update(lease_expires_at=timezone.now() + LEASE))


def job_cancel_requested(*, job: Job, owner: str) -> bool:
    """Whether somebody asked to cancel; raises LeaseLost."""
    found = _held(job, owner).values_list("cancel_requested_at").first()
    if found is None:
        raise LeaseLost
    return found[0] is not None


def job_release(*, job: Job, owner: str) -> None:
    """Give the lease up while the child runs on, so that the next worker adopts it at once."""
    _held(job, owner).update(lease_owner="", lease_expires_at=timezone.now() - timedelta(seconds=1))


def job_requeue(*, job: Job, owner: str, reason: str, crashed: bool) -> bool:
    """Put a job back after an attempt ended early; it goes on from its last checkpoint.

    A `crashed` attempt counts: after MAX_CRASHES this answers False and changes nothing. Raises LeaseLost.
    """
    detail = dict(job.progress_detail)
    if crashed:
        detail["crashes"] = int(detail.get("crashes", 0)) + 1
        if detail["crashes"] >= MAX_CRASHES:
            return False
    detail = phase_entered(detail, "queued", at=timezone.now().timestamp(), attempt=job.attempt)
    with transaction.atomic():
        changed = _held(job, owner).update(
            status=JobStatus.QUEUED,
            phase="queued",
            queued_at=job.queued_at,
            progress_detail=detail,
            lease_owner="",
            lease_expires_at=None,
        )
        if not changed:
            raise LeaseLost
        Device.objects.filter(job=job).update(job=None)
        _record(job, JobStatus.RUNNING, JobStatus.QUEUED, reason)
        queue.send_on_commit(queue.JOB_LOOK)
    job.progress_detail = detail
    return True


def job_finish(*, job: Job, owner: str, status: JobStatus, reason: str, **fields: Any) -> None:
    """End a running job, free its device and let a worker look for the next one. Raises LeaseLost."""
    now = timezone.now()
    # A child measures itself alone; the whole job is also its start and what the worker did after it.
    actual = job.actual | {"seconds": round(worked_s(job, now=now.timestamp()) or 0.0, 3)}
    with transaction.atomic():
        changed = _held(job, owner).update(
            status=status,
            phase="",
            finished_at=now,
            actual=actual,
            lease_owner="",
            lease_expires_at=None,
            **({"progress": 1.0} if status == JobStatus.SUCCEEDED else {}),
            **fields,
        )
        if not changed:
            raise LeaseLost
        Device.objects.filter(job=job).update(job=None)
        _record(job, JobStatus.RUNNING, status, reason)
    logger.info("Job %s %s: %s", job.public_id, status, reason)


def job_sweep() -> dict[str, int]:
    """Free devices of jobs that ended, and wake a worker where a job waits for no reason. Run every few seconds."""
    now = timezone.now()
    freed = Device.objects.exclude(job=None).exclude(job__status=JobStatus.RUNNING).update(job=None)
    orphaned = Job.objects.filter(status=JobStatus.RUNNING, lease_expires_at__lt=now).count()
    claimable = 0
    if Device.objects.filter(job=None, seen_at__gte=now - DEVICE_FRESH).exists():
        claimable = Job.objects.filter(status=JobStatus.QUEUED, cancel_requested_at=None).count()
    if orphaned or claimable:
        queue.send(queue.JOB_LOOK, expires_s=KICK_EXPIRES_S)
    return {"freed": freed, "orphaned": orphaned, "claimable": claimable}


def _held(job: Job, owner: str) -> Any:
    return Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING, lease_owner=owner)


def _record(job: Job, before: JobStatus, after: JobStatus, reason: str) -> None:
    JobTransition.objects.create(job=job, from_status=before, to_status=after, reason=reason, attempt=job.attempt)
