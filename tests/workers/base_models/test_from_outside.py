"""What a worker makes of a model of the hub or of an archive, with every way to end."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import AuditEntry
from apps.core import storage
from apps.registry import importing
from apps.registry.models import BaseModel
from tests.personas import Team
from tests.workers.base_models.steps import folders_left, start, upload, work, zipped
from tests.workers.hub_repo import write_repo
from tests.workers.hub_server import COMMIT, Hub

base_models = pytest.importorskip("workers.tasks.base_models", reason="needs the extra `worker`")


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
    chinese = {"Accept-Language": "zh-hans"}
    told = team.viewer.api("GET", "/base-models/encoder", **chinese).json()["error"]
    assert told["message"] == "tiny/encoder 的 model.safetensors 与模型库给出的校验和不符。"
    assert "Try again later" not in told["hint"]
    page = team.viewer.browser().get("/base-models/encoder/", headers=chinese).content.decode()
    assert page.count(told["message"]) == 2  # the card and the history
    assert told["hint"] in page
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
    assert settings.HUB_URL.removeprefix("http://") in (row.problem or {})["message"]


def test_pickled_weights_are_refused_with_the_remedy(team: Team, hub: Hub) -> None:
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    row = work(start(team, {"kind": "hub", "repo": "tiny/encoder"}))
    assert row.error["code"] == "pickle_weights"
    assert "save_pretrained" in (row.problem or {})["hint"]


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
    kept = 20_000

    def fetched() -> int:
        return sum(path.stat().st_size for path in importing.folder_of(row).parent.rglob("*") if path.is_file())

    monkeypatch.setattr(base_models.stopping, "asked", lambda: fetched() > kept)
    base_models.import_base_model(row.pk)
    row.refresh_from_db()
    assert (row.status, row.attempt, row.heartbeat_at) == ("importing", 0, None)
    assert folders_left(row) == {f"{row.public_id}.partial"}
    monkeypatch.undo()
    hub.sent_bytes = 0
    monkeypatch.setattr("apps.jobs.queue.send", lambda name, *args, **options: None)
    assert work(row).status == "ready"
    assert hub.sent_bytes < sum(path.stat().st_size for path in hub.folder.iterdir()) - kept


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
