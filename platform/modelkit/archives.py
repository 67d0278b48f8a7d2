"""Unpacks archives of foreign origin: .zip and .tar.gz, plain files only, within limits of count, size and path. Light.

Nothing is taken for granted that an archive says of itself: sizes are counted while bytes are written, names must stay
below the target, every file is made anew and none is followed or replaced, and what the archive's own tables may
make a reader hold in memory is bounded. Knows nothing of what is inside.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from modelkit.errors import UserError
from modelkit.wording import say

_BLOCK = 1 << 20
#: The most that a zip's directory or a tar's long name may make the reader hold at once.
_TABLE_BYTES = 4 << 20
#: Headers and padding of a tar lie beside its contents.
_TAR_OVERHEAD_BYTES = 16 << 20
_FIELD = "file"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; directories count as files."""

    files: int = 500
    size_bytes: int = 20 << 30
    name_bytes: int = 400
    depth: int = 8


def kind_of(head: bytes) -> Literal["zip", "tar.gz"]:
    """By the first bytes of a file; raises UserError `archive_unknown`."""
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "tar.gz"
    raise UserError(
        "archive_unknown",
        "The file is neither a .zip nor a .tar.gz archive.",
        "Pack the model's folder: `zip -r model.zip folder` or `tar czf model.tar.gz folder`.",
        field=_FIELD,
    )


