"""From rows to a real agent and back: live, replaced, failed, rolled back, stopped."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import httpx
import pytest

from apps.accounts.services import token_revoke
from apps.deployments import selectors, services
from apps.deployments.applying import deployment_apply
from apps.deployments.backend import serving_backend
from apps.deployments.keys import access_keys, page_token
from apps.deployments.models import Endpoint, Revision
from apps.deployments.observing import deployment_outdated
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Person, Team
from workers.tasks.serving import watch


def states(endpoint: Endpoint) -> dict[int, tuple[str, int]]:
    return {r.number: (r.status, r.weight) for r in Revision.objects.filter(endpoint=endpoint)}


def predict(host: Host, name: str, token: str) -> httpx.Response:
    return host.predict(name, token=token)


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake, host: Host) -> Endpoint:
    """`intents` answering with version 1."""
    version_make(team.workspace, 1)
    made = services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")
    deployment_apply()
    return selectors.endpoint_by_name(team.workspace, made.name)


def test_live_with_golden_numbers_a_timeline_and_every_roles_token(team: Team, endpoint: Endpoint, host: Host) -> None:
    assert endpoint.status == "live"
    revision = endpoint.revisions.get()
    assert revision.golden == {"total": 4, "agree": 4, "max_drift": 0.0}
    assert revision.live_at is not None
    moves = [(t.from_status, t.to_status) for t in revision.transitions.all()]
    assert moves[0] == ("", "pending")
    assert moves[-1][1] == "live"
    assert sorted(entry.kind for entry in selectors.timeline_of(endpoint)) == ["create", "live", "moved"]
    for person in (team.owner, team.viewer):
        answer = predict(host, "intents", person.token)
        assert answer.status_code == 200
        assert answer.json()["model"] == "intents@1"
    assert predict(host, "intents", team.outsider.token).status_code == 404
    assert predict(host, "intents", "ty_nobody").status_code == 401


def test_applying_again_writes_nothing(endpoint: Endpoint, host: Host) -> None:
    before = serving_backend().desired()
    transitions = Revision.objects.get().transitions.count()
    deployment_apply()
    assert serving_backend().desired() == before
    assert Revision.objects.get().transitions.count() == transitions


def test_a_runner_that_dies_is_told_though_nothing_is_deployed(endpoint: Endpoint, host: Host, settings: Any) -> None:
    assert not deployment_outdated(host.observed())
    # It cannot come back, so that its state stays to be seen.
    (settings.BUNDLES_DIR / endpoint.revisions.get().model_version.bundle_digest / "weights.json").unlink()
    os.kill(host.observed().endpoints[0].revisions[0].pids[0], signal.SIGKILL)
    wait_until(lambda: deployment_outdated(host.observed()), what="the report")
    # Without its guard, which would close the test's connection.
    watch.run.__wrapped__()
    assert states(endpoint)[1][0] != "live"


def test_a_second_version_takes_over_and_rollback_returns(
    team: Team, endpoint: Endpoint, host: Host, version_make: VersionMake
) -> None:
    version_make(team.workspace, 2)
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    deployment_apply()
    assert states(endpoint) == {1: ("stopped", 0), 2: ("live", 100)}
    assert predict(host, "intents", team.owner.token).json()["model"] == "intents@2"
    services.endpoint_rollback(
        by=team.developer.identity, endpoint=selectors.endpoint_by_name(team.workspace, "intents")
    )
    deployment_apply()
    assert states(endpoint) == {1: ("live", 100), 2: ("stopped", 0)}
    assert predict(host, "intents", team.owner.token).json()["model"] == "intents@1"


def test_a_broken_version_fails_with_its_reason_and_the_old_one_is_desired_again(
    team: Team, endpoint: Endpoint, host: Host, version_make: VersionMake
) -> None:
    version_make(team.workspace, 2, bias=3.0, golden_bias=0.0)
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    deployment_apply()
    assert states(endpoint) == {1: ("live", 100), 2: ("failed", 0)}
    assert "golden" in Revision.objects.get(number=2).reason
    assert Endpoint.objects.get().status == "live"
    kinds = [entry.kind for entry in selectors.timeline_of(endpoint)]
    assert kinds[:3] == ["traffic", "failed", "deploy"]
    assert predict(host, "intents", team.owner.token).json()["model"] == "intents@1"


def test_a_bundle_that_is_nowhere_whole_fails_before_the_agent_sees_it(
    team: Team,
    endpoint: Endpoint,
    host: Host,
    version_make: VersionMake,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from apps.core.errors import Conflict

    version = version_make(team.workspace, 2)
    (settings.BUNDLES_DIR / version.bundle_digest / "weights.json").unlink()

    def lost(_version: object) -> None:
        raise Conflict("The files of intents@2 are damaged here, and MLflow has no whole copy.", code="bundle_damaged")

    # What the registry does where MLflow answers and has no copy; its own tests show that with a real MLflow.
    monkeypatch.setattr("apps.deployments.applying.bundle_ensure_local", lost)
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    deployment_apply()
    assert states(endpoint) == {1: ("live", 100), 2: ("failed", 0)}
    assert "no whole copy" in Revision.objects.get(number=2).reason
    assert predict(host, "intents", team.owner.token).status_code == 200


def test_a_bundle_that_cannot_come_now_is_waited_for(
    team: Team, endpoint: Endpoint, host: Host, version_make: VersionMake, settings: Any
) -> None:
    version = version_make(team.workspace, 2)
    folder = settings.BUNDLES_DIR / version.bundle_digest
    folder.rename(folder.with_suffix(".away"))
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    deployment_apply(follow_s=1.0)
    assert states(endpoint) == {1: ("live", 0), 2: ("pending", 100)}
    assert "MLflow" in Revision.objects.get(number=2).reason
    assert predict(host, "intents", team.owner.token).json()["model"] == "intents@1"
    folder.with_suffix(".away").rename(folder)
    deployment_apply()
    assert states(endpoint) == {1: ("stopped", 0), 2: ("live", 100)}


def test_a_first_version_that_fails_leaves_a_failed_endpoint(team: Team, host: Host, version_make: VersionMake) -> None:
    version_make(team.workspace, 1, die_on_load=True)
    endpoint = services.endpoint_create(by=team.developer.identity, name="dead", model="intents@1")
    deployment_apply()
    assert Endpoint.objects.get().status == "failed"
    assert states(endpoint) == {1: ("failed", 100)}
    assert Revision.objects.get().reason
    version_make(team.workspace, 2)
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    deployment_apply()
    assert Endpoint.objects.get().status == "live"


def test_traffic_stop_start_delete(team: Team, endpoint: Endpoint, host: Host, version_make: VersionMake) -> None:
    by: Any = team.maintainer.identity
    version_make(team.workspace, 2)
    services.revision_create(by=by, endpoint=endpoint, model="intents@2")
    services.traffic_set(by=by, endpoint=endpoint, weights={1: 50, 2: 50})
    deployment_apply()
    assert states(endpoint) == {1: ("live", 50), 2: ("live", 50)}
    services.endpoint_stop(by=by, endpoint=endpoint)
    deployment_apply()
    assert Endpoint.objects.get().status == "stopped"
    assert states(endpoint) == {1: ("stopped", 50), 2: ("stopped", 50)}
    assert predict(host, "intents", team.owner.token).json()["error"]["code"] == "endpoint_stopped"
    services.endpoint_start(by=by, endpoint=selectors.endpoint_by_name(team.workspace, "intents"))
    deployment_apply()
    assert states(endpoint) == {1: ("live", 50), 2: ("live", 50)}
    services.endpoint_delete(by=by, endpoint=endpoint)
    deployment_apply()
    wait_until(lambda: predict(host, "intents", team.owner.token).status_code == 404, what="the removal")


def test_revoked_and_expired_tokens_and_those_of_former_members_stop_working(
    team: Team, endpoint: Endpoint, host: Host
) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from apps.accounts.models import ApiToken, Membership
    from apps.accounts.services import member_remove

    def works(person: Person) -> bool:
        return predict(host, "intents", person.token).status_code == 200

    people = (team.owner, team.maintainer, team.developer, team.viewer)
    assert all(works(person) for person in people)
    token_revoke(by=team.owner.identity, token=ApiToken.objects.get(user=team.maintainer.user))
    member_remove(by=team.owner.identity, membership=Membership.objects.get(user=team.viewer.user))
    ApiToken.objects.filter(user=team.developer.user).update(expires_at=timezone.now() - timedelta(seconds=1))
    deployment_apply()
    wait_until(lambda: [works(person) for person in people] == [True, False, False, False], what="the new keys")


def test_the_key_of_a_page_is_for_its_workspace_and_ends_by_itself(team: Team, endpoint: Endpoint, host: Host) -> None:
    token = page_token(team.workspace)
    assert predict(host, "intents", token).status_code == 200
    assert page_token(team.outsider.identity.workspace) != token
    keys = [key for key in access_keys() if key.workspace == team.workspace.public_id and key.expires_at]
    assert len(keys) == 2
    assert all(time.time() < key.expires_at < time.time() + 2.2 * 3600 for key in keys if key.expires_at)


def test_without_an_agent_everything_stays_pending_and_comes_later(
    team: Team, version_make: VersionMake, home: Any
) -> None:
    version_make(team.workspace, 1)
    endpoint = services.endpoint_create(by=team.developer.identity, name="later", model="intents@1")
    deployment_apply(follow_s=0.3)
    assert states(endpoint) == {1: ("pending", 100)}
    with Host(home):
        deployment_apply()
        assert states(endpoint) == {1: ("live", 100)}
