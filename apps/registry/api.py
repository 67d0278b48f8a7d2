"""REST routes of the registry: base models, models, versions, aliases, bundles."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Path, Query, Router, Status

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.registry import downloads, flips, selectors, services
from apps.registry.schemas import (
    AliasChangeOut,
    AliasIn,
    AliasOut,
    BaseModelIn,
    BaseModelOut,
    ModelDetail,
    ModelOut,
    ModelUserOut,
    ModelVersionOut,
    ModelVersionSummary,
    VersionDiffOut,
    VersionDiffQuery,
)

router = Router(tags=["Registry"])
Name = Annotated[str, Path(max_length=63)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/base-models", response=Page[BaseModelOut], summary="List base models")
@require(Role.VIEWER)
def base_model_list(
    request: HttpRequest, task: Annotated[str, Query(max_length=63, description="A task's id.")] = ""
) -> Page[BaseModelOut]:
    rows = selectors.base_models_of(caller(request).workspace, task=task)
    return Page[BaseModelOut](items=[BaseModelOut.of(row) for row in rows], next=None)


@router.post("/base-models", response={201: BaseModelOut}, summary="Import a base model")
@require(Role.DEVELOPER)
@idempotent()
def base_model_import(request: HttpRequest, payload: BaseModelIn) -> Status[Any]:
    row = services.base_model_import(
        by=caller(request), path=payload.source.path, name=payload.name, title=payload.title
    )
    return Status(201, BaseModelOut.of(row))


@router.get("/base-models/{name}", response=BaseModelOut, summary="A base model")
@require(Role.VIEWER)
def base_model_get(request: HttpRequest, name: Name) -> BaseModelOut:
    return BaseModelOut.of(selectors.base_model_by_name(caller(request).workspace, name))


@router.delete("/base-models/{name}", response={204: None}, summary="Take a base model off the list")
@require(Role.DEVELOPER)
def base_model_delete(request: HttpRequest, name: Name) -> Status[Any]:
    row = selectors.base_model_by_name(caller(request).workspace, name)
    services.base_model_delete(by=caller(request), base_model=row)
    return Status(204, None)


@router.get("/models", response=Page[ModelOut], summary="List models")
@require(Role.VIEWER)
def model_list(request: HttpRequest, page: Query[PageQuery]) -> Page[ModelOut]:
    rows, cursor = page_of(selectors.models_of(caller(request).workspace), page)
    return Page[ModelOut](items=[ModelOut.of(row) for row in rows], next=cursor)


@router.get("/models/{name}", response=ModelDetail, summary="A model with its versions")
@require(Role.VIEWER)
def model_get(request: HttpRequest, name: Name) -> ModelDetail:
    model = selectors.model_by_name(caller(request).workspace, name)
    return ModelDetail(
        **ModelOut.of(model).model_dump(),
        items=[ModelVersionSummary.of(row) for row in selectors.versions_of(model)[:200]],
        alias_changes=[AliasChangeOut.of(row) for row in selectors.alias_changes(model)[:50]],
    )


@router.delete("/models/{name}", response={204: None}, summary="Delete a model with its versions")
@require(Role.MAINTAINER)
def model_delete(request: HttpRequest, name: Name) -> Status[Any]:
    services.model_delete(by=caller(request), model=selectors.model_by_name(caller(request).workspace, name))
    return Status(204, None)


@router.get("/models/{name}/versions/{number}", response=ModelVersionOut, summary="A version")
@require(Role.VIEWER)
def version_get(request: HttpRequest, name: Name, number: Number) -> ModelVersionOut:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    users = [ModelUserOut(kind=user.kind, name=user.name) for user in selectors.version_users([version])]
    return ModelVersionOut.detail_of(version, users)


@router.get("/models/{name}/versions/{number}/diff", response=VersionDiffOut, summary="Rows answered otherwise")
@require(Role.VIEWER)
def version_diff(request: HttpRequest, name: Name, number: Number, query: Query[VersionDiffQuery]) -> VersionDiffOut:
    workspace = caller(request).workspace
    version = selectors.version_by_number(workspace, name, number)
    other = selectors.version_by_number(workspace, name, query.against)
    found = flips.compare(version, other, kind=query.rows, label=query.label, limit=query.limit)
    return VersionDiffOut.of(version, other, found)


@router.delete("/models/{name}/versions/{number}", response={204: None}, summary="Delete a version")
@require(Role.MAINTAINER)
def version_delete(request: HttpRequest, name: Name, number: Number) -> Status[Any]:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    services.version_delete(by=caller(request), version=version)
    return Status(204, None)


@router.get(
    "/models/{name}/versions/{number}/download",
    summary="The bundle as a zip file",
    openapi_extra={"responses": {200: {"description": "A zip file", "content": {"application/zip": {}}}}},
)
@require(Role.VIEWER)
def version_download(request: HttpRequest, name: Name, number: Number) -> StreamingHttpResponse:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    return downloads.bundle_response(version)


@router.put("/models/{name}/aliases/{alias}", response=AliasOut, summary="Point an alias at a version")
@require(Role.MAINTAINER)
def alias_set(request: HttpRequest, name: Name, alias: Name, payload: AliasIn) -> AliasOut:
    version = selectors.version_by_number(caller(request).workspace, name, payload.version)
    row = services.alias_set(by=caller(request), version=version, alias=alias, reason=payload.reason)
    return AliasOut(alias=row.name, version=version.number, ref=version.ref)


@router.delete("/models/{name}/aliases/{alias}", response={204: None}, summary="Remove an alias")
@require(Role.MAINTAINER)
def alias_delete(request: HttpRequest, name: Name, alias: Name) -> Status[Any]:
    model = selectors.model_by_name(caller(request).workspace, name)
    services.alias_delete(by=caller(request), model=model, alias=alias)
    return Status(204, None)
