"""From a request to what the import services take: a JSON body, or an archive as multipart; shared by API and page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import orjson
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _
from pydantic import ValidationError

from apps.core.errors import AppError, Invalid, field_errors
from apps.registry.base_models import UploadedArchive
from apps.registry.schemas import BaseModelIn

_WORDS = {"name": 63, "title": 200}
#: What the page's form sends beside them.
_FORM_FIELDS = {"csrfmiddlewaretoken", "source"}


def archive_of(request: HttpRequest, *, page: bool = False) -> tuple[UploadedArchive, dict[str, str]]:
    """The received archive with its name and title. Raises Invalid for anything else in the form."""
    if "Content-Length" not in request.headers:
        raise AppError(
            _("The request does not say how long it is."),
            code="length_required",
            status=411,
            hint=_("Send the header Content-Length; bodies in chunks are not taken."),
        )
    files = cast("MultiValueDict[str, TemporaryUploadedFile]", request.FILES)
    fields = {name: _("There is no such field.") for name in files if name != "file"}
    for name, value in request.POST.items():
        if name not in _WORDS and not (page and name in _FORM_FIELDS):
            fields[name] = _("There is no such field.")
        elif name in _WORDS and len(str(value)) > _WORDS[name]:
            fields[name] = _("Use at most %(count)d characters.") % {"count": _WORDS[name]}
    received = files.getlist("file")
    if len(received) != 1:
        fields["file"] = _("Send one archive.")
    if fields:
        raise Invalid(
            _("The archive cannot be taken."), fields=fields, hint=_("Fields are file, and optional name and title.")
        )
    file = received[0]
    archive = UploadedArchive(
        name=Path(file.name or "archive").name[:200],
        path=Path(file.temporary_file_path()),
        size_bytes=file.size or 0,
        sha256=file.sha256,  # type: ignore[attr-defined]  # set by HashingUploadHandler
    )
    return archive, {name: str(request.POST.get(name, "")).strip() for name in _WORDS}


def import_body(request: HttpRequest) -> BaseModelIn:
    """The JSON body, checked; raises Invalid naming the field as it was sent."""
    try:
        document = orjson.loads(request.body)
        return BaseModelIn.model_validate(document)
    except orjson.JSONDecodeError as error:
        raise AppError(
            _("The body is not valid JSON: %(error)s.") % {"error": error},
            code="malformed_json",
            hint='{"source": {"kind": "hub", "repo": "organisation/name"}}',
        ) from None
    except ValidationError as error:
        fields = field_errors([{**item, "loc": ("body", "payload", *item["loc"])} for item in error.errors()], document)
        hint = _("The kind of a source is folder, hub or model_version; an archive is sent as multipart.")
        raise Invalid(_("Some values are not valid."), fields=fields, hint=hint) from None


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema without references, to stand inside of an operation."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in schema.items() if key not in {"$defs", "discriminator"}}
    return {key: _inlined(value, definitions) for key, value in kept.items()}


def _import_schema() -> dict[str, Any]:
    schema = BaseModelIn.model_json_schema()
    inlined: dict[str, Any] = _inlined(schema, schema["$defs"])
    return inlined


#: The request body of `POST /base-models` for OpenAPI: ninja knows one content type for an operation.
IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _import_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A .zip or .tar.gz."},
                        "name": {"type": "string", "maxLength": 63},
                        "title": {"type": "string", "maxLength": 200},
                    },
                }
            },
        },
    }
}