def unpack(
    archive: Path,
    target: Path,
    limits: Limits,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Unpack `archive` into the new folder `target`; `progress` gets the part of the archive that was read.

    Raises UserError `archive_unknown`, `archive_damaged`, `archive_unsafe` or `archive_too_large`; whatever `progress`
    raises passes through.
    """
    target.mkdir(parents=True)
    writer = _Writer(target, limits)
    with archive.open("rb") as raw, _damage():
        kind = kind_of(raw.read(4))
        raw.seek(0)
        size = archive.stat().st_size

        def tick() -> None:
            progress(min(raw.tell() / max(size, 1), 1.0))

        (_unpack_zip if kind == "zip" else _unpack_tar)(raw, writer, limits, tick)


def _unpack_zip(raw: IO[bytes], writer: _Writer, limits: Limits, tick: Callable[[], None]) -> None:
    with zipfile.ZipFile(_Bounded(raw)) as archive:
        entries = archive.infolist()
        if len(entries) > limits.files:
            raise _too_many(limits)
        if sum(entry.file_size for entry in entries) > limits.size_bytes:
            raise _too_large(limits)
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.flag_bits & 0x1:
                raise _unsafe(
                    say("{name!r} is encrypted.", name=entry.filename[:80]), say("Pack the folder without a password.")
                )
            if entry.is_dir():
                writer.folder(entry.filename)
                continue
            if kind not in (0, stat.S_IFREG):
                raise _not_plain(entry.filename)
            with archive.open(entry) as content:
                writer.file(entry.filename, content, tick)


def _unpack_tar(raw: IO[bytes], writer: _Writer, limits: Limits, tick: Callable[[], None]) -> None:
    with gzip.GzipFile(fileobj=raw) as plain:
        # The bound also holds for what is skipped: padding, and members behind a size that lies.
        forward = _Forward(plain, limits.size_bytes + _TAR_OVERHEAD_BYTES)
        with tarfile.open(fileobj=forward, mode="r:", errorlevel=2) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(_members(archive)):
                if number >= limits.files:
                    raise _too_many(limits)
                if member.isdir():
                    writer.folder(member.name)
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
                    raise _not_plain(member.name)
                if member.size > limits.size_bytes:
                    raise _too_large(limits)
                content = archive.extractfile(member)
                if content is None:
                    raise _not_plain(member.name)
                with content:
                    writer.file(member.name, content, tick)
                # tarfile keeps every header it has seen.
                archive.members = []


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member


class _Writer:
    """Makes files and folders below `root`, counting what it writes."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._written = 0
        self._made = 0

    def folder(self, name: str) -> None:
        self._count()
        path = self._place(name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _twice(name) from None

    def file(self, name: str, content: IO[bytes], tick: Callable[[], None]) -> None:
        self._count()
        path = self._place(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except (FileExistsError, NotADirectoryError):
            raise _twice(name) from None
        with os.fdopen(descriptor, "wb") as file:
            while block := content.read(_BLOCK):
                self._written += len(block)
                if self._written > self._limits.size_bytes:
                    raise _too_large(self._limits)
                file.write(block)
                tick()

    def _count(self) -> None:
        self._made += 1
        if self._made > self._limits.files:
            raise _too_many(self._limits)

    def _place(self, name: str) -> Path:
        """Where an entry goes; refuses every name that is not a plain relative path."""
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name.startswith("/")
            or ".." in parts
            or "\\" in name
            or ":" in parts[0]
            or not name.isprintable()
            or len(name.encode("utf-8", "replace")) > self._limits.name_bytes
            or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
            or len(parts) > self._limits.depth
        ):
            raise _unsafe(
                say("The name {name!r} does not stay inside the folder, or is too long or too deep.", name=name[:80]),
                say("Pack the model's folder itself, with relative names."),
            )
        return self._root.joinpath(*parts)


class _Bounded:
    """A file that gives at most `_TABLE_BYTES` at once.

    zipfile reads its directory, and tarfile a long name, in one piece of the size that the archive claims.
    """

    def __init__(self, inner: IO[bytes] | gzip.GzipFile) -> None:
        self._inner = inner

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size if 0 <= size <= _TABLE_BYTES else _TABLE_BYTES + 1)
        if len(data) > _TABLE_BYTES:
            raise _unsafe(
                say("Its table of contents is too large to be one model's."), say("Pack the folder of one model only.")
            )
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return True


class _Forward(_Bounded):
    """A compressed stream that is read once from front to end, and no further than `total`.

    tarfile looks one byte back before each header. A gzip file would start from its beginning for that, once for each
    member, so the last byte is kept.
    """

    def __init__(self, inner: IO[bytes] | gzip.GzipFile, total: int) -> None:
        super().__init__(inner)
        self._total = total
        self._read = 0
        self._wanted = 0
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        back = b""
        if self._wanted == self._read - 1 and size > 0:
            back, size = self._last, size - 1
            self._wanted += 1
        elif self._wanted < self._read:
            raise tarfile.ReadError("members overlap")
        while self._wanted > self._read:
            if not self._take(min(self._wanted - self._read, _BLOCK)):
                return back
        data = self._take(size)
        self._wanted = self._read
        return back + data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise tarfile.ReadError("unexpected seek")
        self._wanted = offset
        return offset

    def tell(self) -> int:
        return self._wanted

    def _take(self, size: int) -> bytes:
        if self._read + size > self._total:
            raise UserError(
                "archive_too_large",
                "Unpacked, the archive holds more than is accepted.",
                _LARGE_HINT,
                field=_FIELD,
            )
        data = super().read(size)
        self._read += len(data)
        self._last = data[-1:] or self._last
        return data


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what the readers raise over a torn or forged archive into one refusal."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise _damaged(error) from None
    except OSError as error:
        # gzip reports a bad stream as an OSError without a number; the disk's own errors have one.
        if error.errno is not None:
            raise
        raise _damaged(error) from None


_LARGE_HINT = "Pack only the files of one model; whoever runs this installation can raise TUNEYARD_MODEL_LIMIT_MB."


def _damaged(error: Exception) -> UserError:
    return UserError(
        "archive_damaged",
        "The archive cannot be read: {error}.",
        "Pack it again and upload it anew.",
        field=_FIELD,
        error=str(error).rstrip("."),
    )


def _unsafe(message: str, hint: str) -> UserError:
    return UserError("archive_unsafe", message, hint, field=_FIELD)


def _not_plain(name: str) -> UserError:
    return _unsafe(
        say("{name!r} is a link, a device or another thing that is no plain file.", name=name[:80]),
        say("Pack plain files only."),
    )


def _twice(name: str) -> UserError:
    twice = say("{name!r} is in the archive twice.", name=name[:80])
    return _unsafe(twice, say("Pack the folder again with each file once."))


def _too_many(limits: Limits) -> UserError:
    return UserError(
        "archive_too_large",
        "The archive holds more than {limit} files.",
        "Pack one model only.",
        field=_FIELD,
        limit=limits.files,
    )


def _too_large(limits: Limits) -> UserError:
    size = f"{limits.size_bytes / 1e6:,.0f} MB"
    return UserError(
        "archive_too_large", "Unpacked, the archive holds more than {size}.", _LARGE_HINT, field=_FIELD, size=size
    )
