"""Makes jobs: preview, create, clone."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from apps.accounts.auth import Identity
from apps.accounts.models import Workspace
from apps.accounts.services import audit_record
from apps.core.models import IdempotencyRecord
from apps.jobs import queue
from apps.jobs.models import Job, JobKind, JobStatus, JobTransition
from apps.jobs.plans import AnyRequest, Plan, plan_of
from apps.jobs.schemas import (
    CloneRequest,
    CompressRequest,
    PredictFileRequest,
    PredictRequest,
    StoredFile,
    TrainRequest,
)
from modelkit.wording import say


def job_preview(*, by: Identity, request: AnyRequest) -> Plan:
    """What would happen if the request were sent now. Writes nothing."""
    return plan_of(workspace=by.workspace, request=request)


def job_create(*, by: Identity, request: AnyRequest, key: str = "", cloned_from: Job | None = None) -> Job:
    """Freeze the request into a queued job and let a worker look, once committed. Raises Invalid naming each field.

    `key` comes from the form that was shown: two clicks on its button make one job, and both answer with it.
    """
    if key:
        return _job_create_once(by=by, request=request, key=key, cloned_from=cloned_from)
    plan = plan_of(workspace=by.workspace, request=request)
    plan.raise_problems()
    return _freeze(by=by, plan=plan, cloned_from=cloned_from)


def _job_create_once(*, by: Identity, request: AnyRequest, key: str, cloned_from: Job | None) -> Job:
    scope = f"{by.workspace.public_id}:{by.user.pk}:job_create"
    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    try:
        # The key and the job commit together: whoever comes second waits for the first and finds its job.
        with transaction.atomic():
            record = IdempotencyRecord.objects.create(scope=scope, key=key[:200], body_sha256=digest, status=201)
            plan = plan_of(workspace=by.workspace, request=request)
            plan.raise_problems()
            job = _freeze(by=by, plan=plan, cloned_from=cloned_from)
            record.body = {"job": job.public_id}
            record.save(update_fields=["body"])
            return job
    except IntegrityError:
        record = IdempotencyRecord.objects.get(scope=scope, key=key[:200])
        return Job.objects.get(workspace=by.workspace, public_id=(record.body or {})["job"])


def _freeze(*, by: Identity, plan: Plan, cloned_from: Job | None) -> Job:
    with transaction.atomic():
        # Serialises the numbering; SQLite's write lock does so anyway.
        Workspace.objects.select_for_update().get(pk=by.workspace.pk)
        last = Job.objects.filter(workspace=by.workspace).aggregate(last=Max("number"))["last"]
        job = Job(
            workspace=by.workspace,
            created_by=by.user,
            number=(last or 0) + 1,
            kind=plan.kind,
            task=plan.task,
            title=plan.title[:200],
            preset=plan.preset,
            model_name=plan.model_name,
            dataset_version=plan.dataset,
            base_model=plan.base_model,
            source_version=plan.source,
            cloned_from=cloned_from,
            priority=plan.priority,
            predicted=plan.predicted,
        )
        job.spec = plan.spec | {"job": job.public_id}
        job.save()
        JobTransition.objects.create(job=job, actor=by.user, to_status=JobStatus.QUEUED, reason=say("Job created"))
        audit_record(
            by=by, action="job.create", target=f"#{job.number}", details={"id": job.public_id, "kind": job.kind}
        )
        queue.send_on_commit(queue.JOB_LOOK)
    return job


def job_clone(*, by: Identity, job: Job, changes: CloneRequest, key: str = "") -> Job:
    """A new job with the spec of `job` and the given changes, validated anew against today's data and code."""
    return job_create(by=by, request=request_of(job, changes), key=key, cloned_from=job)


def request_of(job: Job, changes: CloneRequest | None = None) -> AnyRequest:
    """The request that would make `job` again; parameters are spelled out, so that no preset is needed."""
    changes = changes or CloneRequest()
    spec = job.spec
    params: dict[str, Any] = spec["params"] | changes.params
    if job.kind == JobKind.TRAIN:
        budget = spec.get("budget_s")
        return TrainRequest(
            kind="train",
            task=job.task,
            dataset=changes.dataset or spec["dataset"]["ref"],
            base_model=spec["base_model"]["id"],
            model_name=changes.model_name or job.model_name,
            params=params,
            budget_minutes=budget / 60 if budget else None,
            title=changes.title,
            priority=job.priority,
        )
    if job.kind == JobKind.PREDICT:
        values: dict[str, Any] = {
            "kind": "predict",
            "model": spec["source"]["ref"],
            "dataset": changes.dataset or (spec["dataset"] or {}).get("ref"),
            "split": spec["split"],
            "save_as": spec["save_as"],
            "title": changes.title,
            "priority": job.priority,
        }
        if spec["file"] and not changes.dataset:
            return PredictFileRequest(**values, file=StoredFile(**spec["file"]))
        return PredictRequest(**values)
    return CompressRequest(
        kind="compress",
        model=spec["source"]["ref"],
        method=spec["method"],
        params=params,
        title=changes.title,
        priority=job.priority,
    )
