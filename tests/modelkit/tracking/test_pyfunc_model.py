"""A bundle through MLflow itself: logged by models-from-code, opened by `mlflow.pyfunc.load_model`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import modelkit.tracking
from modelkit.evaluation.parity import open_predictor
from tests.modelkit.tracking.conftest import Published
from tests.tiny.run import Trained

#: What MLflow says of a model without annotations or example would be said to everybody who opens one.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

CODE = Path(modelkit.tracking.__file__).with_name("pyfunc_model.py")


def test_mlflow_opens_a_bundle_and_gives_its_answers(
    instant: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.sqlite3")
    try:
        with mlflow.start_run():
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(shutil.copyfile(CODE, tmp_path / "model.py")),
                artifacts={"bundle": str(instant.outcome.bundle)},
                signature=ModelSignature(
                    inputs=Schema([ColSpec("string", "text")]),
                    outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
                ),
                input_example=pd.DataFrame({"text": ["where is my card"]}),
                pip_requirements=["mlflow", "onnxruntime", "tokenizers", "numpy"],
            )
        model = mlflow.pyfunc.load_model(info.model_uri)
        texts = ["parcel late", "订 单", "reset my password"]
        given = model.predict(pd.DataFrame({"text": texts}))
        assert model.predict({"text": texts}).equals(given)
    finally:
        mlflow.set_tracking_uri(before)
    expected = open_predictor(instant.outcome.bundle).predict(texts)
    assert list(given["label"]) == [answer["label"] for answer in expected]
    assert list(given["score"]) == pytest.approx([answer["score"] for answer in expected])


def test_a_frame_without_the_column_is_refused_by_name() -> None:
    from modelkit.tracking import pyfunc_model

    assert pyfunc_model._texts(pd.DataFrame({"only": ["a", "b"]})) == ["a", "b"]
    assert pyfunc_model._texts("a") == ["a"]
    with pytest.raises(ValueError, match="'text'"):
        pyfunc_model._texts(pd.DataFrame({"a": ["x"], "b": ["y"]}))


def test_publishing_and_opening_warn_of_nothing(published: Published) -> None:
    import mlflow

    mlflow.set_tracking_uri(published.tracking_uri)
    model = mlflow.pyfunc.load_model(published.model_uri)
    assert [column.name for column in model.metadata.get_input_schema().inputs] == ["text"]
    example = model.input_example
    assert list(example.columns) == ["text"]
    assert list(model.predict(example)["label"]) == [
        answer["label"] for answer in open_predictor(published.bundle).predict(list(example["text"]))
    ]
