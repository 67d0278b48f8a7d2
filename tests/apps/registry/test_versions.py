"""Publishing, references, aliases, use and deletion of versions, MLflow being down throughout."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from apps.accounts.models import AuditEntry
from apps.core.errors import Conflict, Invalid, NotFound
from apps.registry import selectors, services
from apps.registry.models import AliasChange, BaseModel, ModelVersion, RegisteredModel
from tests.apps.registry.factory import dataset_make, version_make
from tests.personas import Team


@pytest.fixture(autouse=True)
def _mlflow_down(settings: Any) -> None:
    # Port 9 (discard) is not listened on: connecting is refused at once.
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"


def test_publishing_twice_is_publishing_once(team: Team) -> None:
    first = version_make(team.workspace)
    again = version_make(team.workspace)
    assert first.pk == again.pk
    assert ModelVersion.objects.count() == 1
    assert AuditEntry.objects.filter(action="model.publish").count() == 1


def test_only_the_first_version_becomes_champion_by_itself(team: Team) -> None:
    version_make(team.workspace)
    version_make(team.workspace, number=2)
    model = RegisteredModel.objects.get()
    assert selectors.champion_of(model) == ModelVersion.objects.get(number=1)
    assert [change.actor for change in selectors.alias_changes(model)] == [None]


def test_a_name_keeps_its_task(team: Team) -> None:
    version = version_make(team.workspace)
    RegisteredModel.objects.update(task="token_classification")
    with pytest.raises(Conflict, match="another task"):
        version_make(team.workspace, number=2)
    assert list(ModelVersion.objects.all()) == [version]


def test_the_number_is_mlflows(team: Team) -> None:
    with pytest.raises(ValueError, match="MLflow"):
        services.model_version_publish(
            workspace=team.workspace, name="m", number=2, job_public_id="", bundle_digest="", manifest={}, metrics={},
            metrics_split="test", dataset_version=None, base_model=None, parent=None, recipe=[], mlflow_run_id="",
            mlflow_version=3, size_bytes=0,
        )  # fmt: skip


def test_the_report_is_read_from_the_jobs_folder(team: Team, settings: Any) -> None:
    folder = settings.JOBS_DIR / ("j" * 12) / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity.json").write_text('{"golden": 64, "agree": 64, "ok": true}')
    (folder / "score.json").write_text("{ torn")
    version = version_make(team.workspace, report=None)
    assert version.report == {"parity": {"golden": 64, "agree": 64, "ok": True}}


def test_references_name_numbers_and_aliases(team: Team) -> None:
    version = version_make(team.workspace, number=1)
    assert selectors.version_by_reference(team.workspace, "intents@1") == version
    assert selectors.version_by_reference(team.workspace, "intents@champion") == version
    for missing in ("intents@2", "intents@challenger", "other@1"):
        with pytest.raises(NotFound):
            selectors.version_by_reference(team.workspace, missing)
    with pytest.raises(NotFound):
        selectors.version_by_reference(team.outsider.identity.workspace, "intents@1")
    for wrong in ("intents", "intents@", "@1", "intents@0", "intents@-1", "Intents@1", "intents@1@2", "intents@1 "):
        with pytest.raises(Invalid):
            selectors.version_by_reference(team.workspace, wrong)


def test_an_alias_moves_with_a_record(team: Team) -> None:
    version_make(team.workspace)
    version_make(team.workspace, number=2)
    answer = team.maintainer.api("PUT", "/models/intents/aliases/champion", {"version": 2, "reason": "better"})
    assert answer.status_code == 200, answer.content
    assert answer.json() == {"alias": "champion", "version": 2, "ref": "intents@2"}
    change = AliasChange.objects.order_by("-pk")[0]
    assert (change.actor, change.from_status, change.to_status) == (team.maintainer.user, "1", "2")
    assert change.reason == "better"
    # Once more: nothing moves, nothing is recorded.
    team.maintainer.api("PUT", "/models/intents/aliases/champion", {"version": 2})
    assert AliasChange.objects.count() == 2
    assert AuditEntry.objects.get(action="alias.set").details == {"from": 1, "to": 2, "reason": "better"}
    assert team.maintainer.api("DELETE", "/models/intents/aliases/champion").status_code == 204
    assert team.maintainer.api("DELETE", "/models/intents/aliases/champion").status_code == 404


@pytest.mark.parametrize(
    ("alias", "body", "status"),
    [
        ("2", {"version": 1}, 422),
        ("Champion", {"version": 1}, 422),
        ("champion", {"version": 9}, 404),
        ("champion", {"version": 0}, 422),
        ("champion", {}, 422),
    ],
)
def test_a_wrong_alias_is_refused(team: Team, alias: str, body: dict[str, int], status: int) -> None:
    version_make(team.workspace)
    assert team.owner.api("PUT", f"/models/intents/aliases/{alias}", body).status_code == status


def test_a_developer_does_not_promote(team: Team) -> None:
    version_make(team.workspace)
    assert team.developer.api("PUT", "/models/intents/aliases/challenger", {"version": 1}).status_code == 403


def test_a_version_in_use_stays_and_says_why(team: Team) -> None:
    parent = version_make(team.workspace)
    version_make(team.workspace, number=2, parent=parent)
    answer = team.maintainer.api("DELETE", "/models/intents/versions/1")
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "in_use"
    assert "alias champion" in error["message"]
    assert "intents@2" in error["message"]
    assert team.maintainer.api("GET", "/models/intents/versions/1").json()["used_by"]


def test_nothing_is_deleted_here_while_mlflow_cannot_follow(team: Team) -> None:
    version_make(team.workspace)
    version_make(team.workspace, number=2)
    answer = team.maintainer.api("DELETE", "/models/intents/versions/2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "mlflow_unavailable")
    assert ModelVersion.objects.count() == 2
    assert team.maintainer.api("DELETE", "/models/intents").status_code == 503
    assert RegisteredModel.objects.count() == 1


def test_the_version_tells_its_lineage(team: Team) -> None:
    dataset = dataset_make(team.workspace)
    parent = version_make(team.workspace, dataset_version=dataset)
    version_make(team.workspace, number=2, parent=parent, dataset_version=dataset)
    answer = team.viewer.api("GET", "/models/intents/versions/2").json()
    assert (answer["parent"], answer["dataset"], answer["job"]) == ("intents@1", "tickets@1", "j" * 12)
    assert answer["recipe"] == [{"method": "dynamic_int8"}]
    assert answer["mlflow"]["uri"] == "models:/bank.intents/2"
    assert {file["path"] for file in answer["files"]} == {"model.onnx", "tokenizer/tokenizer.json"}
    model = team.viewer.api("GET", "/models/intents").json()
    assert [item["version"] for item in model["items"]] == [2, 1]
    assert model["aliases"] == {"champion": 1}


def test_the_bundle_comes_as_a_zip(team: Team) -> None:
    version = version_make(team.workspace)
    answer = team.viewer.api("GET", "/models/intents/versions/1/download")
    assert answer["Content-Type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    assert archive.testzip() is None
    assert {info.filename for info in archive.infolist()} == {
        "intents-1/manifest.json",
        "intents-1/model.onnx",
        "intents-1/tokenizer/tokenizer.json",
    }
    assert archive.read("intents-1/model.onnx").decode() == f"{version.model.workspace.name}/intents/1"


def test_a_damaged_bundle_is_not_handed_out(team: Team, settings: Any) -> None:
    version = version_make(team.workspace)
    (settings.BUNDLES_DIR / version.bundle_digest / "model.onnx").write_text("changed")
    answer = team.viewer.api("GET", "/models/intents/versions/1/download")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "mlflow_unavailable")


def test_a_folder_becomes_a_base_model(team: Team, shared_models: Any, settings: Any) -> None:
    settings.MODEL_PATHS = [shared_models]
    body = {"source": {"kind": "folder", "path": str(shared_models / "stories260k-llama")}}
    answer = team.developer.api("POST", "/base-models", body)
    assert answer.status_code == 201, answer.content
    assert (answer.json()["name"], answer.json()["bundled"]) == ("stories260k-llama", False)
    assert team.developer.api("POST", "/base-models", body).status_code == 201
    assert BaseModel.objects.filter(workspace=team.workspace).count() == 1
    names = {item["name"] for item in team.outsider.api("GET", "/base-models").json()["items"]}
    assert "stories260k-llama" not in names
    assert team.viewer.api("POST", "/base-models", body).status_code == 403
    assert team.developer.api("DELETE", "/base-models/stories260k-llama").status_code == 204


@pytest.mark.parametrize(
    ("source", "field", "code"),
    [
        ({"kind": "ftp", "path": "bert"}, "source.kind", "invalid"),
        ({"path": "bert"}, "source.kind", "invalid"),
        ({"kind": "hub", "path": "bert"}, "source.path", "invalid"),
        ({"kind": "folder"}, "source.path", "invalid"),
        ({"kind": "folder", "path": "/etc"}, "source.path", "path_not_allowed"),
        ({"kind": "folder", "path": "models"}, "source.path", "path_not_absolute"),
        ({"kind": "folder", "path": "/x", "trust_remote_code": True}, "source.trust_remote_code", "invalid"),
    ],
)
def test_a_wrong_source_is_refused_by_field(team: Team, source: dict[str, Any], field: str, code: str) -> None:
    error = team.developer.api("POST", "/base-models", {"source": source}).json()["error"]
    assert field in error["fields"]
    assert error["code"] == code
    assert error["hint"]


def test_bundled_base_models_are_everybodys_and_stay(team: Team) -> None:
    BaseModel.objects.create(name="mini", title="Mini", source="bundled", path="/x", revision="1", tasks=["a"])
    assert "mini" in {item["name"] for item in team.outsider.api("GET", "/base-models?task=a").json()["items"]}
    assert "mini" not in {item["name"] for item in team.outsider.api("GET", "/base-models?task=b").json()["items"]}
    answer = team.owner.api("DELETE", "/base-models/mini")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "bundled")
