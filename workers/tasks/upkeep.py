"""Sweeps that beat sends: jobs that wait for no reason, and rows that nobody needs any more."""

from __future__ import annotations

import logging

from apps.core.idempotency import records_forget
from apps.jobs import queue, services
from apps.jobs.previews import previews_forget
from apps.monitoring.importing import traffic_forget
from apps.registry.services import aliases_mirror_due
from workers.app import app
from workers.guard import guarded

logger = logging.getLogger(__name__)


@app.task(name=queue.JOB_SWEEP)
@guarded
def sweep_jobs() -> None:
    """Wake a worker for jobs whose message or worker was lost."""
    done = services.job_sweep()
    if done["orphaned"] or done["freed"]:
        logger.info("Job sweep: %s", done)


@app.task(name=queue.UPKEEP)
@guarded
def tick() -> None:
    """Forget old idempotency keys, previews, figures and killed workers; give MLflow the aliases it missed."""
    records_forget()
    services.workers_forget()
    previews_forget()
    traffic_forget()
    aliases_mirror_due()
