"""Samples what a job takes while it runs: memory of its processes, bytes of its folder. Light.

Runs in a thread of the child, so that the figures outlive a worker that restarts: they are events like all others.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

from modelkit.jobfolder import JobFolder
from modelkit.tracking.folder import FolderReporter

INTERVAL_S = 2.0


class UsageSampler:
    """Reports `usage` events while its block runs, the first at once."""

    def __init__(self, folder: JobFolder, reporter: FolderReporter, *, interval_s: float = INTERVAL_S) -> None:
        self._folder, self._reporter, self._interval_s = folder, reporter, interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._peak = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            # A full disk is told by the job itself; a process may end while it is looked at.
            with suppress(OSError, psutil.Error):
                self._sample()
            if self._end.wait(self._interval_s):
                return

    def _sample(self) -> None:
        memory = tree_memory_bytes(psutil.Process())
        self._peak = max(self._peak, memory)
        self._reporter.usage(memory_bytes=memory, peak_memory_bytes=self._peak, disk_bytes=self._folder.size_bytes())


def tree_memory_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and of those it started (data loaders, probes, ranks of several GPUs)."""
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            total += int(child.memory_info().rss)
    return total
