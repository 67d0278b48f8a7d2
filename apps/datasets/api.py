"""REST routes of datasets and their versions."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import orjson
from django.http import HttpRequest, HttpResponseBase
from ninja import Path, Query, Router, Status
from pydantic import ValidationError

from apps.accounts.auth import caller, require
from apps.accounts.models import Role
from apps.core.errors import AppError, Invalid
from apps.core.idempotency import idempotent
from apps.core.pagination import Page, PageQuery, page_of
from apps.datasets import schemas, selectors, services, uploads
from apps.datasets.downloads import original_response
from apps.datasets.row_browser import RowFilter, rows_browse, versions_diff
from apps.datasets.samples import sample_import

router = Router(tags=["Datasets"])
Name = Annotated[str, Path(max_length=63)]
Number = Annotated[int, Path(ge=1, le=2_147_483_647)]


@router.get("/datasets", response=Page[schemas.DatasetOut], summary="List datasets")
@require(Role.VIEWER)
def dataset_list(request: HttpRequest, page: Query[PageQuery]) -> Page[schemas.DatasetOut]:
    rows, cursor = page_of(selectors.datasets_of(caller(request).workspace), page)
    return Page[schemas.DatasetOut](items=[schemas.DatasetOut.of(row) for row in rows], next=cursor)


@router.post("/datasets", response={201: schemas.DatasetOut}, summary="Create a dataset")
@require(Role.DEVELOPER)
@idempotent(atomic=False)
def dataset_create(request: HttpRequest, payload: schemas.DatasetIn) -> Status[Any]:
    identity = caller(request)
    if payload.sample:
        sample_import(by=identity, sample=payload.sample, name=payload.name, title=payload.title)
    else:
        services.dataset_create(by=identity, name=payload.name, task=payload.task, title=payload.title)
    return Status(201, schemas.DatasetOut.of(selectors.dataset_by_name(identity.workspace, payload.name)))


@router.get("/datasets/{name}", response=schemas.DatasetOut, summary="Show a dataset")
@require(Role.VIEWER)
def dataset_show(request: HttpRequest, name: Name) -> schemas.DatasetOut:
    return schemas.DatasetOut.of(selectors.dataset_by_name(caller(request).workspace, name))


@router.delete("/datasets/{name}", response={204: None}, summary="Delete a dataset that nothing uses")
@require(Role.MAINTAINER)
def dataset_delete(request: HttpRequest, name: Name) -> Status[Any]:
    services.dataset_delete(by=caller(request), dataset=selectors.dataset_by_name(caller(request).workspace, name))
    return Status(204, None)


@router.get("/datasets/{name}/versions", response=Page[schemas.VersionOut], summary="List versions")
@require(Role.VIEWER)
def version_list(request: HttpRequest, name: Name, page: Query[PageQuery]) -> Page[schemas.VersionOut]:
    dataset = selectors.dataset_by_name(caller(request).workspace, name)
    rows, cursor = page_of(selectors.versions_of(dataset), page, order="-number")
    return Page[schemas.VersionOut](items=[schemas.VersionOut.of(row) for row in rows], next=cursor)


_BINARY = {"type": "string", "format": "binary"}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": _BINARY,
                            "description": "Tables to be split by the platform.",
                        },
                        "train": _BINARY,
                        "validation": _BINARY,
                        "test": _BINARY,
                        "mapping": {"type": "string", "description": 'JSON: {"text": column, "label": column}.'},
                        "encoding": {"type": "string"},
                        "delimiter": {"type": "string"},
                        "header": {"type": "boolean"},
                        "labels": {"type": "string", "description": "JSON list or object, or one name per line."},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["from", "fixes"],
                    "additionalProperties": False,
                    "properties": {
                        "from": {"type": "integer", "minimum": 1},
                        "fixes": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 20},
                    },
                }
            },
        },
    }
}


@router.post(
    "/datasets/{name}/versions",
    response={200: schemas.VersionOut, 201: schemas.VersionOut},
    summary="Upload files, or fix a version",
    description="Multipart makes a version of files; JSON `{from, fixes}` makes one of another version. "
    "What was made before is answered with 200.",
    openapi_extra=_UPLOAD_BODY,
)
@require(Role.DEVELOPER)
@idempotent(atomic=False)
def version_create(request: HttpRequest, name: Name) -> Status[Any]:
    identity = caller(request)
    dataset = selectors.dataset_by_name(identity.workspace, name)
    if request.content_type == "application/json":
        wanted = _fix_body(request)
        parent = selectors.version_by_number(identity.workspace, name, wanted.from_)
        version, new = services.version_fix(by=identity, parent=parent, fixes=wanted.fixes)
    elif request.content_type == "multipart/form-data":
        files, file_options = uploads.parts_of(request)
        mapping, options = uploads.declarations_of(request)
        version, new = services.version_upload(
            by=identity, dataset=dataset, files=files, mapping=mapping, options={**options, **file_options}
        )
    else:
        raise AppError(
            "Send files as multipart/form-data, or fixes as application/json.",
            code="unsupported_media_type",
            status=415,
            hint="With curl: -F file=@tickets.csv",
        )
    fresh = selectors.version_by_number(identity.workspace, name, version.number)
    return Status(201 if new else 200, schemas.VersionOut.of(fresh))


@router.get("/datasets/{name}/versions/{number}", response=schemas.VersionOut, summary="Show a version")
@require(Role.VIEWER)
def version_show(request: HttpRequest, name: Name, number: Number) -> schemas.VersionOut:
    return schemas.VersionOut.of(selectors.version_by_number(caller(request).workspace, name, number))


@router.put(
    "/datasets/{name}/versions/{number}/mapping",
    response=schemas.VersionOut,
    summary="Map columns to roles",
    description="A version that waits for a mapping goes on. For one that is done, which is immutable, a new version "
    "is made of the same files and answered.",
)
@require(Role.DEVELOPER)
def version_map(request: HttpRequest, name: Name, number: Number, payload: schemas.MappingIn) -> schemas.VersionOut:
    identity = caller(request)
    version = selectors.version_by_number(identity.workspace, name, number)
    options = payload.model_dump(exclude={"mapping"}, exclude_none=True)
    changed = services.version_set_mapping(by=identity, version=version, mapping=payload.mapping, options=options)
    return schemas.VersionOut.of(selectors.version_by_number(identity.workspace, name, changed.number))


@router.get("/datasets/{name}/versions/{number}/rows", response=schemas.RowsOut, summary="Browse rows")
@require(Role.VIEWER)
def version_rows(request: HttpRequest, name: Name, number: Number, query: Query[schemas.RowQuery]) -> schemas.RowsOut:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    wanted = RowFilter(
        split=query.split or "",
        label=query.label or "",
        search=query.search or "",
        sort=query.sort,
        descending=query.order == "desc",
    )
    offset = _offset(query.cursor)
    page = rows_browse(version, wanted, offset=offset, limit=query.limit)
    following = offset + len(page.rows)
    more = bool(page.rows) and following < page.total
    return schemas.RowsOut(items=page.rows, next=_cursor(following) if more else None, total=page.total)


@router.get(
    "/datasets/{name}/versions/{number}/checks", response=schemas.ChecksOut, summary="Show checks with examples"
)
@require(Role.VIEWER)
def version_checks(request: HttpRequest, name: Name, number: Number) -> schemas.ChecksOut:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    return schemas.ChecksOut(items=[schemas.CheckDetailOut.of(check) for check in version.checks])


@router.get("/datasets/{name}/versions/{number}/stats", response=dict[str, Any], summary="Show statistics")
@require(Role.VIEWER)
def version_stats(request: HttpRequest, name: Name, number: Number) -> dict[str, Any]:
    stats: dict[str, Any] = selectors.version_by_number(caller(request).workspace, name, number).stats
    return stats


@router.get("/datasets/{name}/versions/{number}/diff", response=schemas.DiffOut, summary="Compare with another version")
@require(Role.VIEWER)
def version_diff(
    request: HttpRequest, name: Name, number: Number, against: Annotated[int, Query(ge=1, le=2_147_483_647)]
) -> schemas.DiffOut:
    workspace = caller(request).workspace
    version = selectors.version_by_number(workspace, name, number)
    base = selectors.version_by_number(workspace, name, against)
    return schemas.DiffOut.of(base, version, versions_diff(base, version))


@router.get(
    "/datasets/{name}/versions/{number}/users", response=list[schemas.UserOut], summary="List what uses a version"
)
@require(Role.VIEWER)
def version_users(request: HttpRequest, name: Name, number: Number) -> list[schemas.UserOut]:
    version = selectors.version_by_number(caller(request).workspace, name, number)
    return [schemas.UserOut.of(user) for user in selectors.version_users([version])]


@router.get(
    "/datasets/{name}/versions/{number}/download",
    summary="Download the original files",
    description="One file as it was uploaded; several as a zip, or one of them by `file`.",
    openapi_extra={
        "responses": {200: {"description": "OK", "content": {"application/octet-stream": {"schema": _BINARY}}}}
    },
)
@require(Role.VIEWER)
def version_download(
    request: HttpRequest, name: Name, number: Number, file: Annotated[str | None, Query(max_length=200)] = None
) -> HttpResponseBase:
    return original_response(selectors.version_by_number(caller(request).workspace, name, number), file)


def _fix_body(request: HttpRequest) -> schemas.FixIn:
    try:
        return schemas.FixIn.model_validate(orjson.loads(request.body))
    except orjson.JSONDecodeError as error:
        raise AppError(
            f"The body is not valid JSON: {error}", code="malformed_json", hint='Send {"from": 1, "fixes": [...]}.'
        ) from None
    except ValidationError as error:
        fields = {".".join(map(str, item["loc"])) or "body": item["msg"] for item in error.errors()}
        raise Invalid("Some values are not valid.", fields=fields, hint='Send {"from": 1, "fixes": [...]}.') from None


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def _offset(cursor: str | None) -> int:
    """Rows of a version never change, so that a place in them is a cursor."""
    if cursor is None:
        return 0
    try:
        offset = int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not 0 <= offset < 1 << 62:
            raise ValueError
    except (ValueError, binascii.Error):
        message = "This is no cursor of this list."
        raise Invalid(message, fields={"cursor": message}, hint="Pass `next` of the page before, unchanged.") from None
    return offset
