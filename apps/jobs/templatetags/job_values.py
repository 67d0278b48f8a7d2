"""How the numbers of jobs read: metrics by their unit, signed differences, spans of time, sizes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.translation import gettext as _

from modelkit import catalog
from modelkit.contracts import Metric

register = template.Library()

#: Scores that compression reports beside a task's own metrics.
SCORES = (
    Metric("agreement", "Agreement", "Part of the rows that get the same answer as from the parent."),
    Metric("mean_drift", "Mean drift", "Mean absolute change of a probability.", "", False),
    Metric("max_drift", "Largest drift", "Largest absolute change of a probability.", "", False),
    Metric("p50_ms", "p50", "Half of single requests are answered within this.", "ms", False),
    Metric("p95_ms", "p95", "95 of 100 single requests are answered within this.", "ms", False),
    Metric("size_bytes", "Size", "All files of the bundle.", "bytes", False),
    Metric("graph_bytes", "Graph", "The model file alone.", "bytes", False),
    Metric("peak_memory_bytes", "Peak memory", "Most memory while answering.", "bytes", False),
    Metric("throughput_rows_s", "Throughput", "Rows a second.", ""),
)


def metric_spec(task: str, name: str) -> Metric:
    """The metric as its task describes it; an unknown one is shown as a bare number."""
    spec = catalog.tasks().get(task)
    for metric in (*(spec.metrics if spec else ()), *SCORES):
        if metric.name == name:
            return metric
    return Metric(name, name.replace("_", " "), "", "")


@register.filter
def percent(value: Any) -> str:
    """0.926 as "92.6 %"."""
    return "–" if value is None else f"{float(value) * 100:.1f}\u202f%"


@register.filter
def size(value: Any) -> str:
    """Bytes in the unit that leaves a readable number: "90.9 MB", "2.1 GB"."""
    if value in (None, ""):
        return "–"
    number = float(value)
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(number) >= 0.995 * scale:
            return f"{number / scale:.1f}\u202f{unit}"
    return f"{number:.0f}\u202fB"


@register.filter
def span(value: Any) -> str:
    """Seconds in words: "52 s", "1 min 49 s", "2 h 5 min"."""
    if value in (None, ""):
        return "–"
    seconds = max(0.0, float(value))
    if seconds < 10:
        return _("%(s).1f s") % {"s": seconds}
    whole = round(seconds)
    if whole < 60:
        return _("%(s)d s") % {"s": whole}
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return _("%(m)d min %(s)d s") % {"m": minutes, "s": rest} if rest else _("%(m)d min") % {"m": minutes}
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _("%(h)d h %(m)d min") % {"h": hours, "m": minutes} if minutes else _("%(h)d h") % {"h": hours}
    return _("%(d)d days %(h)d h") % {"d": hours // 24, "h": hours % 24}


@register.filter
def ago(value: datetime | None) -> str:
    """How long ago, for what was seen or done recently."""
    if value is None:
        return "–"
    seconds = (timezone.now() - value).total_seconds()
    return _("just now") if seconds < 5 else _("%(span)s ago") % {"span": span(seconds)}


def value_text(metric: Metric, value: Any) -> str:
    """A metric's value in its unit."""
    if value is None:
        return "–"
    match metric.unit:
        case "fraction":
            return percent(value)
        case "bytes":
            return size(value)
        case "ms":
            return f"{float(value):.1f}\u202fms"
        case "nats":
            return f"{float(value):.3f}"
    number = float(value)
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.4g}"


def delta_text(metric: Metric, value: float, against: float) -> str:
    """A signed difference: percentage points for fractions, a ratio in percent for times and sizes."""
    if metric.unit == "fraction":
        return f"{(value - against) * 100:+.1f}\u202fpp".replace("-", "−")
    if metric.unit in {"ms", "bytes"} or metric.name == "throughput_rows_s":
        if not against:
            return "–"
        return f"{(value / against - 1) * 100:+.1f}\u202f%".replace("-", "−")
    return f"{value - against:+.4g}".replace("-", "−")


@register.filter
def entry(mapping: dict[str, Any], name: str) -> Any:
    """The entry of a mapping by a name held in a variable, or nothing."""
    return mapping.get(name, "")
