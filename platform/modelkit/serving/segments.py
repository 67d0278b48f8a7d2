"""Files of JSON lines that one process appends to and another takes away whole.

Who writes a segment holds a lock on it (`flock`), which the kernel lets go when the writer closes it or is killed; who
reads takes segments that nobody writes any more. A last line without its end was cut off by a kill and does not count.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)


class SegmentsFull(OSError):
    """Nobody takes the segments away; no more are written."""


class SegmentWriter:
    """Appends whole lines. A segment is closed by age or size; the next line opens another."""

    def __init__(
        self,
        folder: Path,
        *,
        max_age_s: float = 5.0,
        max_bytes: int = 1_000_000,
        max_folder_bytes: int = 256_000_000,
    ) -> None:
        self._folder = folder
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._max_folder_bytes = max_folder_bytes
        self._fd: int | None = None
        self._opened_at = 0.0
        self._size = 0

    @property
    def due(self) -> bool:
        """Whether the open segment has been open for long enough."""
        return self._fd is not None and time.monotonic() - self._opened_at >= self._max_age_s

    def append(self, lines: bytes) -> None:
        """Write lines, each with its end. Raises OSError (a full disk), having left whole lines only."""
        if self._fd is None or self._size >= self._max_bytes or self.due:
            self.close()
            self._fd = self._open()
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            self.close()
            raise
        self._size += len(lines)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(_size(path) for path in self._folder.iterdir()) >= self._max_folder_bytes:
            raise SegmentsFull(f"{self._folder} holds {self._max_folder_bytes} bytes that nobody takes away.")
        while True:
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Between the two a reader may have found it empty and taken it away.
            if _lock(fd) and os.fstat(fd).st_nlink:
                self._opened_at, self._size = time.monotonic(), 0
                return fd
            os.close(fd)


def segments(folder: Path) -> list[Path]:
    """Every segment, oldest first, also those being written."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    return []


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[list[dict[str, Any]] | None]:
    """The lines of a segment, ours alone inside the block; None for one that is being written, read or gone.

    The segment is deleted when the block ends without an error.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        if not _lock(fd) or not os.fstat(fd).st_nlink:
            yield None
            return
        with open(fd, "rb", closefd=False) as file:
            yield list(_objects(file.read(), path))
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _objects(data: bytes, path: Path) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n")[:-1]:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            logger.warning("%s has a line that is not JSON; it is skipped.", path.name)
            continue
        if isinstance(value, dict):
            yield value


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
