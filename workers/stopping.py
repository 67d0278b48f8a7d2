"""Tells tasks that their worker is asked to stop, so that they hand their job over instead of holding it up."""

from __future__ import annotations

import multiprocessing
import time

# Made before the pool forks, hence shared: Celery's signal fires in the main process, tasks run in its children.
_asked = multiprocessing.get_context("fork").Event()


def ask(**_: object) -> None:
    """Celery's `worker_shutting_down`."""
    _asked.set()


def asked() -> bool:
    """Whether the worker is to stop."""
    return _asked.is_set()


def sleep(seconds: float) -> None:
    """Sleep, but wake when the worker is to stop."""
    deadline = time.monotonic() + seconds
    while not _asked.is_set() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
