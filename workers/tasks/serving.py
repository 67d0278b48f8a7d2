"""The tasks of queue `serve`, whose worker runs where the serving agent does. Thin."""

from __future__ import annotations

from apps.deployments.applying import deployment_apply
from apps.jobs import queue
from apps.monitoring.sampling import samples_import
from workers.app import app
from workers.guard import guarded


@app.task(name=queue.DEPLOYMENT_APPLY)
@guarded
def apply() -> None:
    """Sent on every change and repeated by beat."""
    deployment_apply()


@app.task(name=queue.SAMPLES_IMPORT)
@guarded
def take_samples() -> None:
    """Repeated by beat: the front's sampled requests become rows."""
    samples_import()
