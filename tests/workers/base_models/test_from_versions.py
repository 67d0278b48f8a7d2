"""A published version as a base model: what is carried over, lineage, and who may import at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from apps.registry.models import ModelVersion
from apps.registry.services import model_version_publish
from modelkit import bundle
from modelkit.contracts import BaseModelRef
from tests.personas import Team, call
from tests.workers.base_models.steps import start, work
from tests.workers.hub_server import Hub

base_models = pytest.importorskip("workers.tasks.base_models", reason="needs the extra `worker`")


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
