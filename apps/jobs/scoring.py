"""What a compression measured, as its page tells it: parent and variant side by side, and what got worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.jobs.values import delta_better, delta_text, metric_spec, value_text


@dataclass(frozen=True)
class ScoreLine:
    """One measure of a variant beside its parent's. `better` is None where no change is shown or nobody can say."""

    name: str
    title: str
    help: str
    baseline: str
    variant: str
    delta: str
    better: bool | None


#: The order in which a score is told: what one loses, then what one gains.
SCORE_ORDER = (
    "accuracy",
    "f1_macro",
    "agreement",
    "mean_drift",
    "max_drift",
    "p50_ms",
    "p95_ms",
    "throughput_rows_s",
    "size_bytes",
    "graph_bytes",
    "peak_memory_bytes",
)


def score_of(task: str, score: Mapping[str, Any] | None) -> list[ScoreLine]:
    """Baseline, variant and signed difference of every measure that both have."""
    if not score:
        return []
    baseline, variant = score["baseline"], score["variant"]
    lines = []
    for name in SCORE_ORDER:
        if variant.get(name) is None:
            continue
        metric, value, before = metric_spec(task, name), variant[name], baseline.get(name)
        # A parent agrees with itself and does not drift: only what can differ gets a difference.
        compared = before is not None and name not in {"agreement", "mean_drift", "max_drift"}
        lines.append(
            ScoreLine(
                name,
                _(metric.title),
                _(metric.help),
                value_text(metric, before) if compared else "–",
                value_text(metric, value),
                delta_text(metric, value, before) if compared else "",
                delta_better(metric, value, before) if compared else None,
            )
        )
    return lines


def score_verdict(task: str, score: Mapping[str, Any] | None) -> list[str]:
    """What is worse about a variant than its parent, as the job found; empty where nothing is."""
    titles = [_(metric_spec(task, name).title) for name in (score or {}).get("worse", [])]
    return [_("worse: %(measure)s") % {"measure": title} for title in titles]
