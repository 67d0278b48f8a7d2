"""Tells workers to look at a base model. The one file of this app that knows the queue, a leaf without nouns."""

from __future__ import annotations

from apps.jobs import queue
from apps.registry.models import BaseModel


def import_send_on_commit(base_model: BaseModel) -> None:
    """Ask a worker to import the base model, once the present transaction has committed."""
    queue.send_on_commit(queue.BASE_MODEL_IMPORT, base_model.pk)


def import_send(base_model_id: int) -> None:
    """Ask again, for a base model whose message or worker was lost."""
    queue.send(queue.BASE_MODEL_IMPORT, base_model_id)
