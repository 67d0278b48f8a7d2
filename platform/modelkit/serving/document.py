"""The OpenAPI document of one endpoint: its own example, classes, limits and errors. Pure.

Specification: OpenAPI 3.1.0. Only what the endpoint really answers is described.
"""

from __future__ import annotations

from typing import Any

from modelkit.serving import oip
from modelkit.serving.plan import InputKind, Limits, RouteRevision

_MEANINGS = {
    "400": "The body is not JSON in UTF-8, or not what its headers say.",
    "401": "No token, an unknown, an expired or a revoked one.",
    "404": "The token's workspace has no such endpoint.",
    "408": "The request arrived too slowly.",
    "413": "The body is larger than {max_bytes} bytes.",
    "415": "The body is in a coding that is not read.",
    "422": "An input is of the wrong type, there is none, or there are more than {max_batch}.",
    "429": "More than can be queued or than is allowed; see Retry-After.",
    "500": "The model failed on this input.",
    "503": "Stopped, not ready yet, or being restarted; see Retry-After where it is given.",
    "504": "The model did not answer in time.",
}
_RETRY = ("429", "503")


def of(name: str, revision: RouteRevision, limits: Limits) -> dict[str, Any]:
    """What `name` answers while `revision` does."""
    paths = {f"/predict/{name}": _predict(revision, limits)}
    if revision.input_kind == "string":
        paths[f"/v2/models/{name}/infer"] = _infer(name, revision, limits)
        paths[f"/v2/models/{name}"] = _metadata(name, revision)
    if revision.embedding_width:
        paths["/v1/embeddings"] = _embeddings(name, revision, limits)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": str(revision.number),
            "description": f"Answered by {revision.model}. At most {limits.max_batch} inputs and {limits.max_bytes} "
            "bytes a request. Bodies may be compressed with gzip or deflate.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token: ty_..."}},
            "schemas": {"Answer": _answer(revision), "Error": _ERROR},
            "headers": {"RequestId": {"description": "Also in every answer's body.", "schema": {"type": "string"}}},
        },
    }


def _predict(revision: RouteRevision, limits: Limits) -> dict[str, Any]:
    body = _object(
        {
            "inputs": {
                "type": "array",
                "items": _kind(revision.input_kind),
                "minItems": 1,
                "maxItems": limits.max_batch,
            },
            "scores": {"type": "boolean", "default": False, "description": "Also the probability of every class."},
        },
        required=["inputs"],
    )
    answer = _object(
        {"outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}, **_IDENTITY},
        required=["outputs", *_IDENTITY],
    )
    return _post("predict", "Predictions, in the order of the inputs.", body, revision.request_example, answer, limits)


def _answer(revision: RouteRevision) -> dict[str, Any]:
    label: dict[str, Any] = {"type": "string"}
    scores: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "number"}}
    if revision.labels:
        label["enum"] = list(revision.labels)
        scores = _object({name: {"type": "number"} for name in revision.labels}, required=list(revision.labels))
    score = {"type": "number", "minimum": 0, "maximum": 1, "description": "Probability of the label."}
    return _object({"label": label, "score": score, "scores": scores}, required=["label", "score"])


