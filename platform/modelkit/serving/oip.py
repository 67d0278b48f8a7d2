"""Shapes of the Open Inference Protocol, version 2, over JSON: what a model declares, what it takes, what it gives.

Specification: Open Inference Protocol, "Inference Protocol - HTTP/REST". Binary tensor data is not spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INPUT_NAME = "text"


def model_metadata(name: str, versions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """`$metadata_model_response` for a classifier of texts."""
    classes = len(labels) or -1
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime",
        "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, classes], "parameters": {"labels": list(labels)}},
        ],
    }


def output_tensors(outputs: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """`label` [N], `score` [N] and, where the model gives one per class, `scores` [N, C] in the order of `labels`."""
    count = len(outputs)
    tensors: list[dict[str, Any]] = [
        {"name": "label", "datatype": "BYTES", "shape": [count], "data": [row["label"] for row in outputs]},
        {"name": "score", "datatype": "FP32", "shape": [count], "data": [row["score"] for row in outputs]},
    ]
    if labels and all("scores" in row for row in outputs):
        data = [row["scores"][label] for row in outputs for label in labels]
        tensors.append({"name": "scores", "datatype": "FP32", "shape": [count, len(labels)], "data": data})
    return tensors


class InvalidTensor(ValueError):
    """The request's tensors are not what the model takes; `field` names the place."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def input_values(request: dict[str, Any]) -> tuple[list[Any], list[str] | None]:
    """The texts of an infer request and the names of the outputs asked for (None: all). Raises InvalidTensor."""
    tensors = request.get("inputs")
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise InvalidTensor("inputs", "Give exactly one input tensor.")
    tensor = tensors[0]
    if tensor.get("name") != INPUT_NAME:
        raise InvalidTensor("inputs[0].name", f"The input tensor is named {INPUT_NAME!r}.")
    if tensor.get("datatype") != "BYTES":
        raise InvalidTensor("inputs[0].datatype", "The datatype is BYTES.")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list):
        raise InvalidTensor("inputs[0].data", "The data is a list of texts.")
    if isinstance(shape, list) and len(shape) == 2 and shape[1] == 1:
        data = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
        shape = shape[:1]
    if shape != [len(data)] or isinstance(shape[0], bool):
        raise InvalidTensor("inputs[0].shape", f"The shape is [{len(data)}] for {len(data)} texts.")
    return data, _output_names(request.get("outputs"))


def _output_names(wanted: Any) -> list[str] | None:
    if wanted is None:
        return None
    known = ("label", "score", "scores")
    if not isinstance(wanted, list):
        raise InvalidTensor("outputs", "Outputs are a list of objects with a name.")
    names = []
    for i, output in enumerate(wanted):
        name = output.get("name") if isinstance(output, dict) else None
        if name not in known:
            raise InvalidTensor(f"outputs[{i}].name", f"An output is one of {', '.join(known)}.")
        names.append(name)
    return names or None
