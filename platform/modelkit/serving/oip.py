"""Tensors of the Open Inference Protocol, version 2: what a model declares, what it takes, what it gives.

Specification: Open Inference Protocol, "Inference Protocol - HTTP/REST", with the binary tensor data extension: after
the JSON come the tensors' bytes, little-endian, each element of BYTES behind its length in four bytes.
Does not know HTTP, endpoints or models.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

INPUT_NAME = "text"
EXTENSIONS = ("binary_tensor_data", "model_repository")

_LENGTH = struct.Struct("<I")
_PARAMETERS_REFUSED = ("classification", "shared_memory_region")


def model_metadata(name: str, versions: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """`$metadata_model_response` for a classifier of texts."""
    outputs: list[dict[str, Any]] = [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
    ]
    if labels:
        columns = {"labels": list(labels)}
        outputs.append({"name": "scores", "datatype": "FP32", "shape": [-1, len(labels)], "parameters": columns})
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime",
        "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
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


# --- requests ---------------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """An output asked for, and whether as bytes behind the JSON."""

    name: str
    binary: bool


def input_values(request: dict[str, Any], blob: bytes | memoryview, limit: int) -> list[Any]:
    """The texts of an infer request whose JSON is followed by `blob`. Raises InvalidTensor, also above `limit`."""
    tensors = request.get("inputs")
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise InvalidTensor("inputs", "Give exactly one input tensor.")
    tensor = tensors[0]
    if tensor.get("name") != INPUT_NAME:
        raise InvalidTensor("inputs[0].name", f"The input tensor is named {INPUT_NAME!r}.")
    if tensor.get("datatype") != "BYTES":
        raise InvalidTensor("inputs[0].datatype", "The datatype is BYTES.")
    parameters = _parameters(tensor, "inputs[0]")
    size = parameters.get("binary_data_size")
    if size is None:
        if len(blob):
            raise InvalidTensor(
                "inputs[0].parameters.binary_data_size", f"No tensor owns the {len(blob)} bytes after the JSON."
            )
        return _json_texts(tensor)
    if "data" in tensor:
        raise InvalidTensor("inputs[0].data", "Give the data in the JSON or behind it, not both.")
    if type(size) is not int or size != len(blob):
        raise InvalidTensor(
            "inputs[0].parameters.binary_data_size", f"{len(blob)} bytes follow the JSON, so this is {len(blob)}."
        )
    return _binary_texts(blob, _count(tensor.get("shape")), limit)


def _json_texts(tensor: dict[str, Any]) -> list[Any]:
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list):
        raise InvalidTensor("inputs[0].data", "The data is a list of texts.")
    if isinstance(shape, list) and len(shape) == 2 and shape[1] == 1:
        data = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
        shape = shape[:1]
    if shape != [len(data)] or isinstance(shape[0], bool):
        raise InvalidTensor("inputs[0].shape", f"The shape is [{len(data)}] for {len(data)} texts.")
    return data


def _count(shape: Any) -> int:
    """N of a shape [N] or [N, 1]."""
    plain = isinstance(shape, list) and 1 <= len(shape) <= 2 and all(type(n) is int and n >= 0 for n in shape)
    if not plain or shape[1:] not in ([], [1]):
        raise InvalidTensor("inputs[0].shape", "The shape is [N] or [N, 1].")
    return int(shape[0])


def _binary_texts(blob: bytes | memoryview, count: int, limit: int) -> list[str]:
    # Before reading: a body of empty texts would hold millions.
    if count > limit:
        raise too_many("inputs[0].shape", count, limit)
    texts: list[str] = []
    at, end = 0, len(blob)
    for i in range(count):
        start = at + _LENGTH.size
        if start > end:
            raise InvalidTensor("inputs[0]", f"The binary data ends before element {i} of {count}.")
        at = start + _LENGTH.unpack_from(blob, at)[0]
        if at > end:
            raise InvalidTensor("inputs[0]", f"Element {i} says that it is longer than the binary data.")
        try:
            texts.append(str(blob[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise InvalidTensor(f"inputs[0][{i}]", f"Element {i} is not text in UTF-8.") from None
    if at != end:
        raise InvalidTensor("inputs[0].shape", f"{end - at} bytes are left after {count} elements.")
    return texts


def too_many(field: str, count: int, limit: int) -> InvalidTensor:
    return InvalidTensor(field, f"{count} inputs are more than the {limit} that one request may carry.")


def wanted_outputs(request: dict[str, Any], labels: Sequence[str]) -> list[Wanted] | None:
    """The outputs asked for in their order; None: all of them as JSON. Raises InvalidTensor."""
    known = ("label", "score", "scores") if labels else ("label", "score")
    binary = _flag(_parameters(request, ""), "binary_data_output", "parameters", default=False)
    asked = request.get("outputs")
    if asked is None or asked == []:
        return [Wanted(name, True) for name in known] if binary else None
    if not isinstance(asked, list):
        raise InvalidTensor("outputs", "Outputs are a list of objects with a name.")
    wanted: list[Wanted] = []
    for i, output in enumerate(asked):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise InvalidTensor(f"outputs[{i}].name", f"An output is one of {', '.join(known)}.")
        if any(name == other.name for other in wanted):
            raise InvalidTensor(f"outputs[{i}].name", f"{name} is asked for twice.")
        parameters = _parameters(output, f"outputs[{i}]")
        wanted.append(Wanted(name, _flag(parameters, "binary_data", f"outputs[{i}].parameters", default=binary)))
    return wanted


def _parameters(owner: dict[str, Any], place: str) -> dict[str, Any]:
    parameters = owner.get("parameters")
    field = f"{place}.parameters".lstrip(".")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidTensor(field, "Parameters are an object.")
    refused = next((name for name in _PARAMETERS_REFUSED if name in parameters), None)
    if refused is not None:
        raise InvalidTensor(f"{field}.{refused}", f"The extension behind {refused} is not spoken here.")
    return parameters


def _flag(parameters: dict[str, Any], name: str, place: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidTensor(f"{place}.{name}", f"{name} is true or false.")
    return value


# --- answers ----------------------------------------------------------------------------------------------------------


def pack(tensors: Sequence[dict[str, Any]]) -> bytes:
    """All tensors with their data as bytes: how a runner hands them to the front, which reads them with `unpack`."""
    heads, blobs = [], []
    for tensor in tensors:
        blob = _blob(tensor["datatype"], tensor["data"])
        heads.append(
            {**{k: v for k, v in tensor.items() if k != "data"}, "parameters": {"binary_data_size": len(blob)}}
        )
        blobs.append(blob)
    head = orjson.dumps(heads)
    return b"".join((_LENGTH.pack(len(head)), head, *blobs))


def unpack(packed: bytes) -> dict[str, tuple[dict[str, Any], bytes]]:
    """By name: the tensor without its data, and its bytes."""
    (size,) = _LENGTH.unpack_from(packed)
    at = _LENGTH.size + size
    tensors = {}
    for head in orjson.loads(packed[_LENGTH.size : at]):
        stop = at + head["parameters"]["binary_data_size"]
        tensors[head["name"]] = (head, packed[at:stop])
        at = stop
    return tensors


def select(packed: bytes, wanted: Sequence[Wanted]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The tensors of an answer, and the bytes that follow its JSON."""
    tensors = unpack(packed)
    heads, blobs = [], []
    for name, binary in wanted:
        if name not in tensors:
            continue
        head, blob = tensors[name]
        if binary:
            blobs.append(blob)
        else:
            head = {k: v for k, v in head.items() if k != "parameters"} | {"data": _data(head["datatype"], blob)}
        heads.append(head)
    return heads, blobs


def _blob(datatype: str, data: Sequence[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(data)}f", *data)
    encoded = [text.encode() for text in data]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


def _data(datatype: str, blob: bytes) -> list[Any]:
    if datatype == "FP32":
        return list(struct.unpack(f"<{len(blob) // 4}f", blob))
    texts: list[str] = []
    at = 0
    while at < len(blob):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(blob, at)[0]
        texts.append(blob[start:at].decode())
    return texts
