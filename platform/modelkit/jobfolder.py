"""The job folder: files through which a job's child, the launcher and the worker tell each other what happened. Light.

    spec.json      what to do, frozen             events.jsonl   what happened, append-only
    log.txt        lines for people               cancel         asks the child to stop
    child.json     who runs it                    result.json    how it ended, the child's last act
    exit.json      how the process ended          lock           held by the child for its whole life
    checkpoints/ artifacts/ bundle/

Does not know what a job computes, nor that there is a database.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

StopMode = Literal["cancel", "stop"]

#: The kernel stores a process's start time in ticks of 10 ms; psutil adds the boot time, which may be read off by one.
CREATE_TIME_TOLERANCE_S = 0.05

#: One read of `events.jsonl` or `log.txt` never returns more than this, so that a huge file cannot fill the memory.
READ_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Child:
    """The process that runs (or ran) a job. `started_at` is the kernel's create time: a reused pid differs in it."""

    pid: int
    started_at: float
    attempt: int

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; a zombie counts as dead."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started_at) <= CREATE_TIME_TOLERANCE_S
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Replace `path` atomically; with `durable`, the content has reached the disk before the name changes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, or None where it is absent or not whole (a crash can leave such a file behind)."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class JobFolder:
    """The layout of one job's folder, and the small readers and writers of its files."""

    path: Path

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def cancel_path(self) -> Path:
        return self.path / "cancel"

    @property
    def child_path(self) -> Path:
        return self.path / "child.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def exit_path(self) -> Path:
        return self.path / "exit.json"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def artifacts_path(self) -> Path:
        return self.path / "artifacts"

    @property
    def bundle_path(self) -> Path:
        return self.path / "bundle"

    def create(self, spec: dict[str, Any]) -> None:
        """Make the folder and write the spec once; a second call with a spec there changes nothing."""
        for folder in (self.path, self.checkpoints_path, self.artifacts_path):
            folder.mkdir(parents=True, exist_ok=True)
        if read_json(self.spec_path) is None:
            write_json(self.spec_path, spec, durable=True)

    def spec(self) -> dict[str, Any] | None:
        return read_json(self.spec_path)

    def result(self) -> dict[str, Any] | None:
        return read_json(self.result_path)

    def exit(self) -> dict[str, Any] | None:
        return read_json(self.exit_path)

    def child(self) -> Child | None:
        """The last child started in this folder, dead or alive."""
        value = read_json(self.child_path)
        if value is None:
            return None
        return Child(pid=int(value["pid"]), started_at=float(value["started_at"]), attempt=int(value["attempt"]))

    def stop_request(self) -> StopMode | None:
        """What the `cancel` file asks for; an unreadable word counts as a cancel."""
        try:
            return "stop" if self.cancel_path.read_text().strip() == "stop" else "cancel"
        except FileNotFoundError:
            return None

    def request_stop(self, mode: StopMode) -> None:
        """Ask the child to end at its next step. A cancel is never weakened to a stop."""
        if self.path.is_dir() and self.stop_request() != "cancel":
            temporary = self.path / f".cancel.{os.getpid()}.tmp"
            temporary.write_text(mode)
            temporary.replace(self.cancel_path)

    def clear_attempt(self) -> None:
        """Remove what the last attempt left that would be mistaken for the next one's. Checkpoints stay."""
        for path in (self.cancel_path, self.result_path, self.exit_path, self.child_path):
            path.unlink(missing_ok=True)

    def lock(self) -> int | None:
        """Take the folder's lock without waiting: a file descriptor to keep open, or None while a child holds it.

        The lock belongs to the open file, so a forked child that keeps the descriptor keeps the lock until it dies.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def read_events(self, offset: int = 0, *, limit_bytes: int = READ_LIMIT_BYTES) -> tuple[list[dict[str, Any]], int]:
        """Whole events from byte `offset` on, and the offset after them. A line that is no JSON object is skipped.

        A line still being written is left for the next call.
        """
        block = _read_block(self.events_path, offset, limit_bytes)
        end = block.rfind(b"\n") + 1
        events = []
        for line in block[:end].splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "type" in event:
                events.append(event)
        return events, offset + end

    def iter_events(self) -> Iterator[dict[str, Any]]:
        """Every event, block by block."""
        offset = 0
        while True:
            events, following = self.read_events(offset)
            yield from events
            if following == offset:
                return
            offset = following

    def read_log(self, offset: int = 0, *, limit_bytes: int = 256 * 1024) -> tuple[str, int]:
        """Log text from byte `offset` on, cut after a whole line where there is one, and the offset after it.

        A negative `offset` counts from the end of the file, rounded up to the start of a line.
        """
        if offset < 0:
            size = self.log_path.stat().st_size if self.log_path.exists() else 0
            start = max(0, size + offset)
            offset = start
            if start > 0:
                head = _read_block(self.log_path, start - 1, limit_bytes)
                offset = start + head.find(b"\n") if b"\n" in head else start
        block = _read_block(self.log_path, offset, limit_bytes)
        end = block.rfind(b"\n") + 1 or (len(block) if len(block) == limit_bytes else 0)
        return block[:end].decode("utf-8", errors="replace"), offset + end

    def size_bytes(self) -> int:
        """Bytes of all files, files that vanish meanwhile left out."""
        total = 0
        for root, _, names in os.walk(self.path):
            for name in names:
                try:
                    total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - thousands of files, plain strings
                except FileNotFoundError:
                    continue
        return total


def _read_block(path: Path, offset: int, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit_bytes)
    except FileNotFoundError:
        return b""
