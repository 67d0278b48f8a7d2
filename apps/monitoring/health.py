"""Whether the parts that the web process does not own answer. Asked often, hence quick, in parallel and remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import httpx
import redis
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.core.http import inner_client
from apps.deployments.backend import is_fresh, serving_backend
from apps.jobs import queue
from apps.jobs.models import WorkerProcess
from apps.registry import mlflow_gateway

State = Literal["ok", "down"]

_PROBE_S = 0.6
_KEPT_S = 3.0
#: A worker reports in every few seconds; one that is silent for so long is gone.
WORKER_SILENT_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Health:
    """`status` is ok only if every component is."""

    components: dict[str, State]

    @property
    def status(self) -> Literal["ok", "degraded"]:
        return "ok" if all(state == "ok" for state in self.components.values()) else "degraded"


class _Memory:
    """The last answer of this process. The cache is not used: it lies in the database, which may be what is down."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = 0.0
        self.health: Health | None = None


_memory = _Memory()


def health(*, fresh: bool = False) -> Health:
    """The state of every component, at most three seconds old unless `fresh`."""
    with _memory.lock:
        if fresh or _memory.health is None or time.monotonic() - _memory.at > _KEPT_S:
            _memory.health, _memory.at = _probe(), time.monotonic()
        return _memory.health


def _probe() -> Health:
    probes: dict[str, Callable[[], bool]] = {"redis": _redis, "mlflow": _mlflow, "serving": _serving}
    pool = ThreadPoolExecutor(len(probes), thread_name_prefix="health")
    # Made before the clock starts: on a busy machine that takes longer than the probes may.
    inner_client()
    deadline = time.monotonic() + 2 * _PROBE_S
    try:
        futures = {name: pool.submit(probe) for name, probe in probes.items()}
        # These two here: Django's connection belongs to this thread.
        database = _database()
        workers = database and _workers()
        answers = {name: _answer(future, deadline) for name, future in futures.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    found = {"database": database, "redis": answers["redis"], "mlflow": answers["mlflow"]}
    found |= {"workers": workers, "serving": answers["serving"]}
    return Health({name: "ok" if up else "down" for name, up in found.items()})


def _answer(future: Future[bool], deadline: float) -> bool:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except (Late, OSError):
        return False


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except Exception:  # drivers raise many types, and each means the same here
        return False


def _workers() -> bool:
    """Whether each queue has a worker that reported in lately."""
    try:
        seen = WorkerProcess.objects.filter(seen_at__gt=timezone.now() - WORKER_SILENT_AFTER)
        return set(seen.values_list("queue", flat=True)) >= {queue.CPU, queue.GPU, queue.SERVE}
    except Exception:
        return False


def _redis() -> bool:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=_PROBE_S, socket_timeout=_PROBE_S)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _mlflow() -> bool:
    return mlflow_gateway.is_up(timeout_s=_PROBE_S)


def _serving() -> bool:
    """Whether the port answers, and its agent still tells of it: without that, nothing is deployed or restarted."""
    observed = serving_backend().observe()
    if observed is None or not is_fresh(observed):
        return False
    try:
        url = f"{settings.SERVING_INTERNAL_URL}/v2/health/live"
        return inner_client().get(url, timeout=_PROBE_S).status_code == 200
    except httpx.HTTPError:
        return False
