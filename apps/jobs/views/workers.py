"""Who runs jobs: hosts, their devices and processes, and what each does now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from apps.accounts.auth import identity_of
from apps.core.pages import page_or_fragment
from apps.jobs.models import Device, WorkerProcess
from apps.jobs.selectors import choices, records
from apps.jobs.selectors.queue import DEVICE_FRESH

#: A worker process that was silent for longer is shown as gone.
SILENT_AFTER = timedelta(seconds=60)


@dataclass
class Host:
    """A machine with the devices it offers and the processes that report from it."""

    name: str
    devices: list[Device] = field(default_factory=list)
    workers: list[tuple[WorkerProcess, bool]] = field(default_factory=list)
    seen_at: datetime | None = None

    @property
    def alive(self) -> bool:
        return self.seen_at is not None and timezone.now() - self.seen_at < max(DEVICE_FRESH, SILENT_AFTER)

    def saw(self, at: datetime) -> None:
        self.seen_at = max(self.seen_at or at, at)


def hosts_now() -> list[Host]:
    """Every host that reported within memory, by name."""
    hosts: dict[str, Host] = {}
    for device in records.device_list():
        host = hosts.setdefault(device.host, Host(device.host))
        host.devices.append(device)
        host.saw(device.seen_at)
    for worker in records.worker_list():
        host = hosts.setdefault(worker.host, Host(worker.host))
        host.workers.append((worker, timezone.now() - worker.seen_at < SILENT_AFTER))
        host.saw(worker.seen_at)
    return sorted(hosts.values(), key=lambda host: host.name)


@require_GET
def worker_list(request: HttpRequest) -> HttpResponse:
    """The page, or its live part alone. A job of another workspace is shown as taken, without its name."""
    context = {"hosts": hosts_now(), "slots": choices.slots_now(), "here": identity_of(request).workspace.pk}
    return page_or_fragment(request, "jobs/workers.html", "jobs/_workers.html", context)
