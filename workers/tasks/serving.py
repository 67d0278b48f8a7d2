"""The task of queue `serve`: bring about what endpoints desire. Thin; see `apps.deployments.applying`."""

from __future__ import annotations

from apps.deployments.applying import deployment_apply
from apps.jobs import queue
from workers.app import app
from workers.guard import guarded


@app.task(name=queue.DEPLOYMENT_APPLY)
@guarded
def apply() -> None:
    """Sent on every change and repeated by beat."""
    deployment_apply()
