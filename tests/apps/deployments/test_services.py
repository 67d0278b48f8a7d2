"""What people may ask of endpoints, and what is written down; no agent runs here."""

from __future__ import annotations

import pytest

from apps.accounts.models import AuditEntry
from apps.core.errors import Conflict, Forbidden, Invalid, NotFound
from apps.deployments import selectors, services
from apps.deployments.models import DesiredState, Endpoint, Revision, RevisionStatus
from apps.registry.services import alias_set
from modelkit.serving.plan import Candidate, Runtime, Tuning
from tests.apps.deployments.conftest import VersionMake
from tests.personas import Team


def live(endpoint: Endpoint, number: int) -> None:
    from django.utils import timezone

    Revision.objects.filter(endpoint=endpoint, number=number).update(status="live", live_at=timezone.now())


def again(endpoint: Endpoint) -> Endpoint:
    return selectors.endpoint_by_name(endpoint.workspace, endpoint.name)


def weights(endpoint: Endpoint) -> dict[int, int]:
    return {revision.number: revision.weight for revision in again(endpoint).revisions.all()}


def test_creating_writes_row_transition_timeline_audit_and_generation(team: Team, endpoint: Endpoint) -> None:
    revision = endpoint.revisions.get()
    assert [(t.from_status, t.to_status, t.actor) for t in revision.transitions.all()] == [
        ("", "pending", team.developer.user)
    ]
    assert [(e.kind, e.revision, e.model_ref) for e in endpoint.timeline.all()] == [("create", 1, "intents@1")]
    assert AuditEntry.objects.filter(action="endpoint.create", target="intents").count() == 1
    assert DesiredState.objects.get().generation == 1


def test_a_name_in_use_is_a_conflict_with_the_way_out(team: Team, endpoint: Endpoint) -> None:
    with pytest.raises(Conflict) as caught:
        services.endpoint_create(by=team.developer.identity, name="intents", model="intents@2")
    assert caught.value.code == "name_taken"
    assert "/endpoints/intents/revisions" in caught.value.hint


@pytest.mark.parametrize("name", ["", "Bad", "a b", "-a", "a-", "x" * 64, "../a", "意图"])
def test_bad_names(team: Team, version_make: VersionMake, name: str) -> None:
    version_make(team.workspace)
    with pytest.raises(Invalid) as caught:
        services.endpoint_create(by=team.developer.identity, name=name, model="intents@1")
    assert "name" in caught.value.fields


@pytest.mark.parametrize("model", ["intents@9", "nothing@1", "intents@challenger"])
def test_versions_that_do_not_exist(team: Team, endpoint: Endpoint, model: str) -> None:
    with pytest.raises(NotFound):
        services.revision_create(by=team.developer.identity, endpoint=endpoint, model=model)
    assert weights(endpoint) == {1: 100}


def test_a_version_of_another_workspace_does_not_exist(
    team: Team, endpoint: Endpoint, version_make: VersionMake
) -> None:
    version_make(team.outsider.identity.workspace, name="theirs")
    with pytest.raises(NotFound):
        services.revision_create(by=team.developer.identity, endpoint=endpoint, model="theirs@1")


def test_deploying_moves_the_desired_share_and_by_alias_too(team: Team, endpoint: Endpoint) -> None:
    version = Revision.objects.get().model_version.model.versions.get(number=2)
    alias_set(by=team.maintainer.identity, version=version, alias="challenger")
    revision, created = services.revision_create(
        by=team.developer.identity, endpoint=endpoint, model="intents@challenger"
    )
    assert (created, revision.number, revision.model_version) == (True, 2, version)
    assert weights(endpoint) == {1: 0, 2: 100}


def test_deploying_the_same_version_again_is_an_answer(team: Team, endpoint: Endpoint) -> None:
    generation = DesiredState.objects.get().generation
    revision, created = services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@1")
    assert (created, revision.number) == (False, 1)
    assert DesiredState.objects.get().generation == generation


def test_a_failed_version_can_be_tried_again(team: Team, endpoint: Endpoint) -> None:
    Revision.objects.update(status=RevisionStatus.FAILED)
    _revision, created = services.revision_create(
        by=team.developer.identity, endpoint=again(endpoint), model="intents@1"
    )
    assert created
    assert weights(endpoint) == {1: 0, 2: 100}


def test_a_model_of_another_task_is_refused(team: Team, endpoint: Endpoint, version_make: VersionMake) -> None:
    version_make(team.workspace, name="other", task="text_classification")
    with pytest.raises(Invalid) as caught:
        services.revision_create(by=team.developer.identity, endpoint=endpoint, model="other@1")
    assert "model" in caught.value.fields


def test_rollback_goes_back_step_by_step_and_then_refuses(team: Team, endpoint: Endpoint) -> None:
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    live(endpoint, 2)
    Revision.objects.filter(number=1).update(status="stopped")
    services.endpoint_rollback(by=team.developer.identity, endpoint=again(endpoint))
    assert weights(endpoint) == {1: 100, 2: 0}
    assert Revision.objects.get(number=1).status == "pending"
    with pytest.raises(Conflict) as caught:
        services.endpoint_rollback(by=team.developer.identity, endpoint=again(endpoint))
    assert caught.value.code == "nothing_to_roll_back"


