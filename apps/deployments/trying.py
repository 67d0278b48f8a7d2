"""One prediction asked for by our own pages, through the live serving port like any caller's."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import AppError, Unavailable
from apps.deployments.keys import page_token
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
    url = f"{settings.SERVING_INTERNAL_URL}/predict/{endpoint.name}"
    # The page's visitor has a session, no token; the browser never sees this key, which is of the visitor's workspace.
    headers = {"Authorization": f"Bearer {page_token(endpoint.workspace)}"}
    begun = time.perf_counter()
    try:
        answer = httpx.post(
            url, json={"inputs": [text], "scores": True}, headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
        body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(
            _("The serving port does not answer."),
            code="serving_unavailable",
            hint=_("See the log of the process serving; it is restarted by itself."),
        ) from error
    total_ms = (time.perf_counter() - begun) * 1000
    if answer.status_code != 200:
        refusal = body["error"]
        raise AppError(refusal["message"], code=refusal["code"], hint=refusal["hint"], status=answer.status_code)
    output = body["outputs"][0]
    top = sorted(output["scores"].items(), key=lambda item: item[1], reverse=True)[:_TOP]
    times = {name: float(value) for name, value in _STAGE.findall(answer.headers.get("server-timing", ""))}
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
