"""A thread that tells the database that work goes on, and learns whether the claim on it still holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import DatabaseError, close_old_connections

logger = logging.getLogger(__name__)


@dataclass
class Pulse:
    """What the work tells the thread, in a subclass, and the thread the work: `lost` once somebody else has it."""

    lost: bool = False


@contextmanager
def beating(pulse: Pulse, beat: Callable[[], bool], *, of: str, every_s: float) -> Iterator[None]:
    """Call `beat` every `every_s` seconds while the block runs; False from it means that the claim is lost."""
    end = threading.Event()

    def run() -> None:
        try:
            while not pulse.lost and not end.wait(every_s):
                try:
                    pulse.lost = not beat()
                except DatabaseError:
                    # The lease outlives several missed beats; an outcome is written only while the claim is held.
                    logger.warning("A heartbeat of %s could not be written.", of)
        finally:
            close_old_connections()

    thread = threading.Thread(target=run, name=f"heartbeat of {of}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
