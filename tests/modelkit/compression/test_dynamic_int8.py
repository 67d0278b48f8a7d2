"""Dynamic INT8 on a tiny encoder, through the recipe of every compression job."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelkit import bundle as bundles
from modelkit import catalog
from modelkit.compression import recipe
from modelkit.compression.dynamic_int8.apply import quantize_tables
from modelkit.contracts import DatasetRef, RunContext
from modelkit.errors import Stopped, UserError
from modelkit.evaluation.parity import open_predictor
from modelkit.tasks.text_classification.predict import Predictor
from modelkit.tracking.memory import MemoryReporter
from tests.tiny.run import Trained


@dataclass(frozen=True)
class Job:
    """One compression job in a folder."""

    scratch: Path
    reporter: MemoryReporter

    def run(self, source: Path, dataset: DatasetRef | None, **params: object) -> Path:
        outcome = recipe.run(
            RunContext(self.scratch, "cpu", 0, self.reporter, 1),
            source=source,
            target=self.scratch / "bundle",
            method="dynamic_int8",
            params=catalog.methods()["dynamic_int8"].params.model_validate(params),
            dataset=dataset,
            lineage={"parent_ref": "tiny@1"},
        )
        return outcome.bundle


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, instant: Trained, topics: DatasetRef) -> Job:
    job = Job(tmp_path_factory.mktemp("int8"), MemoryReporter())
    job.run(instant.outcome.bundle, topics)
    return job


def test_a_variant_holds_what_it_needs_and_no_weights_of_its_parent(finished: Job) -> None:
    assert {path.name for path in (finished.scratch / "bundle").iterdir()} == {
        "manifest.json",
        "model.int8.onnx",
        "config.json",
        "tokenizer.json",
        "predictor.py",
        "golden.json",
        "evaluated.parquet",
    }


def test_the_manifest_names_parent_and_recipe(finished: Job, instant: Trained) -> None:
    manifest = bundles.verify(finished.scratch / "bundle")
    parent = bundles.verify(instant.outcome.bundle)
    assert (manifest.precision, manifest.graph) == ("int8", "model.int8.onnx")
    assert manifest.lineage["parent"]["digest"] == parent.digest
    assert manifest.lineage["dataset"] == parent.lineage["dataset"]
    assert [step["method"] for step in manifest.recipe] == ["dynamic_int8"]


def test_the_variant_still_gives_embeddings(finished: Job, instant: Trained) -> None:
    texts = ["parcel late", "reset my password", "订 单"]
    exact, small = (Predictor(folder).embed(texts) for folder in (instant.outcome.bundle, finished.scratch / "bundle"))
    assert small.shape == exact.shape
    np.testing.assert_allclose(np.linalg.norm(small, axis=1), 1.0, rtol=1e-5)
    assert (small * exact).sum(axis=1).min() > 0.97


def test_baseline_and_variant_have_the_same_score(finished: Job) -> None:
    scores = json.loads((finished.scratch / "artifacts" / "score.json").read_text())
    assert set(scores["baseline"]) == set(scores["variant"])
    assert {"accuracy", "agreement", "mean_drift", "p50_ms", "p95_ms", "peak_memory_bytes"} <= set(scores["variant"])
    assert scores["variant"]["graph_bytes"] < scores["baseline"]["graph_bytes"]
    assert scores["variant"]["agreement"] > 0.8
    assert 0 < scores["variant"]["mean_drift"] < 0.05


def test_an_answer_does_not_depend_on_its_neighbours(finished: Job) -> None:
    predictor = open_predictor(finished.scratch / "bundle")
    texts = ["parcel late", "card charged again", "password", "my box is late about it"]
    assert predictor.predict(texts) == [predictor.predict([text])[0] for text in texts]


def test_a_variant_is_not_quantized_again(finished: Job, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Job(tmp_path, MemoryReporter()).run(finished.scratch / "bundle", None)
    assert caught.value.code == "method_refused"
    assert "int8 already" in caught.value.message


def test_a_gpu_worker_is_refused_with_the_reason(instant: Trained) -> None:
    applies = catalog.methods()["dynamic_int8"].applies(bundles.read(instant.outcome.bundle), "cuda:0")
    assert not applies.yes
    assert "CPU" in applies.reason


def test_a_damaged_source_is_refused(instant: Trained, tmp_path: Path) -> None:
    source = Path(shutil.copytree(instant.outcome.bundle, tmp_path / "source"))
    (source / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(UserError) as caught:
        Job(tmp_path / "job", MemoryReporter()).run(source, None)
    assert caught.value.code == "bundle_damaged"


def test_a_stop_is_honoured(instant: Trained, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        Job(tmp_path, MemoryReporter(lambda reporter: True)).run(instant.outcome.bundle, None)


def test_a_table_row_keeps_its_own_scale() -> None:
    chance = np.random.default_rng(0)
    table = chance.normal(size=(500, 64)).astype(np.float32)
    table[7] *= 1000.0
    table[9] = 0.0
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0, name="look")],
        "lookup",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(table, "table")],
    )
    assert quantize_tables(graph) == 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    assert model.ByteSize() < 0.3 * table.nbytes
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([0, 7, 9, 499], dtype=np.int64)
    (rows,) = session.run(None, {"ids": ids})
    steps = np.abs(table[ids]).max(axis=1, keepdims=True) / 127
    assert (np.abs(rows - table[ids]) <= steps / 2 + 1e-6).all()