def _infer(name: str, revision: RouteRevision, limits: Limits) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limits.max_batch}
    tensor = _object(
        {
            "name": {"const": oip.INPUT_NAME},
            "datatype": {"const": "BYTES"},
            "shape": {"type": "array", "items": {"type": "integer"}, "description": "[N] or [N, 1]"},
            "data": texts,
        },
        required=["name", "datatype", "shape", "data"],
    )
    body = _object(
        {"id": {"type": "string"}, "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}},
        required=["inputs"],
        extra=True,
    )
    output = _object(
        {
            "name": {"enum": [output["name"] for output in oip.model_metadata(name, [], revision.labels)["outputs"]]},
            "datatype": {"enum": ["BYTES", "FP32"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": {"type": ["string", "number"]}},
        },
        required=["name", "datatype", "shape"],
        extra=True,
    )
    answer = _object(
        {
            "model_name": {"const": name},
            "model_version": {"type": "string", "description": "The revision that answered."},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": output},
        },
        required=["model_name", "model_version", "id", "outputs"],
    )
    inputs = revision.request_example.get("inputs", [])
    example = {"inputs": [{"name": oip.INPUT_NAME, "datatype": "BYTES", "shape": [len(inputs)], "data": inputs}]}
    summary = "Predictions in the Open Inference Protocol, version 2; tensors may also go as binary data."
    return _post("infer", summary, body, example, answer, limits)


def _metadata(name: str, revision: RouteRevision) -> dict[str, Any]:
    answer = {"type": "object", "example": oip.model_metadata(name, [str(revision.number)], revision.labels)}
    responses = {"200": _content("Tensors, revisions with traffic, and class names.", answer)}
    responses |= {status: _refusal(status, _MEANINGS[status]) for status in ("401", "404")}
    return {"get": {"summary": "What the model takes and gives.", "operationId": "metadata", "responses": responses}}


def _embeddings(name: str, revision: RouteRevision, limits: Limits) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limits.max_batch}
    body = _object(
        {
            "model": {"const": name},
            "input": {"oneOf": [{"type": "string"}, texts]},
            "encoding_format": {"enum": ["float", "base64"], "default": "float"},
            "dimensions": {"const": revision.embedding_width},
            "user": {"type": "string"},
        },
        required=["model", "input"],
    )
    width = revision.embedding_width
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": width, "maxItems": width}
    base64 = {"type": "string", "description": "base64 of little-endian float32"}
    row = _object(
        {
            "object": {"const": "embedding"},
            "index": {"type": "integer"},
            "embedding": {"oneOf": [numbers, base64], "description": "A unit vector."},
        },
        required=["object", "index", "embedding"],
    )
    count = {"type": "integer", "minimum": 0}
    usage = _object({"prompt_tokens": count, "total_tokens": count}, required=["prompt_tokens", "total_tokens"])
    answer = _object(
        {"object": {"const": "list"}, "data": {"type": "array", "items": row}, "usage": usage, **_IDENTITY},
        required=["object", "data", "usage", *_IDENTITY],
    )
    example = {"model": name, "input": revision.request_example.get("inputs", [])}
    return _post("embeddings", "Embeddings in OpenAI's form.", body, example, answer, limits)


def _post(
    operation: str, summary: str, body: dict[str, Any], example: dict[str, Any], answer: dict[str, Any], limits: Limits
) -> dict[str, Any]:
    meanings = {status: text.format(**limits.model_dump()) for status, text in _MEANINGS.items()}
    return {
        "post": {
            "summary": summary,
            "operationId": operation,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": body, "example": example}},
            },
            "responses": {
                "200": _content("The answer.", answer),
                **{status: _refusal(status, text) for status, text in meanings.items()},
            },
        }
    }


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}},
        "content": {"application/json": {"schema": schema}},
    }


def _refusal(status: str, description: str) -> dict[str, Any]:
    refusal = _content(description, {"$ref": "#/components/schemas/Error"})
    if status in _RETRY:
        refusal["headers"]["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    return refusal


def _kind(kind: InputKind) -> dict[str, Any]:
    return {"type": kind}


def _object(properties: dict[str, Any], *, required: list[str], extra: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return schema if extra else {**schema, "additionalProperties": False}


_IDENTITY: dict[str, Any] = {
    "model": {"type": "string", "description": "The version that answered, as name@number."},
    "revision": {"type": "integer"},
    "request_id": {"type": "string"},
}
_ERROR = _object(
    {
        "error": _object(
            {
                "code": {"type": "string", "description": "Stable: programs may decide by it."},
                "message": {"type": "string"},
                "fields": {"type": "object", "additionalProperties": {"type": "string"}},
                "hint": {"type": "string"},
                "request_id": {"type": "string"},
            },
            required=["code", "message", "fields", "hint", "request_id"],
        )
    },
    required=["error"],
)
