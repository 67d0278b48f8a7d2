"""Names of Celery queues and tasks, and the one way to send a message.

The web sends by name: it never imports the workers. A message carries ids only and means "look"; a lost one delays
work until the next sweep, never loses it.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from celery import Celery
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

CPU, GPU, SERVE = "cpu", "gpu", "serve"

DATASET_VALIDATE = "datasets.validate"
DATASET_SWEEP = "datasets.sweep"
BASE_MODEL_IMPORT = "base_models.import"
BASE_MODEL_SWEEP = "base_models.sweep"
JOB_LOOK = "jobs.look"
JOB_SWEEP = "jobs.sweep"
JOB_PREVIEW = "jobs.preview"
DEPLOYMENT_APPLY = "serving.apply"
TRAFFIC_IMPORT = "serving.figures"
UPKEEP = "upkeep.tick"

QUEUE_OF = {
    DATASET_VALIDATE: CPU,
    DATASET_SWEEP: CPU,
    BASE_MODEL_IMPORT: CPU,
    BASE_MODEL_SWEEP: CPU,
    JOB_LOOK: GPU,
    JOB_SWEEP: CPU,
    JOB_PREVIEW: CPU,
    DEPLOYMENT_APPLY: SERVE,
    TRAFFIC_IMPORT: CPU,
    UPKEEP: CPU,
}


def broker_url() -> str:
    """`REDIS_URL` in the form that Celery's transport reads."""
    return settings.REDIS_URL.replace("unix://", "redis+socket://", 1)


@cache
def _client() -> Celery:
    client = Celery("tuneyard-web", broker=broker_url(), set_as_current=False)
    client.conf.update(
        task_ignore_result=True,
        broker_connection_retry=False,
        broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2, "max_retries": 1},
    )
    return client


def send(name: str, *args: Any, expires_s: float | None = None) -> None:
    """Send a message now; a broker that is down is logged, since a sweep will find the row.

    A message older than `expires_s` is dropped unread.
    """
    try:
        _client().send_task(name, args=args, queue=QUEUE_OF[name], retry=False, expires=expires_s)
    except Exception:  # kombu raises many types
        logger.warning("The message %s%r could not be sent; the next sweep will find the row.", name, args)


def send_on_commit(name: str, *args: Any) -> None:
    """Send a message once the present transaction has committed."""
    transaction.on_commit(lambda: send(name, *args))
