"""Work beside the event loop, such as writing files: one piece at a time, so that nothing piles up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("modelkit.serving.front")


class Aside:
    """One place for such work. What comes while it is `busy` is its caller's to keep, or to let go."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin; to be called only while it is not busy. A failure is logged."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(_told)

    async def finished(self) -> None:
        """Once what was begun has ended, however it did."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _told(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("Work beside the event loop failed.", exc_info=error)
