"""What a bundle holds, and that it answers without Tuneyard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
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
