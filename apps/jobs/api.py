"""REST routes of jobs, and of the tasks that they can be about."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from ninja import Query, Router, Status

from apps.accounts.auth import require
from apps.accounts.models import Role
from apps.core.errors import NotFound
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.jobs import previews, receiving, services
from apps.jobs.models import Job
from apps.jobs.plans import Plan
from apps.jobs.schemas import (
    CloneRequest,
    JobOut,
    JobQuery,
    JobRequest,
    LogPage,
    MetricPage,
    PreviewOut,
    TaskDetail,
    TaskOut,
    TaskPage,
)
from apps.jobs.selectors import folders, records
from apps.jobs.stream import event_stream
from modelkit import catalog
from modelkit.contracts import TaskSpec

router = Router(tags=["jobs"])

Offset = Annotated[int, Query(0, ge=0, le=1 << 60, description="`next` of the call before; 0 for the beginning.")]


def _out(job: Job) -> dict[str, Any]:
    return records.job_state(job, records.places_for([job]).get(job.pk))


def _get(request: HttpRequest, job_id: str) -> Job:
    return records.job_get(workspace=request.auth.workspace, public_id=job_id)  # type: ignore[attr-defined]


# --- tasks ----------------------------------------------------------------------------------------------------------


@router.get("/tasks", response=TaskPage, tags=["tasks"])
@require(Role.VIEWER)
def tasks_list(request: HttpRequest) -> dict[str, Any]:
    """What this installation can train."""
    return {"items": [_task(spec) for spec in catalog.tasks().values()], "next": None}


@router.get("/tasks/{task}", response=TaskDetail, tags=["tasks"])
@require(Role.VIEWER)
def task_get(request: HttpRequest, task: str) -> dict[str, Any]:
    """A task with the JSON schema of its parameters."""
    spec = catalog.tasks().get(task)
    if spec is None:
        known = ", ".join(sorted(catalog.tasks()))
        raise NotFound(f"There is no task “{task}”.", code="task_unknown", hint=f"Choose one of {known}.")
    return _task(spec) | {
        "params_schema": spec.params.model_json_schema(),
        "request_schema": spec.request.model_json_schema(),
        "response_schema": spec.response.model_json_schema(),
        "example": dict(spec.example),
        "export_formats": list(spec.export_formats),
    }


def _task(spec: TaskSpec) -> dict[str, Any]:
    return TaskOut.model_validate(spec, from_attributes=True).model_dump()


# --- jobs -----------------------------------------------------------------------------------------------------------


@router.post("/jobs", response={201: JobOut})
@require(Role.DEVELOPER)
@idempotent()
def job_create(request: HttpRequest, payload: JobRequest) -> Status[Any]:
    """Start a fine-tuning, a compression or a batch prediction."""
    return Status(201, _out(services.job_create(by=request.auth, request=payload)))  # type: ignore[attr-defined]


_FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "CSV, TSV, JSON or JSONL."},
                        "model": {"type": "string", "example": "intents@2"},
                        "mapping": {"type": "string", "description": 'JSON: `{"text": column}`; else found.'},
                        "encoding": {"type": "string"},
                        "delimiter": {"type": "string"},
                        "header": {"type": "string", "enum": ["true", "false"]},
                        "save_as": {"type": "string", "description": "A dataset that gets the answers as a version."},
                        "title": {"type": "string"},
                    },
                }
            }
        },
    }
}


@router.post(
    "/jobs/predictions",
    response={201: JobOut},
    summary="Predict the rows of a file",
    openapi_extra=_FILE_BODY,
)
@require(Role.DEVELOPER)
@idempotent(atomic=False)
def prediction_create(request: HttpRequest) -> Status[Any]:
    """Start a batch prediction over an uploaded file; over a dataset version it is `POST /jobs`."""
    body, files, mapping, options = receiving.prediction_of(request)
    job = services.job_create_for_file(
        by=request.auth,  # type: ignore[attr-defined]
        request=body,
        files=files,
        mapping=mapping,
        options=options,
    )
    return Status(201, _out(job))


@router.get("/jobs/{job_id}/predictions", summary="Download what a batch prediction answered")
@require(Role.VIEWER)
def predictions_get(
    request: HttpRequest,
    job_id: str,
    format: Annotated[Literal["csv", "jsonl", "parquet"], Query("csv", description="Of the file.")],
) -> FileResponse:
    """Columns `row`, `split`, `text`, `expected`, `label`, `score`, in the order of the rows."""
    job = _get(request, job_id)
    path = folders.artifact_path(job, f"predictions_{format}")
    return FileResponse(path.open("rb"), as_attachment=True, filename=f"predictions-{job.number}.{format}")


@router.post("/jobs/preview", response=PreviewOut)
@require(Role.DEVELOPER)
def job_preview(request: HttpRequest, payload: JobRequest) -> dict[str, Any]:
    """Whether the job could start, why not, what it would cost and what it would read first. Starts no job.

    `first_batch.tokens` is made by a worker within a second or two: ask again while `tokens_reason` says so.
    """
    return preview_state(services.job_preview(by=request.auth, request=payload))  # type: ignore[attr-defined]


@router.get("/jobs", response=Page[JobOut])
@require(Role.VIEWER)
def job_list(request: HttpRequest, query: Query[JobQuery], page: Query[PageQuery]) -> dict[str, Any]:
    """Jobs of the workspace, newest first."""
    jobs = records.job_list(workspace=request.auth.workspace, **query.dict())  # type: ignore[attr-defined]
    rows, following = page_of(jobs, page, order="-number")
    places = records.places_for(rows)
    return {"items": [records.job_state(job, places.get(job.pk)) for job in rows], "next": following}


@router.get("/jobs/{job_id}", response=JobOut)
@require(Role.VIEWER)
def job_get(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """A job as it stands."""
    return _out(_get(request, job_id))


@router.delete("/jobs/{job_id}", response={204: None})
@require(Role.DEVELOPER)
def job_delete(request: HttpRequest, job_id: str) -> Status[None]:
    """Delete a job that has ended, with its files; refused while a model version stands on it."""
    services.job_delete(by=request.auth, job=_get(request, job_id))  # type: ignore[attr-defined]
    return Status(204, None)


@router.get("/jobs/{job_id}/metrics", response=MetricPage)
@require(Role.VIEWER)
def job_metrics(request: HttpRequest, job_id: str, after: Offset) -> dict[str, Any]:
    """Points of the curves in the order they were reported. `next` is always given: ask again with it."""
    items, following = folders.metric_points(_get(request, job_id), after=after)
    return {"items": items, "next": following}


@router.get("/jobs/{job_id}/logs", response=LogPage)
@require(Role.VIEWER)
def job_logs(request: HttpRequest, job_id: str, after: Offset) -> dict[str, Any]:
    """Log lines. `next` is always given: ask again with it."""
    items, following = folders.log_lines(_get(request, job_id), after=after)
    return {"items": items, "next": following}


@router.get("/jobs/{job_id}/events")
@require(Role.VIEWER)
def job_events(request: HttpRequest, job_id: str, after: Offset) -> StreamingHttpResponse:
    """Server-sent events: each line that the job reports, and `status` when it changes. Goes on from Last-Event-ID."""
    last = request.headers.get("Last-Event-ID", "")
    return event_stream(_get(request, job_id), after=int(last) if last.isdigit() and len(last) < 18 else after)


@router.post("/jobs/{job_id}/cancel", response=JobOut)
@require(Role.DEVELOPER)
def job_cancel(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Cancel: at once while queued, at the next step while running. A checkpoint is kept for `resume`."""
    return _out(services.job_cancel(by=request.auth, job=_get(request, job_id)))  # type: ignore[attr-defined]


