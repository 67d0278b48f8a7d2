"""How the numbers of jobs read: metrics by their unit, and signed differences."""

from __future__ import annotations

from typing import Any

from apps.core.templatetags.ui import ms, percent, size
from apps.registry.measures import SCORES
from modelkit import catalog
from modelkit.contracts import Metric


def metric_spec(task: str, name: str) -> Metric:
    """The metric as its task describes it; an unknown one is shown as a bare number."""
    spec = catalog.tasks().get(task)
    for metric in (*(spec.metrics if spec else ()), *SCORES):
        if metric.name == name:
            return metric
    return Metric(name, name.replace("_", " "), "", "")


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
            return ms(value)
        case "nats":
            return f"{float(value):.3f}"
    number = float(value)
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.4g}"


def delta_text(metric: Metric, value: float, against: float) -> str:
    """A signed difference: percentage points for fractions, a ratio in percent for times and sizes."""
    if metric.unit == "fraction":
        return f"{(value - against) * 100:+.1f} pp".replace("-", "−")
    if metric.unit in {"ms", "bytes"} or metric.name == "throughput_rows_s":
        if not against:
            return "–"
        return f"{(value / against - 1) * 100:+.1f} %".replace("-", "−")
    return f"{value - against:+.4g}".replace("-", "−")
