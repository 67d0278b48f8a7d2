"""Charts of a job as data: titles, units, series and references. How they are drawn is `static/js/charts.js`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.core.templatetags.ui import size
from apps.jobs.models import Job
from apps.jobs.selectors import folders
from apps.jobs.values import metric_spec, value_text
from apps.registry.models import ModelVersion
from modelkit import catalog

#: So many classes can be told apart in one heat map; of more, the most confused are shown first.
READABLE_CLASSES = 12
#: Lines of the list of confusions.
TOP_CONFUSIONS = 15

#: Titles of what the loop reports beside the task's metrics.
EXTRA_TITLES = {"learning_rate": "Learning rate", "grad_norm": "Gradient norm", "rows_per_s": "Rows per second"}


def curve_figures(job: Job, champion: ModelVersion | None) -> dict[str, dict[str, Any]]:
    """One figure a metric, with a line for each split, by metric name: the loss first, then the task's metrics."""
    by_name: dict[str, list[folders.Series]] = {}
    for series in folders.metric_series(job):
        by_name.setdefault(series.name, []).append(series)
    known = ["loss", *(name for name in by_name if name != "loss")]
    return {name: _curve(job, name, by_name[name], champion) for name in known if name in by_name}


def _curve(job: Job, name: str, lines: Sequence[folders.Series], champion: ModelVersion | None) -> dict[str, Any]:
    metric = metric_spec(job.task, name)
    fraction = metric.unit == "fraction"
    scale = 100 if fraction else 1
    # A test result is one point, told in words elsewhere.
    shown = [line for line in lines if line.split != "test"]
    references = []
    # Losses of different rows, or with and without label smoothing, do not compare.
    value = (champion.metrics or {}).get(name) if champion and fraction else None
    if champion is not None and value is not None:
        label = _("champion %(ref)s, %(split)s: %(value)s")
        label %= {"ref": champion.ref, "split": split_title(champion.metrics_split), "value": value_text(metric, value)}
        references.append({"label": label, "value": value * scale})
    title = _(EXTRA_TITLES.get(name, metric.title))
    unit = "%" if fraction else _("cross-entropy, nats") if metric.unit == "nats" else ""
    return {
        "kind": "lines",
        "title": title,
        "unit": unit,
        # Without epochs there is no loop: the points are the settings that were tried.
        "x": _("step") if any(epoch is not None for line in shown for epoch in line.epochs) else _("try"),
        "y": unit or title,
        "percent": fraction,
        "best": "max" if metric.higher_is_better else "min",
        "best_label": _("best"),
        # Only what jumps from batch to batch needs a smoothed line.
        "noisy": metric.unit == "nats" or name == "grad_norm",
        "x_max": job.progress_detail.get("steps"),
        "series": [
            {
                "name": split_title(line.split),
                "role": line.split,
                "points": [[x, round(y * scale, 6)] for x, y in zip(line.xs, line.ys, strict=True)],
            }
            for line in shown
            if line.xs
        ],
        "references": references,
    }


def usage_figures(job: Job) -> dict[str, dict[str, Any]]:
    """Memory and disk over time, each with what was predicted as a dashed line; empty before the first sample."""
    points = folders.usage_points(job)
    if not points:
        return {}
    titles = {"memory": (_("Memory in use"), 1, "memory_bytes"), "disk": (_("Disk in use"), 2, "disk_bytes")}
    found = {}
    for name, (title, column, key) in titles.items():
        predicted = job.predicted.get(key)
        largest = max([float(point[column]) for point in points] + [float(predicted or 0)])
        unit, scale = ("GB", 1e9) if largest >= 1e9 else ("MB", 1e6)
        label = _("predicted: %(value)s") % {"value": size(predicted)}
        found[name] = {
            "kind": "lines",
            "title": title,
            "unit": unit,
            "x": _("seconds since the start"),
            "y": unit,
            "percent": False,
            "noisy": False,
            "x_max": None,
            "series": [
                {
                    "name": title,
                    "role": "validation",
                    "points": [[point[0], round(point[column] / scale, 4)] for point in points],
                }
            ],
            "references": [{"label": label, "value": round(predicted / scale, 4)}] if predicted else [],
        }
    return found


