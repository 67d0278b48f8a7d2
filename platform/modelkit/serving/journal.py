"""The front's figures on disk: what each revision was asked in each slice of five seconds, one JSON line a slice.

The front writes files of its own, named by their beginning and a random id, and never writes again into one that it
left alone for a while; a reader keeps its offset and may delete a file once that has rested longer. A line is final
when it is written. So figures outlive the front, the agent, the worker and the database, and are added up exactly
once. Light; does not know rows or pages.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from modelkit.serving.tally import Tally

logger = logging.getLogger("modelkit.serving.journal")

SLICE_S = 5
#: The front begins another file rather than going on with one that it has not written to for so long.
RESTED_S = 300
#: A file that nobody has written to for so long is complete: `RESTED_S` and all that clocks and disks may add.
COMPLETE_S = 900
MAX_FILE_BYTES = 32_000_000
#: Of all files. When nobody reads them the oldest go.
MAX_FOLDER_BYTES = 256_000_000
_MAX_PENDING_BYTES = 8_000_000


@dataclass(frozen=True)
class Slice:
    """What one revision was asked from `at` on, seconds since the epoch, for `SLICE_S`."""

    at: int
    workspace: str
    endpoint: str
    revision: int
    tally: Tally

    def line(self) -> bytes:
        head = {"at": self.at, "workspace": self.workspace, "endpoint": self.endpoint, "revision": self.revision}
        return orjson.dumps({**head, "tally": self.tally.packed()}) + b"\n"


def _slice(line: bytes) -> Slice | None:
    try:
        row = orjson.loads(line)
        tally = Tally.unpacked(row["tally"])
        return Slice(int(row["at"]), str(row["workspace"]), str(row["endpoint"]), int(row["revision"]), tally)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Journal:
    """The front's side. `write` blocks, so it belongs into a thread; only one may be in it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._hour = 0
        self._written_at = 0.0
        self._pending = b""
        self._torn = False

    def write(self, slices: list[Slice]) -> None:
        """Append. What the disk does not take is kept for the next time, as far as memory allows."""
        self._pending += b"".join(part.line() for part in slices)
        if not self._pending:
            return
        try:
            self._append()
        except OSError as error:
            if len(self._pending) > _MAX_PENDING_BYTES:
                self._pending = self._pending[self._pending.find(b"\n", len(self._pending) // 2) + 1 :]
            logger.error("The figures cannot be written and wait in memory: %s", error)

    def _append(self) -> None:
        with self._file().open("ab", buffering=0) as file:
            if self._torn:
                file.write(b"\n")
                self._torn = False
            while self._pending:
                # A full disk may take a part: the lines that are whole there must not be written twice.
                written = file.write(self._pending) or 0
                whole = self._pending.rfind(b"\n", 0, written) + 1
                self._torn = whole < written
                self._pending = self._pending[whole:]
                if self._torn:
                    file.write(b"\n")
                    self._torn = False
            self._written_at = time.monotonic()

    def _file(self) -> Path:
        now = time.time()
        rested = time.monotonic() - self._written_at > RESTED_S
        if self._path is None or rested or int(now) // 3600 != self._hour or _size(self._path) > MAX_FILE_BYTES:
            self._folder.mkdir(parents=True, exist_ok=True)
            _prune(self._folder)
            self._hour = int(now) // 3600
            stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
            self._path = self._folder / f"{stamp}-{secrets.token_hex(4)}.jsonl"
            self._torn = False
        return self._path


def files(folder: Path) -> list[Path]:
    """All files, the oldest first."""
    return sorted(folder.glob("*.jsonl"))


def read(
    path: Path, offset: int, *, limit_bytes: int = 1_000_000, about: tuple[str, ...] | None = None
) -> tuple[list[Slice], int]:
    """Whole lines from `offset` on, about `limit_bytes` of them, and where to go on. A damaged line is passed over.

    With `about` only those of this workspace, or of this workspace and endpoint. Raises FileNotFoundError.
    """
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(limit_bytes)
        if len(content) == limit_bytes:
            content += file.readline()
    end = content.rfind(b"\n") + 1
    lines = [line for line in content[:end].splitlines() if line and (about is None or _mark(*about) in line)]
    found = [_slice(line) for line in lines]
    slices = [part for part in found if part is not None]
    if len(slices) < len(found):
        logger.warning("%s has %d damaged lines.", path.name, len(found) - len(slices))
    return slices, offset + end


def since(folder: Path, moment: float, *, about: tuple[str, str]) -> Iterator[Slice]:
    """The slices of a workspace's endpoint that began at `moment` or later."""
    for path in files(folder):
        try:
            if path.stat().st_mtime >= moment:
                slices, _ = read(path, offset_of(path, moment), limit_bytes=MAX_FILE_BYTES, about=about)
                yield from (part for part in slices if part.at >= moment)
        except FileNotFoundError:
            continue


def offset_of(path: Path, moment: float) -> int:
    """Where a line begins that is not later than the first of `moment`: lines are in the order of time.

    Raises FileNotFoundError.
    """
    size, back = _size(path), 64_000
    with path.open("rb") as file:
        while back < size:
            file.seek(size - back)
            file.readline()
            offset = file.tell()
            first = _slice(file.readline())
            if first is not None and first.at < moment:
                return offset
            back *= 4
    return 0


def _mark(workspace: str, endpoint: str | None = None) -> bytes:
    """What the line of each slice of a workspace or an endpoint contains, so that the others need not be read."""
    named = {"workspace": workspace} if endpoint is None else {"workspace": workspace, "endpoint": endpoint}
    return orjson.dumps(named)[1:-1]


def is_complete(path: Path) -> bool:
    """Whether nobody will write to it any more. Raises FileNotFoundError."""
    return time.time() - path.stat().st_mtime > COMPLETE_S


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _prune(folder: Path) -> None:
    room = MAX_FOLDER_BYTES - MAX_FILE_BYTES
    for path in reversed(files(folder)):
        room -= _size(path)
        if room < 0:
            logger.warning("Nobody reads the figures: %s is removed to keep the disk free.", path.name)
            path.unlink(missing_ok=True)
