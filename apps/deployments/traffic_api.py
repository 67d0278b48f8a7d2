"""REST routes of canaries and shadows."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Path, Query, Router, Status

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.errors import NotFound
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.deployments import canaries, selectors, shadows
from apps.deployments.models import Endpoint
from apps.deployments.traffic_schemas import CanaryIn, CanaryOut, DifferenceOut, ShadowIn, ShadowOut

router = Router(tags=["Endpoints"])
Name = Annotated[str, Path(max_length=63)]


def _get(request: HttpRequest, name: str) -> Endpoint:
    return selectors.endpoint_by_name(caller(request).workspace, name)


@router.get("/endpoints/{name}/canary", response=CanaryOut, summary="Show the canary under way, else the last one")
@require(Role.VIEWER)
def canary_show(request: HttpRequest, name: Name) -> CanaryOut:
    canary = selectors.canaries_of(_get(request, name)).first()
    if canary is None:
        message = _("%(name)s never had a canary.") % {"name": name}
        raise NotFound(message, code="no_canary", hint=_("Start one with POST /endpoints/%s/canary.") % name)
    return CanaryOut.of(canary)


@router.get("/endpoints/{name}/canaries", response=Page[CanaryOut], summary="List all canaries of an endpoint")
@require(Role.VIEWER)
def canary_list(request: HttpRequest, name: Name, page: Query[PageQuery]) -> Page[CanaryOut]:
    rows, cursor = page_of(selectors.canaries_of(_get(request, name)), page)
    return Page[CanaryOut](items=[CanaryOut.of(row) for row in rows], next=cursor)


@router.post(
    "/endpoints/{name}/canary",
    response={201: CanaryOut},
    summary="Start a canary",
    description="The share rises when errors, latency and the shares of the labels are within bounds at each step; "
    "else all traffic goes back, and `reason` says which bound broke.",
)
@require(Role.DEVELOPER)
@idempotent()
def canary_start(request: HttpRequest, name: Name, payload: CanaryIn) -> Status[Any]:
    canary = canaries.canary_start(
        by=caller(request),
        endpoint=_get(request, name),
        model=payload.model,
        revision=payload.revision,
        name=payload.name,
        steps=payload.steps,
        step_s=payload.step_s,
        bounds=payload.bounds,
    )
    return Status(201, CanaryOut.of(canary))


@router.post("/endpoints/{name}/canary/pause", response=CanaryOut, summary="Hold a canary at its share")
@require(Role.DEVELOPER)
@idempotent()
def canary_pause(request: HttpRequest, name: Name) -> CanaryOut:
    return CanaryOut.of(canaries.canary_pause(by=caller(request), endpoint=_get(request, name)))


@router.post("/endpoints/{name}/canary/resume", response=CanaryOut, summary="Let a paused canary rise again")
@require(Role.DEVELOPER)
@idempotent()
def canary_resume(request: HttpRequest, name: Name) -> CanaryOut:
    return CanaryOut.of(canaries.canary_resume(by=caller(request), endpoint=_get(request, name)))


@router.post("/endpoints/{name}/canary/promote", response=CanaryOut, summary="Give a canary all the traffic now")
@require(Role.DEVELOPER)
@idempotent()
def canary_promote(request: HttpRequest, name: Name) -> CanaryOut:
    return CanaryOut.of(canaries.canary_promote(by=caller(request), endpoint=_get(request, name)))


@router.post("/endpoints/{name}/canary/abort", response=CanaryOut, summary="Take a canary's traffic back")
@require(Role.DEVELOPER)
@idempotent()
def canary_abort(request: HttpRequest, name: Name) -> CanaryOut:
    return CanaryOut.of(canaries.canary_abort(by=caller(request), endpoint=_get(request, name)))


@router.get("/endpoints/{name}/shadow", response=ShadowOut, summary="Show the shadow and what it would have answered")
@require(Role.VIEWER)
def shadow_show(request: HttpRequest, name: Name) -> ShadowOut:
    return ShadowOut.of(_get(request, name))


@router.put("/endpoints/{name}/shadow", response=ShadowOut, summary="Copy traffic to a version without answering by it")
@require(Role.DEVELOPER)
def shadow_set(request: HttpRequest, name: Name, payload: ShadowIn) -> ShadowOut:
    endpoint = shadows.shadow_set(
        by=caller(request),
        endpoint=_get(request, name),
        model=payload.model,
        revision=payload.revision,
        name=payload.name,
        percent=payload.percent,
        keep_inputs=payload.keep_inputs,
    )
    return ShadowOut.of(endpoint)


@router.delete("/endpoints/{name}/shadow", response=ShadowOut, summary="Copy nothing any more; the comparison stays")
@require(Role.DEVELOPER)
def shadow_end(request: HttpRequest, name: Name) -> ShadowOut:
    return ShadowOut.of(shadows.shadow_end(by=caller(request), endpoint=_get(request, name)))


@router.get(
    "/endpoints/{name}/shadow/differences",
    response=Page[DifferenceOut],
    summary="List inputs to which the shadow answered otherwise",
)
@require(Role.VIEWER)
def difference_list(
    request: HttpRequest,
    name: Name,
    page: Query[PageQuery],
    label: Annotated[str, Query(max_length=200, description="Only what either of the two gave this label.")] = "",
) -> Page[DifferenceOut]:
    rows, cursor = page_of(selectors.shadow_differences(_get(request, name), label=label), page)
    return Page[DifferenceOut](items=[DifferenceOut.of(row) for row in rows], next=cursor)
