"""How MLflow opens a bundle: a models-from-code file that `mlflow.pyfunc.log_model(python_model=<this file>)` stores.

Stands alone, because it runs where Tuneyard is not installed; needs mlflow, pandas and what the bundle's own
`predictor.py` needs. Takes a DataFrame with the column `text`, or texts; gives a DataFrame with `label` and `score`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

COLUMN = "text"


def _texts(model_input: Any) -> list[Any]:
    if isinstance(model_input, pd.DataFrame):
        if COLUMN in model_input.columns:
            cells = list(model_input[COLUMN])
            # MLflow makes of {"text": ["a", "b"]} one row whose cell is the list.
            return cells[0] if len(cells) == 1 and isinstance(cells[0], list) else cells
        if len(model_input.columns) == 1:
            return list(model_input.iloc[:, 0])
        raise ValueError(f"The input needs a column {COLUMN!r}; it has {list(model_input.columns)}.")
    if isinstance(model_input, str):
        return [model_input]
    return list(model_input)


class BundleModel(mlflow.pyfunc.PythonModel):
    """A Tuneyard bundle as a pyfunc model."""

    def load_context(self, context: Any) -> None:
        """Import the predictor that lies in the bundle and open the bundle with it."""
        bundle = Path(context.artifacts["bundle"])
        name = "tuneyard_bundle_predictor"
        spec = importlib.util.spec_from_file_location(name, bundle / "predictor.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(bundle / "predictor.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their own module up
        spec.loader.exec_module(module)
        self.predictor = module.Predictor(bundle)

    # A DataFrame is the one annotation that MLflow does not take for a schema, beside the signature that it is given.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row for each text, in their order."""
        answers = self.predictor.predict(_texts(model_input))
        return pd.DataFrame(
            {
                "label": [answer["label"] for answer in answers],
                "score": [answer["score"] for answer in answers],
            }
        )


mlflow.models.set_model(BundleModel())
