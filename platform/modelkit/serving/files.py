"""Files that one process replaces and others look at. Light; does not know what is in them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
#: When a file was written, which one it is and how large, for comparing.
Stamp = tuple[int, int, int]


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: a reader sees the old file or the new one, also after a power cut. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # Half a file would keep the room of a disk that is full.
        temporary.unlink(missing_ok=True)
        raise


def stamp(path: Path) -> Stamp | None:
    """What changes when somebody writes, replaces or removes the file; None where there is none to be seen."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(stat: os.stat_result) -> Stamp:
    # Two versions within one tick of the file system's clock have the same time, but never the same inode.
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


class Watched(Generic[M]):
    """A JSON file that others replace by `write_atomic`; `read` gives each content once.

    `problem` is why the present one could not be read; empty when it could.
    """

    def __init__(self, path: Path, kind: type[M]) -> None:
        self._path = path
        self._kind = kind
        self._stamp: Stamp | None = None
        self.problem = ""

    def read(self) -> M | None:
        """What the file says, if it is another than the last time; None if not, or where there is none to be read.

        A damaged file is passed over until it is replaced; one that the system does not let us read is tried again.
        """
        try:
            seen = _stamp(self._path.stat())
            if seen == self._stamp:
                return None
            content = self._path.read_bytes()
            self._stamp = seen
            found = self._kind.model_validate_json(content)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            if isinstance(error, OSError):
                self._stamp = None
            self._complain(f"{self._path.name} cannot be read, so the last one holds: {str(error)[:300]}")
            return None
        self.problem = ""
        return found

    def _complain(self, problem: str) -> None:
        # Once: it is looked at many times a second.
        if problem != self.problem:
            logger.error(problem)
        self.problem = problem


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log; none where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
