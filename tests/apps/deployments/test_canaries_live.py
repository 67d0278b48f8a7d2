"""Canaries over real processes: the agent, its front and runners, and the judge."""

from __future__ import annotations

import os
import signal

import pytest

from apps.deployments import canaries, services
from apps.deployments.applying import deployment_apply
from apps.deployments.models import Canary, Endpoint
from apps.deployments.watching import traffic_watch
from tests.apps.deployments.conftest import VersionMake
from tests.apps.deployments.test_canaries import again
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Team


@pytest.fixture
def served(team: Team, version_make: VersionMake, host: Host) -> Endpoint:
    version_make(team.workspace, 1)
    version_make(team.workspace, 2, bias=3.0)
    version_make(team.workspace, 3, bias=0.02)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    deployment_apply()
    return again(made)


def canary_of(team: Team, endpoint: Endpoint, model: str, share: int) -> Canary:
    canary = canaries.canary_start(
        by=team.developer.identity, endpoint=endpoint, model=model, steps=[share, 100], step_s=1
    )
    deployment_apply()
    deployment_apply(follow_s=0)
    canary.refresh_from_db()
    assert canary.step_began_at is not None
    return canary


def ask(host: Host, token: str, times: int) -> list[int]:
    with host.client(token) as client:
        return [
            client.post("/predict/intents", json={"inputs": ["refund refund please"]}).status_code for _ in range(times)
        ]


def wait_for_verdict(canary: Canary) -> None:
    """Look, as beat does, until the canary has ended."""

    def ended() -> bool:
        traffic_watch()
        canary.refresh_from_db()
        return canary.finished_at is not None

    wait_until(ended, what="the verdict")


def test_a_model_that_answers_otherwise_is_taken_back_on_its_own(team: Team, served: Endpoint, host: Host) -> None:
    canary = canary_of(team, served, "intents@2", 50)
    assert ask(host, team.owner.token, 150) == [200] * 150

    wait_for_verdict(canary)
    assert canary.status == "rolled_back"
    assert "labels" in canary.reason
    deployment_apply()
    seen = host.endpoint("intents", served.workspace.public_id)
    assert seen is not None
    assert seen.weights == {1: 100}


def test_a_model_that_answers_alike_is_promoted_on_its_own(team: Team, served: Endpoint, host: Host) -> None:
    canary = canary_of(team, served, "intents@3", 50)
    ask(host, team.owner.token, 300)

    wait_for_verdict(canary)
    # Both ran on this machine alone, so only a slow one could tell them apart.
    assert canary.status == "promoted", canary.reason


def test_a_runner_that_dies_under_a_canary_takes_it_back_and_callers_see_nothing(
    team: Team, served: Endpoint, host: Host
) -> None:
    canary = canary_of(team, served, "intents@3", 50)
    seen = host.endpoint("intents", served.workspace.public_id)
    assert seen is not None
    os.kill(next(r.pid for r in seen.revisions if r.number == 2 and r.pid), signal.SIGKILL)
    assert ask(host, team.owner.token, 20) == [200] * 20

    wait_for_verdict(canary)
    assert canary.status == "rolled_back"
