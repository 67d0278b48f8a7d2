"""What Linux offers so that no process outlives its instance.

Elsewhere the calls do nothing, and the guardian does the work.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable

import psutil

#: Every process of an instance inherits this variable; its value is `<home digest>.<start id>`.
MARKER = "TUNEYARD_INSTANCE"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def become_subreaper() -> None:
    """Orphans below this process become its children, so that it can reap them: not every container has an init."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(nice: int = 0) -> Callable[[], None]:
    """What a new process runs before its program: ask for SIGTERM when the supervisor is gone, however it went."""
    parent = os.getpid()

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                # The parent died between the fork and the line above.
                os._exit(1)
        if nice:
            os.nice(nice)

    return prepare


def processes_of(marker: str, *, other_starts: bool = False) -> list[psutil.Process]:
    """The living processes of an instance, but this one and its ancestors.

    With `other_starts` those that earlier starts on the same home left behind, and not those of this start.
    """
    home = marker.partition(".")[0]
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid in mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            value = process.environ().get(MARKER, "")
            if (value.partition(".")[0] == home and value != marker) if other_starts else value == marker:
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], grace_s: float) -> int:
    """SIGTERM, then after the grace SIGKILL. Returns how many processes there were."""
    living = list(processes)
    for process in living:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    kill_after(living, grace_s)
    return len(living)


def kill_after(processes: Iterable[psutil.Process], grace_s: float) -> int:
    """Waits for the processes to end by themselves, then kills. Returns how many had to be killed."""
    _, alive = psutil.wait_procs(list(processes), timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return len(alive)


def reap_orphans(known: set[int]) -> None:
    """Collects the exit of adopted processes that nobody waits for; `known` are waited for elsewhere."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)
