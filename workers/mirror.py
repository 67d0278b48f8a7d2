"""Copies a job's run and curves to the tracking server, from a thread: its outage delays nothing but itself."""

from __future__ import annotations

import logging
import threading
import time
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection

from apps.jobs import services
from apps.jobs.models import Job, JobKind
from modelkit.jobfolder import JobFolder
from modelkit.tracking.sink import Point, RunForgotten, RunSink, SinkRefused, SinkUnavailable

logger = logging.getLogger(__name__)

PERIOD_S = 5.0
#: A copy begins this long after the child: what its first batch needs comes first.
DELAY_S = 10.0
RETRY_S = 15.0


@cache
def sink() -> RunSink:
    """The tracking server of this installation; made on first use, since the import takes seconds."""
    from modelkit.tracking.mlflow import MlflowSink

    return MlflowSink(settings.MLFLOW_TRACKING_URI)


class Mirror:
    """The copy of one job. `nudge` copies now and then in the background; `flush` copies the rest, or raises."""

    def __init__(self, job: Job, folder: JobFolder, owner: str) -> None:
        self._job, self._folder, self._owner = job, folder, owner
        self._lock = threading.Lock()
        self._next_at = time.monotonic() + DELAY_S
        self._thread: threading.Thread | None = None
        self._offset = job.mlflow_offset
        self.run_id = job.mlflow_run_id

    def nudge(self) -> None:
        """Start a copy in the background when it is time and none is under way."""
        now = time.monotonic()
        # Predictions make no model and draw no curves: there is nothing for MLflow to hold.
        if self._job.kind == JobKind.PREDICT:
            return
        if now < self._next_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_at = now + PERIOD_S
        self._thread = threading.Thread(target=self._copy_quietly, name="mirror", daemon=True)
        self._thread.start()

    def _copy_quietly(self) -> None:
        try:
            self.flush()
        except (SinkUnavailable, SinkRefused) as error:
            logger.info("Job %s: MLflow has to wait, %s", self._job.public_id, error)
            self._next_at = time.monotonic() + RETRY_S
        except services.LeaseLost:
            self._next_at = float("inf")
        except Exception:
            logger.exception("Job %s: copying to MLflow failed.", self._job.public_id)
            self._next_at = time.monotonic() + RETRY_S
        finally:
            connection.close()

    def flush(self) -> str:
        """Copy everything reported so far; returns the run's id. Raises SinkUnavailable, SinkRefused or LeaseLost."""
        with self._lock:
            if not self.run_id:
                self.run_id = sink().run_open(
                    group=self._job.workspace.name,
                    key=run_key(self._job),
                    title=f"#{self._job.number} {self._job.title}",
                    params=_params(self._job),
                    tags=run_tags(self._job),
                )
                self._remember()
            while True:
                events, offset = self._folder.read_events(self._offset)
                if offset == self._offset:
                    return self.run_id
                points = [point for event in events if event["type"] == "metrics" for point in _points(event)]
                if points:
                    self._log(points)
                self._offset = offset
                self._remember()

    def _log(self, points: list[Point]) -> None:
        try:
            sink().points_log(self.run_id, points)
        except RunForgotten:
            self.run_id, self._offset = "", 0
            self._remember()
            raise

    def _remember(self) -> None:
        services.job_mirrored(job=self._job, owner=self._owner, run_id=self.run_id, offset=self._offset)


def run_key(job: Job) -> str:
    """A retry from the start is a run of its own; a resumed attempt goes on in the same run."""
    generation = int(job.progress_detail.get("generation", 0))
    return f"{job.public_id}.{generation}" if generation else job.public_id


def run_tags(job: Job) -> dict[str, str]:
    """Where the run and its version come from."""
    spec = job.spec
    tags = {
        "tuneyard.job": job.public_id,
        "tuneyard.kind": job.kind,
        "tuneyard.task": job.task,
        "tuneyard.workspace": job.workspace.name,
        "tuneyard.code_version": spec["code_version"],
    }
    if spec.get("dataset"):
        tags |= {"tuneyard.dataset": spec["dataset"]["ref"], "tuneyard.dataset_digest": spec["dataset"]["digest"]}
    if spec.get("base_model"):
        tags["tuneyard.base_model"] = spec["base_model"]["id"]
    if spec.get("source"):
        tags |= {"tuneyard.parent": spec["source"]["ref"], "tuneyard.method": spec["method"]}
    return tags


def _params(job: Job) -> dict[str, str]:
    return {name: str(value) for name, value in job.spec["params"].items()} | {"seed": str(job.spec["seed"])}


def _points(event: dict[str, Any]) -> list[Point]:
    time_ms = int(event["t"] * 1000)
    step = int(event["step"])
    return [Point(f"{event['split']}_{name}", float(value), step, time_ms) for name, value in event["values"].items()]
