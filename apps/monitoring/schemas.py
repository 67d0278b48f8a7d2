"""What the API of monitoring answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ninja import Schema
from pydantic import Field

from apps.deployments.models import Endpoint
from apps.monitoring.traffic import Traffic
from modelkit.serving.tally import STAGES, Tally


class FiguresOut(Schema):
    """Of a span of time. Times are means and quantiles of answered requests; null without one."""

    requests: int
    answered: int
    rejected: int = Field(description="Answered by 4xx.")
    errors: int = Field(description="Answered by 5xx.")
    requests_per_second: float
    error_rate: float | None = Field(description="Errors as a fraction of requests.")
    refused: dict[str, int] = Field(description="Answers other than 200, by status and error code: `429 queue_full`.")
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    queue_ms: float | None
    preprocess_ms: float | None
    model_ms: float | None
    batch_inputs: float | None = Field(description="Inputs in the model's batch.")
    inputs: int
    tokens: int


class PointOut(FiguresOut):
    at: datetime = Field(description="The beginning of the step.")


class SeriesOut(Schema):
    revision: int | None = Field(
        description="null: all of the endpoint; 0: requests refused before a revision was chosen."
    )
    total: FiguresOut
    points: list[PointOut]


class MetricsOut(Schema):
    endpoint: str
    range: str
    step_s: int
    start: datetime
    until: datetime = Field(description="How far the figures reach; a few seconds ago.")
    series: list[SeriesOut] = Field(description="All of the endpoint first, then revision by revision, newest first.")

    @classmethod
    def of(cls, endpoint: Endpoint, traffic: Traffic) -> MetricsOut:
        rows: list[tuple[int | None, Mapping[int, Tally]]] = [(None, traffic.by_moment())]
        rows += [(number, traffic.by_moment(number)) for number in traffic.revisions]
        return cls(
            endpoint=endpoint.name,
            range=traffic.span.name,
            step_s=traffic.step_s,
            start=datetime.fromtimestamp(traffic.start, UTC),
            until=datetime.fromtimestamp(traffic.until, UTC),
            series=[
                SeriesOut(
                    revision=number,
                    total=FiguresOut(**_figures(traffic.total(number), max(1, traffic.until - traffic.start))),
                    points=[
                        PointOut(at=datetime.fromtimestamp(at, UTC), **_figures(tally, traffic.length_s(at)))
                        for at, tally in sorted(steps.items())
                    ],
                )
                for number, steps in rows
            ],
        )


def _figures(tally: Tally, seconds: int) -> dict[str, Any]:
    means = {f"{stage}_ms": tally.mean(f"{stage}_ms") for stage in STAGES}
    quantiles = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {
        "requests": tally.requests,
        "answered": tally.answered,
        "rejected": tally.rejected,
        "errors": tally.errors,
        "requests_per_second": round(tally.requests / seconds, 4),
        "error_rate": round(tally.errors / tally.requests, 6) if tally.requests else None,
        "refused": {f"{status} {code}": count for (status, code), count in sorted(tally.refused.items())},
        **{name: _rounded(tally.quantile_ms(q)) for name, q in quantiles.items()},
        **{name: _rounded(value) for name, value in means.items()},
        "batch_inputs": _rounded(tally.mean("batch_inputs")),
        "inputs": tally.inputs,
        "tokens": tally.tokens,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
