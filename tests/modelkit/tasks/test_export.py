"""What a bundle holds, and that it answers without Tuneyard."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors import safe_open
from transformers import AutoModel

from modelkit import bundle as bundles
from modelkit.evaluation.parity import open_predictor
from modelkit.tasks.text_classification.data import Split
from modelkit.tasks.text_classification.export import GOLDEN_ROWS, choose_golden
from modelkit.tasks.text_classification.predict import Predictor
from tests.tiny.run import Trained

STRANGER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("predictor", sys.argv[1] + "/predictor.py")
module = importlib.util.module_from_spec(spec)
sys.modules["predictor"] = module
spec.loader.exec_module(module)
answers = module.Predictor(sys.argv[1]).predict(json.loads(sys.argv[2]))
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "modelkit", "mlflow"})
print(json.dumps({"answers": answers, "heavy": heavy}))
"""


def test_a_bundle_holds_exactly_these_files(instant: Trained) -> None:
    assert {path.name for path in instant.outcome.bundle.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "predictor.py",
        "golden.json",
        "evaluated.parquet",
    }


def test_the_manifest_tells_where_the_model_comes_from(instant: Trained) -> None:
    manifest = bundles.verify(instant.outcome.bundle)
    assert manifest.labels == ["delivery", "login", "payment", "订单"]
    assert manifest.metrics == dict(instant.outcome.metrics)
    assert manifest.metrics_split == "test"
    assert manifest.lineage["dataset"]["ref"] == "topics@1"
    assert manifest.lineage["params"]["method"] == "instant"
    assert manifest.lineage["job"] == "tiny"


def test_the_bundle_answers_where_tuneyard_is_not(instant: Trained, tmp_path: Path) -> None:
    texts = ["parcel late", "订 单"]
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", STRANGER, str(instant.outcome.bundle), json.dumps(texts)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["heavy"] == []
    assert told["answers"] == open_predictor(instant.outcome.bundle).predict(texts)


def test_the_bundle_is_a_base_model_folder(instant: Trained) -> None:
    encoder, report = AutoModel.from_pretrained(
        instant.outcome.bundle, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    assert encoder.config.hidden_size == 64
    assert not report["missing_keys"]


def test_golden_texts_cover_the_classes_before_they_repeat_one() -> None:
    targets = np.array([0] * 90 + [1] * 5 + [2] * 5)
    part = Split([str(i) for i in range(100)], [f"text {i}" for i in range(100)], targets)
    chosen = choose_golden(part, seed=0)
    assert len(chosen) == len(set(chosen)) == GOLDEN_ROWS
    classes = [int(targets[part.texts.index(text)]) for text in chosen]
    assert set(classes[:3]) == {0, 1, 2}
    assert classes.count(1) == classes.count(2) == 5


@pytest.fixture(scope="module")
def predictor(instant: Trained) -> Predictor:
    return Predictor(instant.outcome.bundle)


def test_order_survives_sorting_by_length(predictor: Predictor) -> None:
    texts = ["parcel " * n for n in (9, 1, 5, 2, 8, 3, 7, 4, 6, 1, 9)]
    together = predictor.predict(texts)
    for text, answer in zip(texts, together, strict=True):
        (alone,) = predictor.predict([text])
        assert alone["label"] == answer["label"]
        assert alone["scores"] == pytest.approx(answer["scores"], abs=1e-6)


def test_steps_compose_to_predict(predictor: Predictor) -> None:
    texts = ["card charged", "reset my password"]
    assert predictor.postprocess(predictor.forward(predictor.preprocess(texts))) == predictor.predict(texts)


def test_scores_are_left_out_on_wish(predictor: Predictor) -> None:
    (answer,) = predictor.predict(["card charged"], scores=False)
    assert set(answer) == {"label", "score"}


def test_embeddings_are_what_the_head_reads(instant: Trained, predictor: Predictor) -> None:
    texts = ["parcel " * n for n in (3, 1, 2)] + ["reset my password", ""]
    assert bundles.read(instant.outcome.bundle).embedding_width == predictor.embedding_width == 64
    vectors = predictor.embed(texts)
    assert vectors.shape == (5, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    with safe_open(instant.outcome.bundle / "model.safetensors", "np") as weights:
        head = {name: weights.get_tensor(f"{bundles.HEAD_PREFIX}{name}") for name in ("weight", "bias")}
    logits = vectors @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(logits, predictor.forward(predictor.preprocess(texts)), atol=1e-4)
    np.testing.assert_allclose(predictor.embed(texts[1:2])[0], vectors[1], atol=1e-5)


def test_classification_computes_nothing_for_the_embedding(instant: Trained) -> None:
    """The second output names a value on the way to the first: no node of the graph exists for it alone."""
    graph = onnx.load(instant.outcome.bundle / "model.onnx").graph
    makers = {output: node for node in graph.node for output in node.output}
    needed: set[str] = set()
    waiting = ["logits"]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting.extend(node.input)
    assert [output.name for output in graph.output] == ["logits", "embedding"]
    assert {node.output[0] for node in graph.node} == needed


def test_a_bundle_made_before_embeddings_still_classifies(instant: Trained, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(instant.outcome.bundle, old)
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["embedding_width"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    opened = Predictor(old)
    assert opened.predict(["parcel late"])[0]["label"] in opened.labels
    with pytest.raises(ValueError, match="no embeddings"):
        opened.embed(["parcel late"])
    assert bundles.read(old).embedding_width == 0


@pytest.mark.parametrize("text", ["", " ", "☃", "\x00", "zz" * 50_000, "我想取消订单"])
def test_any_text_gets_an_answer(predictor: Predictor, text: str) -> None:
    (answer,) = predictor.predict([text])
    assert sum(answer["scores"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [1, None, 2.5, ["a"], {"text": "a"}, b"a", "\ud800"])
def test_what_is_no_text_is_refused_by_position(predictor: Predictor, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"inputs\[1\]"):
        predictor.predict(["fine", wrong])


def test_no_inputs_give_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
