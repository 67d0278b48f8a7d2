"""Answers about endpoints, made from the routing table alone: metadata, readiness, lists and their documents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from modelkit.serving import document, oip
from modelkit.serving.front.problem import Problem, unavailable
from modelkit.serving.front.table import Endpoint, Target


def server() -> dict[str, Any]:
    return {"name": "tuneyard", "version": "2", "extensions": list(oip.EXTENSIONS)}


def metadata(endpoint: Endpoint, version: int | None) -> dict[str, Any]:
    """Tensors of one revision; without a version, of the one with most traffic."""
    versions = [str(target.revision.number) for target in endpoint.weighted]
    target = main_target(endpoint, version)
    return oip.model_metadata(endpoint.name, versions, target.revision.labels if target is not None else ())


def main_target(endpoint: Endpoint, version: int | None = None) -> Target | None:
    """The revision of that number, or the one with most traffic."""
    if version is not None:
        return endpoint.by_number.get(version)
    return max(endpoint.weighted, key=lambda target: target.revision.weight, default=None)


def not_answering(endpoint: Endpoint, version: int | None = None) -> Problem | None:
    """Why the endpoint, or one revision of it, would not answer now; None when it would."""
    if endpoint.stopped:
        return unavailable("endpoint_stopped", f"{endpoint.name} is stopped.", "Start it on its page or by the API.")
    targets = [t for t in endpoint.weighted if version in (None, t.revision.number)]
    if any(target.answers for target in targets):
        return None
    for target in targets:
        target.open()
    return unavailable(
        "endpoint_not_ready", f"{endpoint.name} does not answer yet.", "Try again soon.", retry_after_s=1
    )


def index(endpoints: list[Endpoint], *, only_ready: bool) -> list[dict[str, str]]:
    """`$repository_index_response`: a line for each revision, or one without a version where there is none."""
    lines = [line for endpoint in endpoints for line in _index_lines(endpoint)]
    return [line for line in lines if line["state"] == "READY"] if only_ready else lines


def _index_lines(endpoint: Endpoint) -> Iterator[dict[str, str]]:
    if endpoint.stopped:
        yield {"name": endpoint.name, "state": "UNAVAILABLE", "reason": "stopped"}
    elif not endpoint.by_number:
        yield {"name": endpoint.name, "state": "UNAVAILABLE", "reason": "no revision has passed its checks yet"}
    for number, target in sorted(endpoint.by_number.items()):
        state, reason = "READY", ""
        if not target.revision.weight:
            state, reason = "UNAVAILABLE", "gets no traffic"
        elif not target.answers:
            state, reason = "UNAVAILABLE", "its process is not connected"
        yield {"name": endpoint.name, "version": str(number), "state": state, "reason": reason}


def model(endpoint: Endpoint) -> dict[str, Any] | None:
    """An endpoint as OpenAI lists a model; None for one without a revision that has traffic."""
    target = main_target(endpoint)
    if target is None:
        return None
    created = int(datetime.fromisoformat(target.revision.created_at).timestamp()) if target.revision.created_at else 0
    return {"id": endpoint.name, "object": "model", "created": created, "owned_by": target.revision.model}


def openapi(endpoint: Endpoint) -> dict[str, Any] | Problem:
    """The OpenAPI document of the endpoint as it is now."""
    target = main_target(endpoint)
    if target is None:
        return not_answering(endpoint) or unavailable(
            "endpoint_not_ready", f"{endpoint.name} has no revision yet.", "Try again soon.", retry_after_s=1
        )
    return document.of(endpoint.name, target.revision, endpoint.limits)
