"""The Celery application: `celery -A workers.app worker -Q gpu ...`. Queues and task names are in `apps.jobs.queue`.

Messages are JSON, carry ids only and mean "look"; truth is in the database. They are acknowledged when received, since
Redis would deliver a long task a second time; leases and sweeps take care of what a dead worker leaves.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tuneyard.settings")

import django
from celery import Celery, signals

django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up first

import workers.tasks  # noqa: E402
from apps.jobs import queue  # noqa: E402
from workers import presence, stopping  # noqa: E402

app = Celery("tuneyard", broker=queue.broker_url())
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    task_default_queue=queue.CPU,
    task_routes={name: {"queue": lane} for name, lane in queue.QUEUE_OF.items()},
    task_create_missing_queues=True,
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_keepalive": True, "health_check_interval": 10},
    # A task outlives the loss of the broker: it needs the database and the job's folder only.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone=settings.TIME_ZONE,
)


def _import_tasks() -> None:
    for module in pkgutil.iter_modules(workers.tasks.__path__):
        importlib.import_module(f"{workers.tasks.__name__}.{module.name}")


#: How often a sweep runs. A message that waits longer than its period is void: the next one says the same.
PERIOD_S = {
    queue.JOB_SWEEP: 5.0,
    queue.DATASET_SWEEP: 15.0,
    queue.BASE_MODEL_SWEEP: 15.0,
    queue.DEPLOYMENT_APPLY: 10.0,
    queue.TRAFFIC_IMPORT: 15.0,
    queue.SAMPLES_IMPORT: 5.0,
    queue.TRAFFIC_WATCH: 2.0,
    queue.UPKEEP: 60.0,
}


@app.on_after_finalize.connect
def _schedule(sender: Celery, **_: object) -> None:
    _import_tasks()
    sender.conf.beat_schedule = {
        name: {"task": name, "schedule": period, "options": {"expires": period, "queue": queue.QUEUE_OF[name]}}
        for name, period in PERIOD_S.items()
        if name in sender.tasks
    }


signals.worker_ready.connect(presence.start, weak=False)
signals.worker_shutting_down.connect(stopping.ask, weak=False)
signals.worker_shutdown.connect(presence.stop, weak=False)