def split_title(split: str) -> str:
    return {"train": _("train"), "validation": _("validation"), "test": _("test")}.get(split, split)


def confusion_figure(content: Mapping[str, Any], *, every: bool) -> dict[str, Any]:
    """The confusion matrix as a heat map: all classes, or the most confused ones with the others summed up."""
    labels, matrix = list(content["labels"]), content["matrix"]
    chosen = list(range(len(labels)))
    rest = not every and len(labels) > READABLE_CLASSES
    if rest:
        errors = [sum(matrix[i]) + sum(row[i] for row in matrix) - 2 * matrix[i][i] for i in range(len(labels))]
        chosen = sorted(sorted(chosen, key=lambda i: -errors[i])[:READABLE_CLASSES])
    cells = [
        [x, y, matrix[i][j]] for y, i in enumerate(chosen) for x, j in enumerate(chosen) if matrix[i][j] or not every
    ]
    names = [labels[i] for i in chosen]
    columns = list(names)
    if rest:
        columns.append(_("others"))
        inside = set(chosen)
        cells += [
            [len(chosen), y, sum(count for j, count in enumerate(matrix[i]) if j not in inside)]
            for y, i in enumerate(chosen)
        ]
    return {
        "kind": "heatmap",
        "title": _("Confusion matrix"),
        "x": _("predicted"),
        "y": _("true"),
        "rows": names,
        "columns": columns,
        "cells": cells,
        "zoom": len(chosen) > 2 * READABLE_CLASSES,
        "words": {"true": _("true"), "predicted": _("predicted"), "rows": _("rows")},
    }


@dataclass(frozen=True)
class Confusion:
    """`count` rows of `true` were taken for `predicted`; `share` of that class's rows."""

    true: str
    predicted: str
    count: int
    share: float


def top_confusions(content: Mapping[str, Any]) -> list[Confusion]:
    """The commonest mistakes, most rows first."""
    labels, matrix = content["labels"], content["matrix"]
    found = [
        Confusion(labels[i], labels[j], count, count / max(1, sum(row)))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda item: (-item.count, -item.share, item.true))[:TOP_CONFUSIONS]


def errors_total(content: Mapping[str, Any]) -> tuple[int, int]:
    """Wrong rows and all rows."""
    matrix = content["matrix"]
    rows = sum(map(sum, matrix))
    return rows - sum(matrix[i][i] for i in range(len(matrix))), rows


@dataclass(frozen=True)
class Point:
    """A version in the plane of speed and quality; `role` is baseline, variant, or worse for a slower one."""

    name: str
    p95_ms: float
    quality: float
    role: str


def scatter_figure(task: str, points: Sequence[Point]) -> dict[str, Any]:
    """p95 against quality, the front drawn through the versions that no other beats on both."""
    metric = metric_spec(task, _primary(task))
    titles = {"baseline": _("parent"), "variant": _("variant"), "worse": _("slower or worse")}
    series = [
        {
            "name": title,
            "role": role,
            "points": [
                {"name": point.name, "x": round(point.p95_ms, 3), "y": round(point.quality * 100, 2)}
                for point in points
                if point.role == role
            ],
        }
        for role, title in titles.items()
    ]
    return {
        "kind": "scatter",
        "title": _("Speed and quality"),
        "unit": _("up and left is better"),
        "x": _("p95 of a single request, ms"),
        "y": f"{_(metric.title)}, %",
        "series": [item for item in series if item["points"]],
        "front": [[round(p.p95_ms, 3), round(p.quality * 100, 2)] for p in pareto_front(points)],
    }


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both time and quality, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda item: (item.p95_ms, -item.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def score_points(task: str, score: Mapping[str, Any], *, baseline: str, variant: str) -> list[Point]:
    """Parent and variant of one compression."""
    name = _primary(task)
    before, after = score["baseline"], score["variant"]
    if not all(part.get(key) is not None for part in (before, after) for key in (name, "p95_ms")):
        return []
    worse = after["p95_ms"] > before["p95_ms"]
    return [
        Point(baseline, before["p95_ms"], before[name], "baseline"),
        Point(variant, after["p95_ms"], after[name], "worse" if worse else "variant"),
    ]


def _primary(task: str) -> str:
    spec = catalog.tasks().get(task)
    return spec.primary_metric if spec else "accuracy"
