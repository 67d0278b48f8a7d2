"""A thread of the worker's main process that reports "I live, and offer these devices" every ten seconds."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from django.db import connections
from django.utils import timezone

from apps.jobs import queue, services
from workers import devices

logger = logging.getLogger(__name__)

PERIOD_S = 10.0
_stop = threading.Event()
_names: list[str] = []


def start(sender: Any = None, **_: object) -> None:
    """Celery's `worker_ready`: begin to report."""
    queues = [lane.name for lane in sender.task_consumer.queues] if sender is not None else []
    name = getattr(sender, "hostname", "") or f"worker-{os.getpid()}"
    _names.append(f"{name}:{os.getpid()}")
    threading.Thread(target=_report_for_ever, args=(_names[-1], queues), name="presence", daemon=True).start()


def stop(**_: object) -> None:
    """Celery's `worker_shutdown`: say goodbye."""
    _stop.set()
    for name in _names:
        try:
            services.worker_gone(name=name)
        except Exception as error:  # the database may be gone before us
            logger.warning("The worker could not say goodbye: %s", error)


def _report_for_ever(name: str, queues: list[str]) -> None:
    started_at = timezone.now()
    while True:
        try:
            _report(name, queues, started_at)
        except Exception as error:
            logger.warning("The worker could not report: %s", error)
        finally:
            # The pool forks from this process: it must inherit no open connection.
            connections.close_all()
        if _stop.wait(PERIOD_S):
            return


def _report(name: str, queues: list[str], started_at: Any) -> None:
    host = devices.host_name()
    if queue.GPU in queues:
        services.devices_report(host=host, devices=devices.found())
    services.worker_report(
        host=host,
        name=name,
        queue=",".join(queues)[:20],
        pid=os.getpid(),
        started_at=started_at,
        details={"devices": [device["name"] for device in devices.found()] if queue.GPU in queues else []},
    )
