"""Tasks around serving: bring about what endpoints desire, and read what the front has counted. Thin."""

from __future__ import annotations

from apps.deployments.applying import deployment_apply
from apps.jobs import queue
from apps.monitoring.importing import traffic_import
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
