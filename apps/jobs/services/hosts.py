"""Hosts and their worker processes report in here: devices to offer, and that they live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.jobs.models import Device, WorkerProcess

#: A worker process that has been silent for so long is forgotten.
FORGOTTEN_AFTER = timedelta(hours=1)


def devices_report(*, host: str, devices: Sequence[Mapping[str, Any]]) -> None:
    """Offer the devices of `host` (`name`, `title`, `memory_bytes`); one no longer there is withdrawn when free."""
    now = timezone.now()
    for device in devices:
        Device.objects.update_or_create(
            host=host,
            name=device["name"],
            defaults={"title": device["title"], "memory_bytes": device["memory_bytes"], "seen_at": now},
        )
    Device.objects.filter(host=host, job=None).exclude(name__in=[device["name"] for device in devices]).delete()


def worker_report(*, host: str, name: str, queue: str, pid: int, started_at: Any, details: Mapping[str, Any]) -> None:
    """A worker process lives."""
    now = timezone.now()
    values = {
        "host": host,
        "queue": queue,
        "pid": pid,
        "started_at": started_at,
        "seen_at": now,
        "details": dict(details),
    }
    WorkerProcess.objects.update_or_create(name=name, defaults=values)


def worker_gone(*, name: str) -> None:
    """A worker process says goodbye."""
    WorkerProcess.objects.filter(name=name).delete()


def workers_forget() -> int:
    """Drop rows of workers that were killed long ago; returns how many."""
    gone, _by_model = WorkerProcess.objects.filter(seen_at__lt=timezone.now() - FORGOTTEN_AFTER).delete()
    return gone
