"""An endpoint with two revisions, and segments as the front writes them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from apps.deployments import services
from apps.deployments.models import Endpoint
from apps.monitoring.models import RequestSample
from apps.monitoring.sampling import samples_import
from modelkit.serving.segments import SegmentWriter
from tests.apps.deployments.conftest import VersionMake, home, host, version_make
from tests.personas import Team

__all__ = ["home", "host", "version_make"]

SamplesMake = Callable[..., list[RequestSample]]
_numbers = itertools.count(1)


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2)
    return services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")


def line(endpoint: Endpoint, text: Any = "where is my card", label: str = "card", **values: Any) -> dict[str, Any]:
    """One line of a segment; `texts` makes a request of several inputs."""
    texts = values.pop("texts", [text])
    score = values.pop("score", 0.75)
    number = next(_numbers)
    known = {
        "id": f"{number:032x}",
        "workspace": endpoint.workspace.public_id,
        "endpoint": endpoint.name,
        "revision": 1,
        "model": "intents@1",
        "request_id": f"trace-{number}",
        "key": "",
        "at": time.time(),
        "status": 200,
        "error": "",
        "items": len(texts),
        "inputs": texts,
        "outputs": [{"label": label, "score": score} for _ in texts],
        "total_ms": 12.0,
        "cost": [1.0, 2.0, 6.0, 4, 9],
    }
    return known | values


def segment_write(home: Path, *lines: dict[str, Any]) -> None:
    writer = SegmentWriter(home / "serving" / "samples")
    writer.append(b"".join(orjson.dumps(one) + b"\n" for one in lines))
    writer.close()


@pytest.fixture
def samples_make(home: Path, endpoint: Endpoint) -> SamplesMake:
    """Import requests: each argument is a text, or the values of a line."""

    def make(*given: Any) -> list[RequestSample]:
        lines = [line(endpoint, **one) if isinstance(one, dict) else line(endpoint, one) for one in given]
        segment_write(home, *lines)
        samples_import()
        return [RequestSample.objects.get(sample_id=one["id"]) for one in lines]

    return make
