"""Giving back what was uploaded: one file as it is, several as a zip made while it is sent."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import quote

from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _

from apps.core import storage
from apps.core.errors import NotFound
from apps.datasets.models import DatasetVersion
from apps.datasets.selectors import origin_of

_CHUNK = 1 << 20


def original_response(version: DatasetVersion, file_name: str | None = None) -> HttpResponseBase:
    """The original file of a version (of the version it was fixed from), or all of them as a zip."""
    parts = origin_of(version).parts
    if file_name is not None:
        parts = [part for part in parts if part["file_name"] == file_name]
    if not parts:
        raise NotFound(_("%(ref)s has no such file.") % {"ref": version.ref}, hint=_("See its list of files."))
    if len(parts) == 1:
        response = FileResponse(
            storage.open_read(parts[0]["key"]),
            as_attachment=True,
            filename=parts[0]["file_name"],
            content_type="application/octet-stream",
        )
        response["Content-Length"] = str(parts[0]["size_bytes"])
        return response
    name = quote(f"{version.dataset.name}-{version.number}.zip")
    streamed = StreamingHttpResponse(_zipped(parts), content_type="application/zip")
    streamed["Content-Disposition"] = f"attachment; filename*=utf-8''{name}"
    return streamed


class _Sink:
    """A write-only file whose content is taken away as it comes, so that a zip is never whole in memory."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None: ...

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _zipped(parts: list[dict[str, Any]]) -> Iterator[bytes]:
    sink = _Sink()
    used: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for part in parts:
            name = part["file_name"] if part["file_name"] not in used else f"{part['part']}-{part['file_name']}"
            used.add(name)
            source: IO[bytes]
            with storage.open_read(part["key"]) as source, archive.open(name, "w", force_zip64=True) as target:
                while block := source.read(_CHUNK):
                    target.write(block)
                    yield sink.take()
    yield sink.take()
