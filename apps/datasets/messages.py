"""Tells workers to look at a version. The one file of this app that knows `apps.jobs.queue`, a leaf without nouns."""

from __future__ import annotations

from apps.datasets.models import DatasetVersion
from apps.jobs import queue


def validation_send_on_commit(version: DatasetVersion) -> None:
    """Ask a worker to check the version, once the present transaction has committed."""
    queue.send_on_commit(queue.DATASET_VALIDATE, version.pk)


def validation_send(version_id: int) -> None:
    """Ask again, for a version whose message or worker was lost."""
    queue.send(queue.DATASET_VALIDATE, version_id)