def test_traffic_is_shared(team: Team, endpoint: Endpoint) -> None:
    services.revision_create(by=team.developer.identity, endpoint=endpoint, model="intents@2")
    services.traffic_set(by=team.developer.identity, endpoint=endpoint, weights={1: 90, 2: 10})
    assert weights(endpoint) == {1: 90, 2: 10}
    entry = selectors.timeline_of(endpoint)[0]
    assert (entry.kind, entry.details) == ("traffic", {"weights": {"1": 90, "2": 10}})


@pytest.mark.parametrize(
    ("shares", "field"),
    [
        ({1: 90, 2: 9}, "revisions"),
        ({1: 50}, "revisions"),
        ({1: 50, 7: 50}, "revisions.7"),
        ({1: 150, 2: -50}, "revisions.1"),
        ({3: 100}, "revisions.3"),
    ],
)
def test_shares_that_cannot_be(team: Team, endpoint: Endpoint, shares: dict[int, int], field: str) -> None:
    for model in ("intents@2", "intents@1"):
        services.revision_create(by=team.developer.identity, endpoint=endpoint, model=model)
    Revision.objects.filter(number=3).update(status="failed", reason="broken")
    before = weights(endpoint)
    with pytest.raises(Invalid) as caught:
        services.traffic_set(by=team.developer.identity, endpoint=endpoint, weights=shares)
    assert field in caught.value.fields
    assert weights(endpoint) == before


def test_stop_and_start_are_idempotent_and_deploying_starts(team: Team, endpoint: Endpoint) -> None:
    for _ in range(2):
        services.endpoint_stop(by=team.developer.identity, endpoint=endpoint)
    assert [e.kind for e in selectors.timeline_of(endpoint)] == ["stop", "create"]
    services.endpoint_start(by=team.developer.identity, endpoint=again(endpoint))
    services.endpoint_stop(by=team.developer.identity, endpoint=again(endpoint))
    services.revision_create(by=team.developer.identity, endpoint=again(endpoint), model="intents@2")
    assert again(endpoint).running


def test_roles(team: Team, endpoint: Endpoint) -> None:
    viewer, developer = team.viewer.identity, team.developer.identity
    with pytest.raises(Forbidden):
        services.endpoint_create(by=viewer, name="mine", model="intents@1")
    with pytest.raises(Forbidden):
        services.revision_create(by=viewer, endpoint=endpoint, model="intents@2")
    for change in (services.endpoint_stop, services.endpoint_start, services.endpoint_rollback):
        with pytest.raises(Forbidden):
            change(by=viewer, endpoint=endpoint)
    with pytest.raises(Forbidden):
        services.traffic_set(by=viewer, endpoint=endpoint, weights={1: 100})
    with pytest.raises(Forbidden):
        services.endpoint_delete(by=developer, endpoint=endpoint)
    services.endpoint_delete(by=team.maintainer.identity, endpoint=endpoint)
    assert not Endpoint.objects.exists()
    assert AuditEntry.objects.filter(action="endpoint.delete", target="intents").exists()


def test_a_version_behind_an_endpoint_cannot_be_deleted(team: Team, endpoint: Endpoint) -> None:
    from apps.registry.services import version_delete

    with pytest.raises(Conflict) as caught:
        version_delete(by=team.maintainer.identity, version=Revision.objects.get().model_version)
    assert caught.value.code == "in_use"
    assert "intents" in caught.value.message


# --- runtimes ---


def measured(endpoint: Endpoint) -> None:
    rows = (
        Candidate(runtime=Runtime(slots=2), passes=True),
        Candidate(runtime=Runtime(engine="openvino", slots=2), passes=True),
        Candidate(runtime=Runtime(engine="openvino", precision="bf16", slots=2), reason="It drifts."),
    )
    tuning = Tuning(goal="latency", candidates=rows, chosen=0, reason="The fastest.")
    Revision.objects.filter(endpoint=endpoint, number=1).update(goal="latency", tuning=tuning.model_dump(mode="json"))


def test_another_measured_runtime_is_deployed_as_a_revision_of_its_own(team: Team, endpoint: Endpoint) -> None:
    measured(endpoint)
    chosen = {"by": team.developer.identity, "endpoint": again(endpoint), "number": 1}
    revision, created = services.runtime_choose(**chosen, candidate=1)
    assert created
    assert (revision.number, revision.model_version.ref) == (2, "intents@1")
    assert selectors.effective_runtime(revision) == Runtime(engine="openvino", slots=2)
    assert weights(endpoint) == {1: 0, 2: 100}
    # What was measured stays on the page, so that the choice can be changed again.
    page = team.developer.browser().get("/endpoints/intents/?tab=traffic").content.decode()
    assert "Runtimes measured for revision 1" in page
    assert page.count("in use") == 1
    back, _created = services.runtime_choose(**{**chosen, "endpoint": again(endpoint)}, candidate=0)
    assert selectors.effective_runtime(back) == Runtime(slots=2)


def test_a_runtime_that_did_not_pass_or_was_not_measured_cannot_be_chosen(team: Team, endpoint: Endpoint) -> None:
    chosen = {"by": team.developer.identity, "endpoint": endpoint, "number": 1}
    with pytest.raises(Invalid, match="no such measurement"):
        services.runtime_choose(**chosen, candidate=0)
    measured(endpoint)
    chosen["endpoint"] = again(endpoint)
    with pytest.raises(Invalid, match="It drifts"):
        services.runtime_choose(**chosen, candidate=2)
    with pytest.raises(Invalid, match="no such measurement"):
        services.runtime_choose(**chosen, candidate=3)
    assert weights(endpoint) == {1: 100}
