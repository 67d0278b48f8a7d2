"""The metrics that jobs report: what each is called, and how its values read."""

from __future__ import annotations

from typing import Any

from apps.core.templatetags.ui import difference, improved, measure
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
    return measure(value, metric.unit)


def delta_text(metric: Metric, value: float, against: float) -> str:
    """How a metric differs from another value of it."""
    return difference(value, against, metric.unit)


def delta_better(metric: Metric, value: float, against: float) -> bool | None:
    """Whether a metric's value is the better one; None where `delta_text` shows no difference."""
    return improved(value, against, metric.unit, higher_is_better=metric.higher_is_better)
