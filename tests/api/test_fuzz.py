"""Every operation against what a hostile or careless client sends: no 5xx, the documented shape, the right types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.world import World, world_make
from tests.personas import Team, team_make
from tuneyard.api import api

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def _schema() -> Any:
    import json

    document = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/"), default=str))
    loaded = schemathesis.openapi.from_dict(document)
    loaded.app = get_wsgi_application()
    return loaded


schema = _schema()


@pytest.fixture
def _kept_connection() -> Iterator[None]:
    """The end of a request closes stale connections, and with them the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def fuzzed(db: None, settings: Any, _kept_connection: None) -> tuple[Team, World]:
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    team = team_make()
    return team, world_make(team)


@schema.parametrize()
@hypothesis.settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
def test_no_input_breaks_the_api(case: Any, fuzzed: tuple[Team, World]) -> None:
    team, world = fuzzed
    # Half of the calls are about things that exist: behind a 404 nothing is tested.
    known = world.names.get(case.path.removeprefix("/api/v1/").split("/")[0], {})
    if case.path_parameters and len(str(case.path_parameters)) % 2:
        case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
    answer = case.call(headers={"Authorization": f"Bearer {team.owner.token}"})
    case.validate_response(answer, checks=CHECKS)
