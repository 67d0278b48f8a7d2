"""Tasks around serving: bring about what is desired, read what the front counted and kept, watch canaries. Thin."""

from __future__ import annotations

from apps.deployments.applying import deployment_apply, deployment_catch_up
from apps.deployments.watching import traffic_watch
from apps.jobs import queue
from apps.monitoring.importing import traffic_import
from apps.monitoring.sampling import samples_import
from workers.app import app
from workers.guard import guarded


@app.task(name=queue.DEPLOYMENT_APPLY)
@guarded
def apply() -> None:
    """Sent on every change and repeated by beat."""
    deployment_apply()


@app.task(name=queue.TRAFFIC_IMPORT)
@guarded
def figures() -> None:
    """Sent by beat."""
    traffic_import()


@app.task(name=queue.SAMPLES_IMPORT)
@guarded
def take_samples() -> None:
    """Repeated by beat: the front's sampled requests become rows."""
    samples_import()


@app.task(name=queue.TRAFFIC_WATCH)
@guarded
def watch() -> None:
    """Sent by beat."""
    traffic_watch()
    deployment_catch_up()
