"""What the forms may offer: ready dataset versions, free slots."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.datasets.models import DatasetVersion, VersionStatus
from apps.jobs.models import Device
from apps.jobs.selectors.queue import DEVICE_FRESH, queue_order
from apps.registry.models import ModelVersion, RegisteredModel

#: A form lists no more than this; an older version is reached from its dataset's page.
LISTED = 100


@dataclass(frozen=True)
class Slots:
    """Devices that report in, those of them without a job, and jobs that wait."""

    total: int
    free: int
    queued: int


def datasets_offered(*, workspace: Workspace, task: str) -> QuerySet[DatasetVersion]:
    """Versions that a job of the task can read, newest first."""
    rows = DatasetVersion.objects.select_related("dataset").filter(dataset__workspace=workspace, dataset__task=task)
    return rows.filter(status=VersionStatus.READY).order_by("-created_at", "-pk")[:LISTED]


def model_named(*, workspace: Workspace, name: str) -> RegisteredModel | None:
    return RegisteredModel.objects.filter(workspace=workspace, name=name).first()


def newest_version(model: RegisteredModel) -> ModelVersion | None:
    return model.versions.order_by("-number").first()


def slots_now() -> Slots:
    """How busy the installation is."""
    fresh = Device.objects.filter(seen_at__gte=timezone.now() - DEVICE_FRESH)
    return Slots(total=fresh.count(), free=fresh.filter(job=None).count(), queued=len(queue_order()))
