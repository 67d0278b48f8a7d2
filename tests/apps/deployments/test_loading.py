"""Loading and unloading over the Open Inference Protocol, by its own client, through the front to the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from apps.accounts.models import AuditEntry
from apps.deployments import services
from apps.deployments.applying import deployment_apply
from apps.deployments.models import Endpoint
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Person, Team

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host(home: Any, settings: Any, live_server: Any) -> Iterator[Host]:
    with Host(home, control_url=live_server.url) as running:
        settings.SERVING_URL = settings.SERVING_INTERNAL_URL = running.url
        yield running


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake, host: Host) -> Endpoint:
    version_make(team.workspace, 1)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    deployment_apply()
    return made


def ask(host: Host, person: Person, verb: str) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{host.port}", network_timeout=60) as client:
        call: Callable[..., Any] = getattr(client, f"{verb}_model")
        call("intents", headers={"Authorization": f"Bearer {person.token}"})


def test_a_developer_unloads_and_loads(team: Team, endpoint: Endpoint, host: Host) -> None:
    with ThreadPoolExecutor(1) as pool:
        for verb, running in (("unload", False), ("load", True)):
            asked = pool.submit(ask, host, team.developer, verb)
            wait_until(lambda wished=running: Endpoint.objects.get().running is wished, what=verb)
            # What a worker does when it sees the change; there is none here.
            deployment_apply()
            asked.result(60)
            status = host.predict("intents", token=team.viewer.token).status_code
            assert status == (200 if running else 503)
    actions = set(AuditEntry.objects.values_list("action", "actor__username"))
    assert {("endpoint.stop", "developer"), ("endpoint.start", "developer")} <= actions


def test_a_viewer_changes_nothing(team: Team, endpoint: Endpoint, host: Host) -> None:
    ask(host, team.viewer, "load")
    with pytest.raises(InferenceServerException) as caught:
        ask(host, team.viewer, "unload")
    assert caught.value.status() == "403"
    assert caught.value.message()["code"] == "forbidden"
    assert Endpoint.objects.get().running
