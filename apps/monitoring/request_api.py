"""REST routes of the request log, of feedback, and of what is made of it."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.datasets.schemas import VersionOut
from apps.deployments.models import Endpoint
from apps.deployments.selectors import endpoint_by_name
from apps.monitoring import corrections
from apps.monitoring import feedback as services
from apps.monitoring.request_schemas import (
    AccuracyOut,
    CorrectionsIn,
    EndpointAccuracyOut,
    FeedbackIn,
    FeedbackOut,
    RequestOut,
    RequestQuery,
)
from apps.monitoring.request_selectors import feedback_by_request, feedback_of, requests_of

router = Router(tags=["Requests"])
Name = Annotated[str, Path(max_length=63)]


def _get(request: HttpRequest, name: str) -> Endpoint:
    return endpoint_by_name(caller(request).workspace, name)


@router.get("/endpoints/{name}/requests", response=Page[RequestOut], summary="Search the sampled requests")
@require(Role.VIEWER)
def request_list(request: HttpRequest, name: Name, query: Query[RequestQuery]) -> Page[RequestOut]:
    endpoint = _get(request, name)
    rows, cursor = page_of(requests_of(endpoint, query), query)
    said = feedback_by_request(endpoint, rows)
    return Page[RequestOut](items=[RequestOut.of(row, said[row.request_id]) for row in rows], next=cursor)


@router.post(
    "/feedback",
    response={200: FeedbackOut, 201: FeedbackOut},
    summary="Say whether an answer was right, or what would have been",
    description="For any answered request, sampled or not. Said again, it replaces what was said (200).",
)
@require(Role.VIEWER)
def feedback_give(request: HttpRequest, payload: FeedbackIn) -> Status[Any]:
    row, created = services.feedback_give(
        by=caller(request),
        request_id=payload.request_id,
        rating=payload.rating or "",
        label=payload.label or "",
        comment=payload.comment,
        index=payload.index,
        endpoint=payload.endpoint or "",
    )
    return Status(201 if created else 200, FeedbackOut.of(row))


@router.get("/endpoints/{name}/feedback", response=Page[FeedbackOut], summary="What was said of an endpoint's answers")
@require(Role.VIEWER)
def feedback_list(request: HttpRequest, name: Name, page: Query[PageQuery]) -> Page[FeedbackOut]:
    rows, cursor = page_of(feedback_of(_get(request, name)), page)
    return Page[FeedbackOut](items=[FeedbackOut.of(row) for row in rows], next=cursor)


@router.get("/endpoints/{name}/accuracy", response=EndpointAccuracyOut, summary="How often people agreed")
@require(Role.VIEWER)
def accuracy_show(request: HttpRequest, name: Name) -> EndpointAccuracyOut:
    endpoint = _get(request, name)
    revisions = {
        str(number): AccuracyOut.of(found) for number, found in services.accuracy_by_revision(endpoint).items()
    }
    whole = AccuracyOut.of(services.accuracy_of(endpoint))
    return EndpointAccuracyOut(**whole.model_dump(), revisions=revisions)


@router.post(
    "/endpoints/{name}/corrections",
    response={200: VersionOut, 201: VersionOut},
    summary="Make the corrections a version of a dataset",
    description="Text and corrected label of every sampled request that was given one. 200: that version exists.",
)
@require(Role.DEVELOPER)
@idempotent()
def corrections_publish(request: HttpRequest, name: Name, payload: CorrectionsIn | None = None) -> Status[Any]:
    dataset = payload.dataset if payload else None
    version, created = corrections.corrections_publish(
        by=caller(request), endpoint=_get(request, name), dataset=dataset or ""
    )
    return Status(201 if created else 200, VersionOut.of(version))
