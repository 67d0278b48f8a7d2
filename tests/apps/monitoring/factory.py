"""An endpoint that has been there for a while, and slices of traffic to it."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Workspace
from apps.deployments.models import Endpoint, Revision
from modelkit.serving.journal import Slice
from modelkit.serving.tally import Tally
from modelkit.serving.wire import Cost
from tests.apps.registry.factory import version_make


def endpoint_make(workspace: Workspace) -> Endpoint:
    made = Endpoint.objects.create(workspace=workspace, name="intents", task="text_classification")
    Revision.objects.create(endpoint=made, number=1, model_version=version_make(workspace), weight=100)
    Endpoint.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(days=30))
    made.refresh_from_db()
    return made


def slice_of(
    endpoint: Endpoint, at: int, *, revision: int = 1, answered: int = 1, failed: int = 0, latency_ms: float = 4.0
) -> Slice:
    tally = Tally()
    for _ in range(answered):
        tally.answer(latency_ms, 2, Cost(0.5, 1.0, 2.0, 4, 10))
    for _ in range(failed):
        tally.refuse(500, "model_failed")
    return Slice(at, endpoint.workspace.public_id, endpoint.name, revision, tally)
