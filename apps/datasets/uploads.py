"""From a multipart request to what `services.version_upload` takes; shared by API and page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import orjson
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _

from apps.core.errors import AppError, Invalid
from apps.datasets.services import UploadedPart
from modelkit.data.options import Part

_PARTS: dict[str, Part] = {"file": "all", "train": "train", "validation": "validation", "test": "test"}
_FIELDS = {"mapping", "encoding", "delimiter", "header", "labels"}
#: What the page's form sends beside them.
_FORM_FIELDS = {"csrfmiddlewaretoken", "name", "title", "task"}
#: A file of class names, one per line, sent along with the tables.
_LABEL_FILES = {"class.txt", "classes.txt", "labels.txt"}
_LABEL_FILE_BYTES = 1 << 20


def parts_of(
    request: HttpRequest, *, page: bool = False, also: Sequence[str] = ()
) -> tuple[list[UploadedPart], dict[str, Any]]:
    """The received tables, and the options that came as files (class names). Raises Invalid for unknown fields.

    `also` are fields that the caller itself reads.
    """
    if "Content-Length" not in request.headers:
        raise AppError(
            _("The request does not say how long it is."),
            code="length_required",
            status=411,
            hint=_("Send the header Content-Length; bodies in chunks are not taken."),
        )
    parts: list[UploadedPart] = []
    options: dict[str, Any] = {}
    files = cast("MultiValueDict[str, TemporaryUploadedFile]", request.FILES)
    unknown = [name for name in files if name not in _PARTS and name != "labels"]
    known_fields = _FIELDS | set(also)
    unknown += [
        name for name in request.POST if name not in known_fields and not (page and _is_of_the_form(request, name))
    ]
    if unknown:
        message = _("There is no such field.")
        known = ", ".join([*_PARTS, *sorted(known_fields)])
        raise Invalid(
            _("The upload has fields that are not known."),
            fields=dict.fromkeys(unknown, message),
            hint=_("Fields are %(known)s.") % {"known": known},
        )
    for field in files:
        received = files.getlist(field)
        if field in ("train", "validation", "test") and len(received) > 1:
            message = _("Send one file for each split.")
            raise Invalid(message, fields={field: message}, hint=_("Join the files, or send them as `file`."))
        for file in received:
            if field == "labels" or (field == "file" and (file.name or "").lower() in _LABEL_FILES):
                options["labels"] = _class_names(file, field)
                continue
            parts.append(
                UploadedPart(
                    part=_PARTS[field],
                    name=Path(file.name or "file").name[:200],
                    path=Path(file.temporary_file_path()),
                    size_bytes=file.size or 0,
                    sha256=file.sha256,  # type: ignore[attr-defined]  # set by HashingUploadHandler
                )
            )
    order = list(_PARTS.values())
    return sorted(parts, key=lambda part: order.index(part.part)), options


def _is_of_the_form(request: HttpRequest, name: str) -> bool:
    """A field of the page's form: browsers send a file field that was left empty as a text of no length."""
    return name in _FORM_FIELDS or (name in _PARTS and not any(request.POST.getlist(name)))


def declarations_of(request: HttpRequest) -> tuple[dict[str, str], dict[str, Any]]:
    """Mapping and options of the form fields; empty ones mean "detect". Raises Invalid naming the field."""
    form = request.POST
    options: dict[str, Any] = {}
    for name in ("encoding", "delimiter"):
        if form.get(name):
            options[name] = form[name]
    header = (form.get("header") or "").strip().lower()
    if header in {"true", "1", "yes", "on"}:
        options["header"] = True
    elif header in {"false", "0", "no", "off", "none"}:
        options["header"] = False
    elif header not in {"", "auto", "infer"}:
        message = _("Say true or false.")
        raise Invalid(message, fields={"header": message}, hint=_("Leave it empty to have it detected."))
    if form.get("labels"):
        options["labels"] = _labels(form["labels"])
    mapping = _json(form["mapping"], "mapping") if form.get("mapping") else {}
    if not isinstance(mapping, dict):
        message = _('Send an object such as {"text": "v2", "label": "v1"}.')
        raise Invalid(message, fields={"mapping": message}, hint=_("Leave it out to have the columns mapped."))
    return mapping, options


def _labels(text: str) -> Any:
    """JSON, or one name per line."""
    return _json(text, "labels") if text.lstrip()[:1] in {"[", "{"} else _names(text)


def _names(text: str) -> list[str]:
    return [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]


def _json(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = _("This is not valid JSON: %(error)s.") % {"error": error}
        raise Invalid(message, fields={field: message}, hint=_("Check quotes and commas.")) from None


def _class_names(file: TemporaryUploadedFile, field: str) -> list[str]:
    if (file.size or 0) > _LABEL_FILE_BYTES:
        message = _("The file of class names is larger than 1 MB.")
        raise Invalid(message, fields={field: message}, hint=_("Send one class name per line."))
    try:
        return _names(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        message = _("The file of class names is not UTF-8.")
        raise Invalid(message, fields={field: message}, hint=_("Save it in UTF-8.")) from None