@router.post("/jobs/{job_id}/resume", response=JobOut)
@require(Role.DEVELOPER)
@idempotent()
def job_resume(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Go on from the last checkpoint of a cancelled, failed or errored job."""
    return _out(services.job_resume(by=request.auth, job=_get(request, job_id)))  # type: ignore[attr-defined]


@router.post("/jobs/{job_id}/retry", response=JobOut)
@require(Role.DEVELOPER)
@idempotent()
def job_retry(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Run a cancelled, failed or errored job again from its start; what it wrote before is thrown away."""
    return _out(services.job_retry(by=request.auth, job=_get(request, job_id)))  # type: ignore[attr-defined]


@router.post("/jobs/{job_id}/clone", response={201: JobOut})
@require(Role.DEVELOPER)
@idempotent()
def job_clone(request: HttpRequest, job_id: str, payload: CloneRequest | None = None) -> Status[Any]:
    """Start a new job with the same spec, but for what the body changes."""
    changes = payload or CloneRequest()
    job = services.job_clone(by=request.auth, job=_get(request, job_id), changes=changes)  # type: ignore[attr-defined]
    return Status(201, _out(job))


def preview_state(plan: Plan) -> dict[str, Any]:
    """A plan as `schemas.PreviewOut`."""
    batch = None
    if plan.sample is not None:
        names = ("rows", "mean_characters", "max_characters")
        made = previews.first_batch(plan) if not plan.problems else None
        content = made.content if made is not None else None
        reason = "" if content else made.message if made is not None else "The job cannot start as it is."
        batch = {name: plan.sample[name] for name in names} | {"tokens": content, "tokens_reason": reason}
    prediction = plan.predicted if "seconds" in plan.predicted else None
    return {
        "ready": not plan.problems,
        "reasons": plan.problems,
        "warnings": plan.warnings,
        "prediction": prediction,
        "params": plan.params.model_dump(mode="json") if plan.params is not None else None,
        "first_batch": batch,
    }
