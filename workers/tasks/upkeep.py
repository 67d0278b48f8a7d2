"""Sweeps that beat sends: jobs that wait for no reason, and rows that nobody needs any more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from apps.core.idempotency import records_forget
from apps.jobs import queue, services
from apps.jobs.previews import previews_forget
from apps.monitoring.importing import traffic_forget
from apps.monitoring.sampling import samples_forget
from apps.registry.services import aliases_mirror_due
from workers.app import app
from workers.guard import guarded

logger = logging.getLogger(__name__)

_SWEEPS: tuple[Callable[[], object], ...] = (
    records_forget,
    services.workers_forget,
    previews_forget,
    traffic_forget,
    samples_forget,
    aliases_mirror_due,
)


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
    """Forget what is old: idempotency keys, previews, figures, samples, killed workers; give MLflow missed aliases."""
    # Each by itself: what one cannot do now must not keep another from forgetting what it has promised to forget.
    for sweep in _SWEEPS:
        guarded(sweep)()
