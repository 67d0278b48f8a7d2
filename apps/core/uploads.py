"""Receiving files: straight to the disk that storage is on, hashed on the way, so that no byte is read again.

The temporary file lies in `FILE_UPLOAD_TEMP_DIR`, which is on the storage's disk where that is local: storing it is a
rename.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler


class HashingUploadHandler(TemporaryFileUploadHandler):
    """Writes each file to disk and notes its SHA-256 as `file.sha256`; a body over the limit is refused unread."""

    chunk_size = 1 << 20

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, str],
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> None:
        if content_length > settings.UPLOAD_LIMIT_BYTES:
            raise RequestDataTooBig(f"An upload holds at most {settings.UPLOAD_LIMIT_BYTES // (1 << 20):,} MB.")
        settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._digest = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        try:
            super().receive_data_chunk(raw_data, start)
        except OSError:
            # Django closes, and so deletes, only files that came whole; a full disk needs this one's room at once.
            with suppress(OSError):
                self.file.close()
            raise
        self._digest.update(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        file = super().file_complete(file_size)
        if file is not None:
            file.sha256 = self._digest.hexdigest()  # type: ignore[attr-defined]
        return file
