"""Health with components that are really there, and really not."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.core.http import inner_client
from apps.jobs.models import WorkerProcess
from apps.monitoring import health
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import ObservedSet

pytestmark = pytest.mark.django_db


class _Ok(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path in {"/health", "/v2/health/live"} else 404)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return None


@pytest.fixture
def answering() -> Iterator[str]:
    """An HTTP server with the two health addresses."""
    server = HTTPServer(("127.0.0.1", 0), _Ok)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _all_down(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"


@pytest.fixture
def agent(settings: Any, tmp_path: Path) -> Callable[[float], None]:
    """Writes the agent's report as of so many seconds ago."""
    settings.HOME = tmp_path

    def report(age_s: float) -> None:
        paths = ServingPaths(tmp_path)
        paths.ensure()
        paths.observed.write_text(ObservedSet(updated_at=time.time() - age_s).model_dump_json())

    report(0.0)
    return report


def worker(queue: str, **values: Any) -> None:
    now = timezone.now()
    WorkerProcess.objects.create(host="h", name=queue, queue=queue, pid=1, started_at=now, **{"seen_at": now, **values})


def test_what_is_down_is_said(settings: Any) -> None:
    found = health.health(fresh=True)
    assert found.status == "degraded"
    assert found.components == {
        "database": "ok", "redis": "down", "mlflow": "down", "workers": "down", "serving": "down"
    }  # fmt: skip


@pytest.mark.usefixtures("agent")
def test_mlflow_and_serving_are_asked(settings: Any, answering: str) -> None:
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = answering
    found = health.health(fresh=True).components
    assert (found["mlflow"], found["serving"]) == ("ok", "ok")


def test_serving_is_down_while_its_agent_says_nothing(
    settings: Any, answering: str, agent: Callable[[float], None]
) -> None:
    settings.SERVING_INTERNAL_URL = answering
    agent(60.0)
    assert health.health(fresh=True).components["serving"] == "down"
    agent(1.0)
    assert health.health(fresh=True).components["serving"] == "ok"


@pytest.mark.usefixtures("agent")
def test_a_slow_read_of_the_root_certificates_is_no_outage(
    settings: Any, answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine whose web process has just started."""
    read = ssl.SSLContext.load_verify_locations

    def slowly(context: ssl.SSLContext, *given: Any, **more: Any) -> None:
        time.sleep(2 * health._PROBE_S)
        read(context, *given, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", slowly)
    inner_client.cache_clear()
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = answering
    found = health.health(fresh=True).components
    assert (found["mlflow"], found["serving"]) == ("ok", "ok")


def test_every_queue_needs_a_worker() -> None:
    worker("cpu")
    worker("gpu")
    assert health.health(fresh=True).components["workers"] == "down"
    worker("serve", seen_at=timezone.now() - 2 * health.WORKER_SILENT_AFTER)
    assert health.health(fresh=True).components["workers"] == "down"
    WorkerProcess.objects.update(seen_at=timezone.now())
    assert health.health(fresh=True).components["workers"] == "ok"


def test_anyone_may_ask() -> None:
    health.health(fresh=True)
    answer = Client().get("/api/v1/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert set(answer.json()["components"]) == {"database", "redis", "mlflow", "workers", "serving"}


def test_an_answer_is_kept_for_a_moment(answering: str, settings: Any) -> None:
    assert health.health(fresh=True).components["mlflow"] == "down"
    settings.MLFLOW_TRACKING_URI = answering
    assert health.health().components["mlflow"] == "down"
    assert health.health(fresh=True).components["mlflow"] == "ok"
