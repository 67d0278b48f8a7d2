"""REST routes of endpoints. Predictions are not asked for here: the serving port answers them."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.core.parsing import Moment
from apps.deployments import keeping, selectors, services
from apps.deployments.models import Endpoint
from apps.deployments.presenting import moment_of
from apps.deployments.schemas import (
    AnsweredOut,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    KeyCreated,
    KeyIn,
    KeyOut,
    KeyPatch,
    RevisionIn,
    RevisionPatch,
    TimelineOut,
    TimelinePage,
    TrafficIn,
)
from apps.deployments.traffic_api import router as traffic_router

router = Router(tags=["Endpoints"])
router.add_router("", traffic_router)
Name = Annotated[str, Path(max_length=63)]
KeyId = Annotated[str, Path(max_length=12)]


def _get(request: HttpRequest, name: str) -> Endpoint:
    return selectors.endpoint_by_name(caller(request).workspace, name)


@router.get("/endpoints", response=Page[EndpointOut], summary="List endpoints")
@require(Role.VIEWER)
def endpoint_list(request: HttpRequest, page: Query[PageQuery]) -> Page[EndpointOut]:
    rows, cursor = page_of(selectors.endpoints_of(caller(request).workspace), page)
    return Page[EndpointOut](items=[EndpointOut.of(row) for row in rows], next=cursor)


@router.post("/endpoints", response={201: EndpointOut}, summary="Create an endpoint and deploy a version to it")
@require(Role.DEVELOPER)
@idempotent()
def endpoint_create(request: HttpRequest, payload: EndpointIn) -> Status[Any]:
    endpoint = services.endpoint_create(
        by=caller(request),
        name=payload.name,
        model=payload.model,
        title=payload.title,
        goal=payload.goal,
        runtime=payload.runtime,
    )
    return Status(201, EndpointOut.of(endpoint))


@router.get("/endpoints/{name}", response=EndpointOut, summary="Show an endpoint")
@require(Role.VIEWER)
def endpoint_show(request: HttpRequest, name: Name) -> EndpointOut:
    return EndpointOut.of(_get(request, name))


@router.patch(
    "/endpoints/{name}", response=EndpointOut, summary="Change title, limits, placement or request log of an endpoint"
)
@require(Role.DEVELOPER)
def endpoint_update(request: HttpRequest, name: Name, payload: EndpointPatch) -> EndpointOut:
    given = payload.model_dump(mode="json", exclude_unset=True)
    return EndpointOut.of(services.endpoint_update(by=caller(request), endpoint=_get(request, name), **given))


@router.delete("/endpoints/{name}", response={204: None}, summary="Delete an endpoint")
@require(Role.MAINTAINER)
def endpoint_delete(request: HttpRequest, name: Name) -> Status[Any]:
    services.endpoint_delete(by=caller(request), endpoint=_get(request, name))
    return Status(204, None)


@router.post(
    "/endpoints/{name}/revisions",
    response={200: EndpointOut, 201: EndpointOut},
    summary="Deploy a version over the present one",
    description="The present revision answers until the new one has passed its golden set. "
    "200: this version is deployed already.",
)
@require(Role.DEVELOPER)
@idempotent()
def revision_create(request: HttpRequest, name: Name, payload: RevisionIn) -> Status[Any]:
    _revision, created = services.revision_create(
        by=caller(request),
        endpoint=_get(request, name),
        model=payload.model,
        name=payload.name,
        goal=payload.goal,
        runtime=payload.runtime,
    )
    return Status(201 if created else 200, EndpointOut.of(_get(request, name)))


@router.patch("/endpoints/{name}/revisions/{number}", response=EndpointOut, summary="Name a revision")
@require(Role.DEVELOPER)
def revision_rename(
    request: HttpRequest, name: Name, number: Annotated[int, Path(ge=1, le=2_147_483_647)], payload: RevisionPatch
) -> EndpointOut:
    endpoint = services.revision_rename(
        by=caller(request), endpoint=_get(request, name), number=number, name=payload.name
    )
    return EndpointOut.of(endpoint)


@router.patch("/endpoints/{name}/traffic", response=EndpointOut, summary="Share the traffic between revisions")
@require(Role.DEVELOPER)
def traffic_set(request: HttpRequest, name: Name, payload: TrafficIn) -> EndpointOut:
    endpoint = services.traffic_set(
        by=caller(request),
        endpoint=_get(request, name),
        weights=payload.revisions,
        sticky=payload.sticky,
        names=payload.names,
    )
    return EndpointOut.of(endpoint)


@router.post("/endpoints/{name}/rollback", response=EndpointOut, summary="Go back to the revision live before")
@require(Role.DEVELOPER)
@idempotent()
def endpoint_rollback(request: HttpRequest, name: Name) -> EndpointOut:
    return EndpointOut.of(services.endpoint_rollback(by=caller(request), endpoint=_get(request, name)))


@router.post("/endpoints/{name}/stop", response=EndpointOut, summary="Stop an endpoint")
@require(Role.DEVELOPER)
@idempotent()
def endpoint_stop(request: HttpRequest, name: Name) -> EndpointOut:
    return EndpointOut.of(services.endpoint_stop(by=caller(request), endpoint=_get(request, name)))


@router.post("/endpoints/{name}/start", response=EndpointOut, summary="Start a stopped endpoint")
@require(Role.DEVELOPER)
@idempotent()
def endpoint_start(request: HttpRequest, name: Name) -> EndpointOut:
    return EndpointOut.of(services.endpoint_start(by=caller(request), endpoint=_get(request, name)))


@router.get(
    "/endpoints/{name}/timeline",
    response=TimelinePage,
    summary="What happened at an endpoint, and what answered at a moment",
    description="With `at` the list ends at that moment, and `answered` has the revisions to which traffic pointed "
    "then, as the serving agent reported it.",
)
@require(Role.VIEWER)
def timeline_list(
    request: HttpRequest,
    name: Name,
    page: Query[PageQuery],
    at: Annotated[
        Moment | None, Query(description="ISO 8601; without an offset it is in the installation's time zone.")
    ] = None,
) -> TimelinePage:
    endpoint = _get(request, name)
    entries = selectors.timeline_of(endpoint)
    moment = moment_of(at) if at is not None else None
    if moment is not None:
        entries = entries.filter(at__lte=moment)
    rows, cursor = page_of(entries, page)
    return TimelinePage(
        items=[TimelineOut.of(row, endpoint) for row in rows],
        next=cursor,
        answered=AnsweredOut.of(endpoint, moment) if moment is not None else None,
    )


# --- keys -------------------------------------------------------------------------------------------------------------


@router.get("/endpoints/{name}/keys", response=Page[KeyOut], summary="List the keys of an endpoint")
@require(Role.VIEWER)
def key_list(request: HttpRequest, name: Name, page: Query[PageQuery]) -> Page[KeyOut]:
    rows, cursor = page_of(selectors.keys_of(_get(request, name)), page)
    return Page[KeyOut](items=[KeyOut.of(row) for row in rows], next=cursor)


@router.post(
    "/endpoints/{name}/keys",
    response={201: KeyCreated},
    summary="Make a key of an endpoint",
    description="It may ask for predictions of this endpoint and nothing else. It is in this answer only.",
)
@require(Role.DEVELOPER)
def key_create(request: HttpRequest, name: Name, payload: KeyIn) -> Status[Any]:
    row, plain = keeping.endpoint_key_create(
        by=caller(request),
        endpoint=_get(request, name),
        name=payload.name,
        expires_in_days=payload.expires_in_days,
        limits={limit: getattr(payload, limit) for limit in keeping.MAX_LIMITS},
    )
    return Status(201, KeyCreated(**KeyOut.of(row).model_dump(), key=plain))


@router.patch("/endpoints/{name}/keys/{key_id}", response=KeyOut, summary="Change a key's name, end or limits")
@require(Role.DEVELOPER)
def key_update(request: HttpRequest, name: Name, key_id: KeyId, payload: KeyPatch) -> KeyOut:
    row = selectors.key_by_public_id(_get(request, name), key_id)
    changes = payload.model_dump(exclude_unset=True)
    return KeyOut.of(keeping.endpoint_key_update(by=caller(request), key=row, changes=changes))


@router.delete(
    "/endpoints/{name}/keys/{key_id}",
    response={204: None},
    summary="Revoke a key",
    description="The serving port refuses it within a second of this answer.",
)
@require(Role.DEVELOPER)
def key_revoke(request: HttpRequest, name: Name, key_id: KeyId) -> Status[Any]:
    keeping.endpoint_key_revoke(by=caller(request), key=selectors.key_by_public_id(_get(request, name), key_id))
    return Status(204, None)
