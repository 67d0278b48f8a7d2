"""One child of the launcher: how a fork becomes the job's process, and how all that it started is ended."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from modelkit.jobfolder import CREATE_TIME_TOLERANCE_S, Child, JobFolder


class LockHeld(Exception):
    """The folder is locked by a process that the launcher does not know; the text says so."""


def become_child(
    folder: JobFolder, *, keep: int, gate: int, attempt: int, device: str, threads: int, nice: int, env: dict[str, str]
) -> NoReturn:
    """Turn this fresh fork into the job's process; returns to nobody."""
    status = 70
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if os.read(gate, 1) != b"!":
            os._exit(status)
        log = os.open(folder.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for low, high in ((3, keep), (keep + 1, 65536)):
            os.closerange(low, high)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.environ.update(env)
        os.nice(nice)
        with suppress(OSError):
            # When memory runs out, a training goes before the database or a serving process.
            Path("/proc/self/oom_score_adj").write_text("500")
        os.chdir(folder.path)
        gc.enable()
        from modelkit import run

        status = run.main(folder.path, attempt=attempt, device=device, threads=threads)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: the launcher's own exit handlers and open files are none of the child's business.
        os._exit(status)


def kill_session(child: Child) -> None:
    """SIGKILL to everything in the session that `child` leads or led, whatever process group it moved to."""
    with suppress(psutil.Error):
        if psutil.Process(child.pid).create_time() - child.started_at > CREATE_TIME_TOLERANCE_S:
            return  # the pid belongs to somebody else by now, and with it perhaps a session of that number
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == child.pid:
                os.kill(pid, signal.SIGKILL)


def free_from_strays(folder: JobFolder, child: Child | None) -> int:
    """The lock of a folder whose child is dead while something it started still lives; raises LockHeld."""
    if child is not None:
        kill_session(child)
    for _ in range(50):
        lock = folder.lock()
        if lock is not None:
            return lock
        time.sleep(0.02)
    raise LockHeld(f"{folder.path} is locked by a process that is not the job's child")
