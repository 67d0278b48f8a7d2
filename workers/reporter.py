"""Follows the folder of a running job and keeps the row in step, until the child ends or the worker must go.

Holds the lease by a heartbeat of its own thread, so that no slow call (an upload, a slow disk) lets it expire.
"""

from __future__ import annotations

import logging
import threading
import time
from enum import Enum
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from apps.jobs import services
from apps.jobs.models import Job
from modelkit.jobfolder import Child, JobFolder
from workers import launching, stopping
from workers.mirror import Mirror

logger = logging.getLogger(__name__)

POLL_S = 0.2
#: How often the row is asked for a cancel, and events are brought into it.
LOOK_S = 0.5
HEARTBEAT_S = settings.JOB_LEASE_S / 6
#: How long a child may take to write its last checkpoint before it is killed.
CANCEL_GRACE_S = 30.0


class Lease:
    """Prolongs the lease of a job from a thread while the block runs. `lost` tells that somebody else has it."""

    def __init__(self, job: Job, owner: str) -> None:
        self.job, self.owner = job, owner
        self._end = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def check(self) -> None:
        """Raise LeaseLost if the lease is gone."""
        if self.lost:
            raise services.LeaseLost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=30)

    def _beat(self) -> None:
        try:
            while not self._end.wait(HEARTBEAT_S):
                try:
                    if not services.job_heartbeat(job=self.job, owner=self.owner):
                        self._lost.set()
                        return
                except (OperationalError, InterfaceError) as error:
                    logger.warning("Job %s: no heartbeat, %s", self.job.public_id, error)
                    connection.close()
        finally:
            connection.close()


class Ended(Enum):
    """Why following ended."""

    CHILD = "the child ended"
    WORKER = "the worker is to stop; the child goes on"


def follow(*, job: Job, folder: JobFolder, child: Child, lease: Lease, mirror: Mirror) -> Ended:
    """Bring events into the row until the child ends. Raises LeaseLost."""
    asked_at: float | None = None
    killed = False
    looked_at = 0.0
    while True:
        # Whether it lives is asked before the events are read: so none that it wrote before its end is missed.
        alive = child.alive
        now = time.monotonic()
        if now - looked_at >= LOOK_S or not alive:
            looked_at = now
            try:
                lease.check()
                _bring(job, folder, lease.owner, whole=not alive)
                if asked_at is None and services.job_cancel_requested(job=job, owner=lease.owner):
                    folder.request_stop("cancel")
                    asked_at = now
            except (OperationalError, InterfaceError) as error:
                # The child needs no database; neither does waiting for it.
                logger.warning("Job %s: the database cannot be reached, %s", job.public_id, error)
                connection.close()
                if not alive:
                    time.sleep(1)
                    continue
        if not alive:
            return Ended.CHILD
        mirror.nudge()
        if asked_at is not None and not killed and now - asked_at > CANCEL_GRACE_S:
            logger.warning("Job %s did not stop within %.0f s and is killed.", job.public_id, CANCEL_GRACE_S)
            launching.kill(folder, child)
            killed = True
        if stopping.asked():
            return Ended.WORKER
        time.sleep(POLL_S)


def _bring(job: Job, folder: JobFolder, owner: str, *, whole: bool) -> None:
    while True:
        events, offset = folder.read_events(job.event_offset)
        if offset == job.event_offset:
            return
        services.job_apply_events(job=job, owner=owner, events=events, offset=offset)
        if not whole:
            return
