"""The tasks of queue `serve`: bring about what endpoints desire, watch canaries and shadows. Thin."""

from __future__ import annotations

from apps.deployments.applying import deployment_apply
from apps.deployments.watching import traffic_watch
from apps.jobs import queue
from workers.app import app
from workers.guard import guarded


@app.task(name=queue.DEPLOYMENT_APPLY)
@guarded
def apply() -> None:
    """Sent on every change and repeated by beat."""
    deployment_apply()


@app.task(name=queue.TRAFFIC_WATCH)
@guarded
def watch() -> None:
    """Sent by beat."""
    traffic_watch()
