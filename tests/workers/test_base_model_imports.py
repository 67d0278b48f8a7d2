"""What a worker makes of an import: from the hub, an archive or a published version, with every way to end."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import AuditEntry
from apps.core import storage
from apps.registry import importing
from apps.registry.models import BaseModel, ModelVersion
from apps.registry.services import model_version_publish
from modelkit import bundle
from modelkit.contracts import BaseModelRef
from tests.personas import Team, call, team_make
from tests.workers.hub_repo import write_repo
from tests.workers.hub_server import COMMIT, Hub

base_models = pytest.importorskip("workers.tasks.base_models", reason="needs the extra `worker`")


@pytest.fixture
def team(transactional_db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """Rows that the heartbeat's own connection sees; messages go nowhere, since no broker runs."""
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    settings.BASE_MODELS_DIR, settings.BUNDLES_DIR = tmp_path / "base-models", tmp_path / "bundles"
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    return team_make()


@pytest.fixture
def hub(tmp_path: Path, settings: Any) -> Iterator[Hub]:
    made = Hub(write_repo(tmp_path / "repo"))
    settings.HUB_URL, settings.HUB_TOKEN = made.url, ""
    yield made
    made.close()


def start(team: Team, source: dict[str, Any], **more: Any) -> BaseModel:
    """Ask for an import over REST."""
    answer = team.developer.api("POST", "/base-models", {"source": source, **more})
    assert answer.status_code == 201, answer.content
    assert answer.json()["status"] == "importing"
    return BaseModel.objects.get(workspace=team.workspace, name=answer.json()["name"])


def upload(team: Team, content: bytes, file_name: str = "encoder.zip", **words: str) -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import Client

    return Client(raise_request_exception=False).post(
        "/api/v1/base-models",
        {"file": SimpleUploadedFile(file_name, content), **words},
        headers={"Authorization": f"Bearer {team.developer.token}"},
    )


def zipped(folder: Path, inside: str = "") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, inside + path.relative_to(folder).as_posix())
    return sink.getvalue()


def work(row: BaseModel) -> BaseModel:
    """Let a worker take the message; the folder of base models then holds whole models only."""
    base_models.import_base_model(row.pk)
    row.refresh_from_db()
    return row


def folders_left(row: BaseModel) -> set[str]:
    root = importing.folder_of(row).parent
    return {path.name for path in root.iterdir() if path.name != ".lock"}


# --- hub ------------------------------------------------------------------------------------------------------------


