"""What the charts of the registry show; how they look is decided in `static/js/charts.js`."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from apps.registry.cards import Variant
from apps.registry.models import ModelVersion
from modelkit import catalog


def history_figure(task: str, versions: list[ModelVersion]) -> dict[str, Any] | None:
    """The primary metric over the versions, oldest first; the champion's as the reference line."""
    spec = catalog.tasks().get(task)
    metric = spec.metric(spec.primary_metric) if spec else None
    name = metric.name if metric else "accuracy"
    percent = metric is None or metric.unit == "fraction"
    scale = 100 if percent else 1
    points = [
        [version.number, round(version.metrics[name] * scale, 3)]
        for version in sorted(versions, key=lambda row: row.number)
        if isinstance(version.metrics.get(name), int | float)
    ]
    if len(points) < 2:
        return None
    champion = next((row for row in versions if any(alias.name == "champion" for alias in row.aliases.all())), None)
    value = champion.metrics.get(name) if champion else None
    references = [{"label": _("champion"), "value": round(value * scale, 3)}] if isinstance(value, int | float) else []
    title = _(metric.title) if metric else _("Accuracy")
    return {
        "kind": "lines",
        "title": title,
        "unit": "%" if percent else "",
        "percent": percent,
        "series": [{"name": title, "role": "validation", "points": points}],
        "best": "max" if metric is None or metric.higher_is_better else "min",
        "best_label": _("best"),
        "references": references,
        "x": _("version"),
        "x_min": points[0][0],
        "x_whole": True,
    }


def variants_figure(variants: list[Variant]) -> dict[str, Any] | None:
    """p95 against accuracy for the measured versions of a family, with the front of those that none beats on both."""
    measured = [item for item in variants if item.score.get("p95_ms") and item.score.get("accuracy") is not None]
    if len(measured) < 2:
        return None
    series: dict[str, dict[str, Any]] = {}
    base = next((item for item in measured if item.version.parent_id is None), None)
    for item in measured:
        p95, accuracy = float(item.score["p95_ms"]), float(item.score["accuracy"])
        worse = base is not None and (p95 >= base.score["p95_ms"] and accuracy <= base.score["accuracy"])
        role = "baseline" if item.version.parent_id is None else "worse" if worse else "variant"
        name = {"baseline": _("uncompressed"), "variant": _("variant"), "worse": _("slower and worse")}[role]
        row = series.setdefault(role, {"name": name, "role": role, "points": []})
        row["points"].append({"name": item.version.ref, "x": round(p95, 3), "y": round(accuracy * 100, 2)})
    points = sorted(
        ((row["x"], row["y"]) for item in series.values() for row in item["points"]), key=lambda p: (p[0], -p[1])
    )
    front: list[list[float]] = []
    for x, y in points:
        if not front or y > front[-1][1]:
            front.append([x, y])
    return {
        "kind": "scatter",
        "title": _("Speed and quality"),
        "unit": _("up and left is better"),
        "x": _("p95 of a single request, ms"),
        "y": _("Accuracy, %"),
        "series": list(series.values()),
        "front": front,
    }
