"""The queue of jobs: one task that looks for the next one and carries it to its end."""

from __future__ import annotations

import logging
import uuid

from apps.jobs import queue, services
from workers import stopping
from workers.app import app
from workers.attempts import attempt
from workers.devices import host_name
from workers.guard import guarded

logger = logging.getLogger(__name__)


@app.task(name=queue.JOB_LOOK)
@guarded
def look() -> None:
    """Adopt an orphaned job or claim the next one, see it through, and look again until nothing is left."""
    host = host_name()
    while not stopping.asked():
        owner = f"{host}:{uuid.uuid4().hex[:12]}"
        job = services.job_adopt(owner=owner, host=host) or services.job_claim(owner=owner, host=host)
        if job is None or not attempt(job=job, owner=owner):
            return