def test_a_model_of_the_hub_becomes_a_base_model(team: Team, hub: Hub) -> None:
    row = work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    assert (row.status, row.error, row.revision) == ("ready", None, COMMIT)
    assert (row.name, row.title, row.licence, row.languages) == ("encoder", "tiny/encoder", "apache-2.0", ["en"])
    assert row.tasks == ["text_classification"]
    assert (row.architecture, row.parameters) == ("BertModel", 10_000)
    assert Path(row.path) == importing.folder_of(row)
    assert {path.name for path in Path(row.path).iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert folders_left(row) == {row.public_id}
    assert [change.to_status for change in row.transitions.order_by("pk")] == ["importing", "ready"]
    answer = team.viewer.api("GET", "/base-models/encoder").json()
    assert (answer["status"], answer["progress"], answer["created_by"]) == ("ready", 1.0, "developer")
    assert answer["origin"] == {"repo": "tiny/encoder", "revision": "main", "commit": COMMIT}
    assert AuditEntry.objects.get(action="base_model.import").details["repo"] == "tiny/encoder"
    # Again: the same one, and nothing is fetched.
    hub.seen.clear()
    assert (
        team.developer.api("POST", "/base-models", {"source": {"kind": "hub", "repo": "tiny/encoder"}}).json()
        | {"used_by": []}
        == answer
    )
    work(row)
    assert hub.seen == []


def test_a_failed_import_says_why_and_is_tried_again(team: Team, hub: Hub) -> None:
    hub.damaged = {"model.safetensors"}
    row = work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    assert row.status == "failed"
    error = team.viewer.api("GET", "/base-models/encoder").json()["error"]
    assert (error["code"], error["retry"]) == ("digest_mismatch", True)
    page = team.viewer.browser().get("/base-models/encoder/").content.decode()
    assert error["message"] in page
    assert error["hint"].split(";")[0] in page
    hub.damaged = set()
    assert team.viewer.api("POST", "/base-models/encoder/retry").status_code == 403
    assert team.developer.api("POST", "/base-models/encoder/retry").json()["status"] == "importing"
    assert work(row).status == "ready"
    assert team.developer.api("POST", "/base-models/encoder/retry").status_code == 409
    states = [change.to_status for change in row.transitions.order_by("pk")]
    assert states == ["importing", "failed", "importing", "ready"]


def test_an_unreachable_hub_fails_with_its_name(team: Team, hub: Hub, settings: Any) -> None:
    hub.close()
    row = work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    assert (row.status, row.error["code"], row.error["retry"]) == ("failed", "hub_unreachable", True)
    assert settings.HUB_URL.removeprefix("http://") in row.error["message"]


def test_pickled_weights_are_refused_with_the_remedy(team: Team, hub: Hub) -> None:
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    row = work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    assert row.error["code"] == "pickle_weights"
    assert "save_pretrained" in row.error["hint"]


def test_a_base_model_deleted_meanwhile_leaves_nothing(team: Team, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    inspect = base_models.folders.inspect_folder

    def delete_first(folder: Path) -> Any:
        BaseModel.objects.filter(pk=row.pk).delete()
        return inspect(folder)

    monkeypatch.setattr(base_models.folders, "inspect_folder", delete_first)
    base_models.import_base_model(row.pk)
    assert folders_left(row) == set()


def test_one_deleted_while_it_is_fetched_leaves_nothing(team: Team, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    gain = base_models._Pulse.gain

    def delete_first(pulse: Any, size: int) -> None:
        if BaseModel.objects.filter(pk=row.pk).exists():
            assert team.developer.api("DELETE", "/base-models/encoder").status_code == 204
        gain(pulse, size)

    monkeypatch.setattr(base_models._Pulse, "gain", delete_first)
    base_models.import_base_model(row.pk)
    assert folders_left(row) == set()


def test_a_worker_that_stops_hands_over_what_it_has(team: Team, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    monkeypatch.setattr(base_models.stopping, "asked", lambda: hub.sent_bytes > 20_000)
    base_models.import_base_model(row.pk)
    row.refresh_from_db()
    assert (row.status, row.attempt, row.heartbeat_at) == ("importing", 0, None)
    assert folders_left(row) == {f"{row.public_id}.partial"}
    monkeypatch.undo()
    hub.sent_bytes = 0
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    assert work(row).status == "ready"
    assert hub.sent_bytes < 40_000


def test_a_worker_that_died_at_the_last_step_is_finished_by_the_next(team: Team, hub: Hub) -> None:
    """Killed between the rename and the row: the folder is whole and in its place already."""
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    shutil.copytree(hub.folder, importing.folder_of(row))
    BaseModel.objects.filter(pk=row.pk).update(attempt=1, heartbeat_at="2026-01-01T00:00Z")
    assert work(row).status == "ready"
    assert hub.seen == []


def test_a_second_worker_takes_nothing_that_is_in_hand(team: Team, hub: Hub) -> None:
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    claimed = importing.base_model_claim(row.pk)
    assert claimed is not None
    assert importing.base_model_claim(row.pk) is None
    assert work(row).status == "importing"
    with base_models._only_one() as first, base_models._only_one() as second:
        assert (first, second) == (True, False)


def test_what_breaks_off_each_time_is_ended(team: Team, hub: Hub) -> None:
    row = start(team, {"kind": "hub", "repo": "tiny/encoder"})
    stale = "2026-01-01T00:00Z"
    BaseModel.objects.filter(pk=row.pk).update(attempt=importing.MAX_ATTEMPTS - 1, heartbeat_at=stale)
    assert importing.base_models_sweep() == 1
    BaseModel.objects.filter(pk=row.pk).update(attempt=importing.MAX_ATTEMPTS)
    assert importing.base_models_sweep() == 0
    row.refresh_from_db()
    assert (row.status, row.error["code"], row.error["retry"]) == ("failed", "import_broke_off", True)


# --- archive --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "encoder/", "a/b/"])
def test_an_archive_becomes_a_base_model(team: Team, tmp_path: Path, inside: str) -> None:
    source = write_repo(tmp_path / "source")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    answer = upload(team, zipped(source, inside), "Mein Encoder.zip", title="Ours")
    assert answer.status_code == 201, answer.content
    row = work(BaseModel.objects.get(name="mein-encoder"))
    assert (row.status, row.error) == ("ready", None)
    assert (row.title, row.licence, row.origin["file_name"]) == ("Ours", "mit", "Mein Encoder.zip")
    assert (Path(row.path) / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert folders_left(row) == {row.public_id}
    assert not storage.exists(row.origin["key"])
    assert "key" not in answer.json()["origin"]
    # The same file again is the same base model.
    assert upload(team, zipped(source, inside), "Mein Encoder.zip").status_code in {201, 409}
    assert BaseModel.objects.filter(workspace=team.workspace).count() == 1


def test_a_tar_comes_in_as_well_and_the_same_again_is_the_same(team: Team, tmp_path: Path) -> None:
    source = write_repo(tmp_path / "source")
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.add(source, "encoder")
    assert upload(team, sink.getvalue(), "encoder.tar.gz").json()["name"] == "encoder"
    row = work(BaseModel.objects.get(name="encoder"))
    assert row.status == "ready"
    assert upload(team, sink.getvalue(), "encoder.tar.gz").json()["status"] == "ready"
    assert upload(team, zipped(source), "encoder.zip").status_code == 409
    stored = storage.local_dir("base-models")
    assert list(stored.iterdir()) == []


def test_a_bad_archive_fails_for_good_and_leaves_nothing(team: Team) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../evil", "x")
    assert upload(team, sink.getvalue(), "evil.zip").status_code == 201
    row = work(BaseModel.objects.get(name="evil"))
    assert (row.status, row.error["code"], row.error["retry"]) == ("failed", "archive_unsafe", False)
    assert folders_left(row) == set()
    assert not storage.exists(row.origin["key"])
    refused = team.developer.api("POST", "/base-models/evil/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_retryable")
    assert team.developer.api("DELETE", "/base-models/evil").status_code == 204


def test_an_archive_without_a_model_is_refused(team: Team, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("text,label\n")
    upload(team, zipped(tmp_path / "data"), "data.zip")
    row = work(BaseModel.objects.get(name="data"))
    assert (row.status, row.error["code"]) == ("failed", "config_missing")


def test_a_bomb_ends_at_the_limit(team: Team, tmp_path: Path, settings: Any) -> None:
    settings.MODEL_LIMIT_BYTES = 1_000_000
    (tmp_path / "bomb").mkdir()
    (tmp_path / "bomb" / "zeros").write_bytes(b"\0" * 20_000_000)
    upload(team, zipped(tmp_path / "bomb"), "bomb.zip")
    row = work(BaseModel.objects.get(name="bomb"))
    assert row.error["code"] == "archive_too_large"
    assert folders_left(row) == set()


@pytest.mark.parametrize(
    ("content", "words", "field"),
    [
        (b"text,label\n", {}, "file"),
        (b"", {}, "file"),
        (b"PK\x03\x04", {"name": "No Slug"}, "name"),
        (b"PK\x03\x04", {"title": "x" * 201}, "title"),
        (b"PK\x03\x04", {"trust_remote_code": "1"}, "trust_remote_code"),
    ],
)
def test_a_wrong_upload_is_refused_at_once(team: Team, content: bytes, words: dict[str, str], field: str) -> None:
    answer = upload(team, content, "a.zip", **words)
    assert answer.status_code == 422, answer.content
    assert field in answer.json()["error"]["fields"]
    assert answer.json()["error"]["hint"]
    assert not BaseModel.objects.filter(workspace=team.workspace).exists()


# --- model version --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A really fine-tuned bundle, of a tiny encoder."""
    from tests.tiny.dataset import topic_words, write_topics
    from tests.tiny.encoder import write_encoder
    from tests.tiny.run import train

    base = write_encoder(tmp_path_factory.mktemp("encoder"), topic_words())
    data = write_topics(tmp_path_factory.mktemp("topics"))
    params = {"method": "full", "max_length": 32, "epochs": 1}
    return train("text_classification", tmp_path_factory.mktemp("trained"), data, base, params).outcome.bundle


def publish(team: Team, source: Path, settings: Any, *, number: int = 1, **values: Any) -> ModelVersion:
    manifest = bundle.read(source)
    target = Path(settings.BUNDLES_DIR) / manifest.digest
    if not target.exists():
        shutil.copytree(source, target)
    return model_version_publish(
        workspace=team.workspace, name="intents", number=number, job_public_id="", bundle_digest=manifest.digest,
        manifest=manifest.model_dump(mode="json"), metrics={"accuracy": 0.9}, metrics_split="test",
        dataset_version=None, recipe=[], mlflow_run_id="", mlflow_version=number,
        size_bytes=manifest.size_bytes, report={}, **{"parent": None, "base_model": None, **values},
    )  # fmt: skip


def test_a_version_is_trained_further(team: Team, tiny: Path, settings: Any, tmp_path: Path) -> None:
    """From a published version to a base model, and from that through a whole training on other labels."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from modelkit.tasks.text_classification.model import load_base
    from tests.tiny.dataset import topic_rows, write_dataset
    from tests.tiny.run import train

    version = publish(team, tiny, settings)
    row = work(start(team, {"kind": "model_version", "model": "intents@champion"}))
    assert (row.status, row.error) == ("ready", None)
    assert (row.name, row.title, row.source_version) == ("intents-1", "intents@1", version)
    reference = BaseModelRef(id=row.name, path=Path(row.path), revision=row.revision)
    base = load_base(reference, 64)

    trained = load_file(tiny / "model.safetensors")
    carried = load_file(Path(row.path) / "model.safetensors")
    assert {name for name in trained if name not in carried} == {"classifier.weight", "classifier.bias"}
    loaded = base.encoder.state_dict()
    assert all(tensor.equal(loaded[name]) for name, tensor in trained.items() if not name.startswith("classifier."))
    served = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    for text in ("parcel late today", "我 想 取 消", "unheard of"):
        assert base.tokenizer.encode(text).ids == served.encode(text).ids

    rows = [(text, "mine" if label == "delivery" else "other") for text, label in topic_rows(500, seed=3)]
    data = write_dataset(tmp_path / "other", {"train": rows[:350], "validation": rows[350:400], "test": rows[400:]})
    outcome = train(
        "text_classification", tmp_path / "again", data, reference, {"method": "instant", "max_length": 32}
    ).outcome
    manifest = bundle.verify(outcome.bundle)
    assert manifest.labels == ["mine", "other"]
    # Instant leaves the encoder alone: what it trained on is what the version had learnt.
    again = load_file(outcome.bundle / "model.safetensors")
    assert all(tensor.equal(again[name]) for name, tensor in carried.items())
    assert manifest.lineage["base_model"] == {"id": "intents-1", "revision": row.revision}


def test_lineage_is_shown_both_ways_and_guards_the_version(team: Team, tiny: Path, settings: Any) -> None:
    publish(team, tiny, settings)
    publish(team, tiny, settings, number=2)
    row = work(start(team, {"kind": "model_version", "model": "intents@2"}, name="onwards", title="Onwards"))
    viewer = team.viewer.browser()
    assert "intents@2" in viewer.get("/base-models/onwards/").content.decode()
    lineage = viewer.get("/models/intents/2/lineage").content.decode()
    assert "/base-models/onwards/" in lineage
    refused = team.maintainer.api("DELETE", "/models/intents/versions/2")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
    assert "Onwards" in refused.json()["error"]["message"]
    publish(team, tiny, settings, number=3, base_model=row)
    assert "made from intents@2" in viewer.get("/models/intents/3/lineage").content.decode()
    refused = team.developer.api("DELETE", "/base-models/onwards")
    assert refused.status_code == 409
    assert "intents@3" in refused.json()["error"]["message"]
    assert team.viewer.api("GET", "/base-models/onwards").json()["used_by"] == [
        {"kind": "model version", "name": "intents@3"}
    ]
    page = team.developer.browser().post("/base-models/onwards/delete", follow=True).content.decode()
    assert "onwards is in use" in page
    ModelVersion.objects.filter(number=3).delete()
    assert team.developer.api("DELETE", "/base-models/onwards").status_code == 204
    assert not Path(row.path).exists()


def test_a_version_without_weights_names_its_parent(team: Team, tiny: Path, settings: Any, tmp_path: Path) -> None:
    parent = publish(team, tiny, settings)
    small = tmp_path / "small"
    shutil.copytree(tiny, small)
    (small / "model.safetensors").unlink()
    bundle.seal(small, bundle.read(small))
    publish(team, small, settings, number=2, parent=parent)
    answer = team.developer.api("POST", "/base-models", {"source": {"kind": "model_version", "model": "intents@2"}})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "version_without_weights")
    assert "source.model" in error["fields"]
    assert "intents@1" in error["hint"]
    options = team.developer.browser().get("/base-models/?source=model_version").content.decode()
    assert 'value="intents@1"' in options
    assert 'value="intents@2"' not in options


def test_a_version_whose_files_are_gone_waits_for_mlflow(team: Team, tiny: Path, settings: Any) -> None:
    version = publish(team, tiny, settings)
    shutil.rmtree(Path(settings.BUNDLES_DIR) / version.bundle_digest)
    row = work(start(team, {"kind": "model_version", "model": "intents@1"}))
    assert (row.status, row.error["code"], row.error["retry"]) == ("failed", "mlflow_unavailable", True)


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "field", "code"),
    [
        ({"kind": "hub"}, "source.repo", "invalid"),
        ({"kind": "hub", "repo": "a/b/c"}, "source.repo", "invalid"),
        ({"kind": "hub", "repo": "../x"}, "source.repo", "invalid"),
        ({"kind": "hub", "repo": "http://10.0.0.1/a"}, "source.repo", "invalid"),
        ({"kind": "hub", "repo": "a/b", "revision": "../main"}, "source.revision", "invalid"),
        ({"kind": "hub", "repo": "a/b", "trust_remote_code": True}, "source.trust_remote_code", "invalid"),
        ({"kind": "model_version", "model": "intents"}, "source.model", "invalid"),
    ],
)
def test_a_wrong_source_is_refused_by_field(team: Team, source: dict[str, Any], field: str, code: str) -> None:
    answer = team.developer.api("POST", "/base-models", {"source": source})
    assert answer.status_code == 422, answer.content
    error = answer.json()["error"]
    assert field in error["fields"]
    assert (error["code"], bool(error["hint"])) == (code, True)


def test_another_workspace_sees_nothing_of_it(team: Team, hub: Hub, tiny: Path, settings: Any) -> None:
    publish(team, tiny, settings)
    work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    outsider = team.outsider
    assert outsider.api("GET", "/base-models/encoder").status_code == 404
    assert outsider.api("POST", "/base-models/encoder/retry").status_code == 404
    assert outsider.api("DELETE", "/base-models/encoder").status_code == 404
    assert outsider.browser().get("/base-models/encoder/").status_code == 404
    body = {"source": {"kind": "model_version", "model": "intents@1"}}
    assert outsider.api("POST", "/base-models", body).status_code == 404
    assert call("GET", "/base-models/encoder").status_code == 401
    assert team.viewer.api("POST", "/base-models", body).status_code == 403
    viewer = team.viewer.browser()
    assert "Add a base model" not in viewer.get("/base-models/").content.decode()
    assert viewer.post("/base-models/import", {"source": "hub", "repo": "a/b"}).status_code == 403
    assert viewer.post("/base-models/encoder/retry").status_code == 403
    assert viewer.post("/base-models/encoder/delete").status_code == 403


def test_nothing_is_trained_from_what_is_not_there_yet(team: Team, hub: Hub) -> None:
    from tests.apps.jobs.factory import body, dataset_make

    dataset_make(team.workspace)
    start(team, {"kind": "hub", "repo": "tiny/encoder"})
    answer = team.developer.api("POST", "/jobs", body(base_model="encoder"))
    assert answer.status_code == 422, answer.content
    assert "not imported yet" in answer.json()["error"]["fields"]["base_model"]
