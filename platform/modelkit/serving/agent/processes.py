"""Starting processes that outlive us, finding them again, and ending them. Knows nothing of what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import psutil
from pydantic import BaseModel, ConfigDict

_MAX_LOG_BYTES = 5_000_000


class ProcessId(BaseModel):
    """A process for certain: ids are reused, an id with its start time is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    started_at: float


class Process:
    """A process that we started, or that our predecessor did."""

    def __init__(self, identity: ProcessId, child: subprocess.Popen[bytes] | None = None) -> None:
        self.identity = identity
        self._child = child

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def returncode(self) -> int | None:
        """Of our own child once it ended; of an adopted process it cannot be known."""
        return self._child.poll() if self._child is not None else None

    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return is_alive(self.identity)

    def signal(self, signum: int) -> None:
        if self.alive():
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                return

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


def is_alive(identity: ProcessId) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    try:
        process = psutil.Process(identity.pid)
        return abs(process.create_time() - identity.started_at) < 0.5 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def adopt(identity: ProcessId | None) -> Process | None:
    """The process of that identity, if it still runs."""
    return Process(identity) if identity is not None and is_alive(identity) else None


def found(pid: int) -> Process | None:
    """The process of that id, which the caller has just heard from."""
    try:
        return adopt(ProcessId(pid=pid, started_at=psutil.Process(pid).create_time()))
    except psutil.Error:
        return None


def spawn(module: str, arguments: list[str], *, log: Path, pass_fds: tuple[int, ...] = ()) -> Process:
    """Start `python -m module` in a session of its own, so that it outlives us; its output goes to `log`."""
    with _output(log) as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=pass_fds,
            env=environment(),
        )
    return Process(ProcessId(pid=child.pid, started_at=psutil.Process(child.pid).create_time()), child)


def _output(log: Path) -> BinaryIO:
    """The log, the last one moved aside when it is long; nowhere where a full disk refuses it."""
    try:
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        return log.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def environment() -> dict[str, str]:
    """That of every process that computes."""
    # One inference thread per slot is our choice; OpenMP and BLAS must not add their own.
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **threads, "PYTHONUNBUFFERED": "1"}
