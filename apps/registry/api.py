"""REST routes of the registry: base models, models, versions, aliases, bundles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils.translation import gettext as _
from ninja import Path, Query, Router, Status

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.errors import AppError
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.registry import base_models, downloads, flips, selectors, services, uploads
from apps.registry.models import BaseModel
from apps.registry.schemas import (
    AliasChangeOut,
    AliasIn,
    AliasOut,
    BaseModelDetail,
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


@router.post(
    "/base-models",
    response={201: BaseModelOut},
    summary="Import a base model",
    description="JSON names a folder, a model of the hub or a published version; multipart brings a .zip or .tar.gz as "
    "`file`. A folder is `ready` at once, the rest `importing` until a worker is done. The same again is answered with "
    "what is there, and tried again where it had failed.",
    openapi_extra=uploads.IMPORT_BODY,
)
@require(Role.DEVELOPER)
@idempotent(atomic=False)
def base_model_import(request: HttpRequest) -> Status[Any]:
    identity = caller(request)
    if request.content_type == "multipart/form-data":
        archive, words = uploads.archive_of(request)
        row = base_models.base_model_import_archive(by=identity, archive=archive, **words)
    elif request.content_type == "application/json":
        body = uploads.import_body(request)
        words = {"name": body.name, "title": body.title}
        source = body.source.model_dump()
        imported = _IMPORTS[source.pop("kind")]
        row = imported(by=identity, **source, **words)
    else:
        raise AppError(
            _("Send a source as application/json, or an archive as multipart/form-data."),
            code="unsupported_media_type",
            status=415,
            hint=_("With curl: -F file=@model.zip"),
        )
    return Status(201, BaseModelOut.of(row))


_IMPORTS: dict[str, Callable[..., BaseModel]] = {
    "folder": base_models.base_model_import_folder,
    "hub": base_models.base_model_import_hub,
    "model_version": base_models.base_model_import_version,
}


@router.get("/base-models/{name}", response=BaseModelDetail, summary="A base model")
@require(Role.VIEWER)
def base_model_get(request: HttpRequest, name: Name) -> BaseModelDetail:
    row = selectors.base_model_by_name(caller(request).workspace, name)
    # What uses a bundled one may be another workspace's.
    users = selectors.base_model_users(row) if row.workspace_id else []
    return BaseModelDetail.detail_of(row, [ModelUserOut(kind=user.kind, name=user.name) for user in users])


@router.post("/base-models/{name}/retry", response=BaseModelOut, summary="Try a failed import again")
@require(Role.DEVELOPER)
@idempotent()
def base_model_retry(request: HttpRequest, name: Name) -> BaseModelOut:
    row = selectors.base_model_by_name(caller(request).workspace, name)
    return BaseModelOut.of(base_models.base_model_retry(by=caller(request), base_model=row))


@router.delete("/base-models/{name}", response={204: None}, summary="Take a base model off the list")
@require(Role.DEVELOPER)
def base_model_delete(request: HttpRequest, name: Name) -> Status[Any]:
    row = selectors.base_model_by_name(caller(request).workspace, name)
    base_models.base_model_delete(by=caller(request), base_model=row)
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
