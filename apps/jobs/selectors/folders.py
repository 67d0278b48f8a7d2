"""What a job's folder tells: curves, log lines, artifacts, checkpoints. Read from files, never from rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.core.errors import NotFound
from apps.jobs.models import Job, JobKind
from modelkit.contracts import PHASES
from modelkit.jobfolder import JobFolder, read_json

#: A chart of some 600 pixels shows no more.
MAX_POINTS = 600
ARTIFACT_NAME = re.compile(r"[a-z0-9_]{1,60}")
#: What a kind goes through; `queued` and `publishing` belong to the worker.
PHASES_OF = {
    JobKind.TRAIN: tuple(name for name in PHASES if name not in ("compressing", "predicting")),
    JobKind.COMPRESS: ("queued", "preparing", "compressing", "evaluating", "exporting", "parity", "publishing"),
    JobKind.PREDICT: ("queued", "preparing", "loading", "predicting", "exporting"),
}


def folder_of(job: Job) -> JobFolder:
    return JobFolder(Path(settings.JOBS_DIR) / job.public_id)


@dataclass(frozen=True)
class Series:
    """A curve, thinned to what a chart can show. `xs` are steps."""

    split: str
    name: str
    xs: list[int]
    ys: list[float]
    epochs: list[float | None]


def metric_points(job: Job, *, after: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Metric events from byte `after` of the event file on, and the offset for the next call."""
    events, offset = folder_of(job).read_events(max(0, after))
    names = ("t", "split", "step", "epoch", "values")
    points = [{name: event.get(name) for name in names} for event in events if event["type"] == "metrics"]
    return points, offset


def metric_series(job: Job, *, max_points: int = MAX_POINTS) -> list[Series]:
    """Every curve of the job. A step that a resumed attempt took again counts once, the later value."""
    values: dict[tuple[str, str], dict[int, tuple[float, float | None]]] = defaultdict(dict)
    for event in folder_of(job).iter_events():
        if event["type"] == "metrics":
            for name, value in event["values"].items():
                values[event["split"], name][int(event["step"])] = (float(value), event.get("epoch"))
    series = []
    for (split, name), by_step in sorted(values.items()):
        steps = _thin(sorted(by_step), max_points)
        series.append(
            Series(split, name, steps, [by_step[step][0] for step in steps], [by_step[step][1] for step in steps])
        )
    return series


def usage_points(job: Job, *, max_points: int = MAX_POINTS) -> list[tuple[float, int, int]]:
    """Seconds since the job's first event, memory and disk in bytes at that moment, thinned for a chart.

    The pause between two attempts is no work and is left out.
    """
    points: list[tuple[float, int, int]] = []
    began = last = None
    waited = 0.0
    for event in folder_of(job).iter_events():
        at = float(event["t"])
        began = at if began is None else began
        if event["type"] == "attempt" and last is not None:
            waited += at - last
        last = at
        if event["type"] == "usage":
            points.append((round(at - began - waited, 1), int(event["memory_bytes"]), int(event["disk_bytes"])))
    return [points[index] for index in _thin(range(len(points)), max_points)]


def _thin(steps: Sequence[int], limit: int) -> list[int]:
    """At most `limit` of them, evenly spread, with the first and the last."""
    if len(steps) <= limit:
        return list(steps)
    stride = (len(steps) - 1) / (limit - 1)
    return [steps[round(index * stride)] for index in range(limit)]


def log_lines(job: Job, *, after: int = 0) -> tuple[list[str], int]:
    """Log lines from byte `after` on (negative: from the end), and the offset for the next call."""
    text, offset = folder_of(job).read_log(after)
    return text.splitlines(), offset


def log_tail(job: Job, *, lines: int = 200) -> list[str]:
    """The last lines of the log."""
    text, _offset = folder_of(job).read_log(-lines * 300)
    return text.splitlines()[-lines:]


def artifact_names(job: Job) -> list[dict[str, Any]]:
    """The artifacts of the job, with size."""
    found = []
    for name, entry in sorted(job.progress_detail.get("artifacts", {}).items()):
        path = folder_of(job).path / entry["path"]
        if path.is_file():
            found.append(
                {"name": name, "kind": entry["kind"], "path": entry["path"], "size_bytes": path.stat().st_size}
            )
    return found


def artifact(job: Job, name: str) -> dict[str, Any] | None:
    """The content of a JSON artifact (`confusion`, `per_class`, `samples` ...), or None while it is not there."""
    if ARTIFACT_NAME.fullmatch(name) is None:
        return None
    return read_json(folder_of(job).artifacts_path / f"{name}.json")


def artifact_path(job: Job, name: str) -> Path:
    """The file of an artifact, for download; raises NotFound, also for one outside the job's folder."""
    root = folder_of(job).path.resolve()
    entry = job.progress_detail.get("artifacts", {}).get(name)
    path = (root / entry["path"]).resolve() if entry else root
    if not path.is_file() or not path.is_relative_to(root):
        hint = "Wait until the job has succeeded." if not job.finished_at else "See what kind of job it was."
        raise NotFound(f"The job has no artifact “{name}”.", code="artifact_not_found", hint=hint)
    return path


def checkpoint_list(job: Job) -> list[dict[str, Any]]:
    """Checkpoints that were written, newest first; `present` says which are still kept."""
    folder = folder_of(job)
    found: dict[str, dict[str, Any]] = {}
    for event in folder.iter_events():
        if event["type"] == "checkpoint":
            found[event["path"]] = {name: event.get(name) for name in ("t", "path", "step", "epoch", "values")}
    rows = [row | {"present": (folder.path / row["path"]).is_dir()} for row in found.values()]
    return sorted(rows, key=lambda row: (row["step"], row["t"]), reverse=True)
