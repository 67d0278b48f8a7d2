"""One prediction asked for by our own pages, through the live serving port like any caller's."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from apps.deployments.asking import serving_ask
from apps.deployments.models import Endpoint
from apps.deployments.presenting import Stage, latency_split

_TIMEOUT_S = 30.0
_TOP = 5
_STAGE = re.compile(r"(\w+);dur=([0-9.]+)")


@dataclass(frozen=True)
class Trial:
    """An answer, and where its time went: `total_ms` as this server saw it; the runner tells three stages of it."""

    label: str
    score: float
    top: list[tuple[str, float]]
    model: str
    revision: int
    request_id: str
    total_ms: float
    stages: list[Stage]
    labels: list[str]


def endpoint_try(*, endpoint: Endpoint, text: str) -> Trial:
    """Ask the endpoint about one text. Raises the serving port's own refusal, or Unavailable where nobody listens."""
    begun = time.perf_counter()
    body, headers = serving_ask(
        endpoint,
        "POST",
        f"/predict/{endpoint.name}",
        body={"inputs": [text], "scores": True},
        timeout_s=_TIMEOUT_S,
    )
    total_ms = (time.perf_counter() - begun) * 1000
    output = body["outputs"][0]
    top = sorted(output["scores"].items(), key=lambda item: item[1], reverse=True)[:_TOP]
    times = {name: float(value) for name, value in _STAGE.findall(headers.get("server-timing", ""))}
    return Trial(
        label=output["label"],
        score=output["score"],
        top=top,
        model=body["model"],
        revision=body["revision"],
        request_id=body["request_id"],
        total_ms=total_ms,
        stages=latency_split(total_ms, **{name: times.get(name, 0.0) for name in ("queue", "preprocess", "model")}),
        labels=sorted(output["scores"]),
    )
