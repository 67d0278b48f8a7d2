"""The forms in which predictions are asked for: each reads the body of a request and writes the body of its answer.

A dialect belongs to one request. It does not know how a model is reached, nor what the endpoint's limits are for.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import orjson

from modelkit.serving import oip
from modelkit.serving.front.problem import invalid, malformed_json
from modelkit.serving.front.request import Request
from modelkit.serving.front.table import Endpoint, Target
from modelkit.serving.wire import Ask, Reply

_HEADER_LENGTH = b"inference-header-content-length"
_JSON = b"application/json"


class Answer(NamedTuple):
    """The body of a 200, its type and further header lines."""

    body: bytes
    content_type: bytes = _JSON
    headers: bytes = b""


class Dialect(Protocol):
    """`ask` is known after `read`; `place` is where the inputs lie, for messages. `read` raises Refused."""

    ask: Ask
    place: str

    def read(self, request: Request, target: Target, limit: int) -> list[Any]: ...

    def write(self, reply: Reply, request: Request, endpoint: Endpoint, target: Target) -> Answer: ...


class Predict:
    """`POST /predict/{endpoint}`."""

    __slots__ = ("ask",)
    place = "inputs"

    def __init__(self) -> None:
        self.ask = Ask.PREDICT

    def read(self, request: Request, target: Target, limit: int) -> list[Any]:
        body = json_object(request.body, 'Send {"inputs": [...]}.')
        unknown = next((name for name in body if name not in ("inputs", "scores")), None)
        if unknown is not None:
            raise invalid(unknown, f"There is no field {unknown[:60]!r}.", "Send inputs and, if wanted, scores.")
        if not isinstance(body.get("scores", False), bool):
            raise invalid("scores", "scores is true or false.", "Leave it out for the best class only.")
        if body.get("scores"):
            self.ask = Ask.PREDICT_SCORES
        inputs = body.get("inputs")
        if not isinstance(inputs, list):
            raise invalid("inputs", "inputs is a list.", 'Send {"inputs": [...]}.')
        return inputs

    def write(self, reply: Reply, request: Request, endpoint: Endpoint, target: Target) -> Answer:
        return Answer(b"".join((b'{"outputs":', reply.body, target.answer_tail, request.request_id.encode(), b'"}')))


class Infer:
    """`POST /v2/models/{endpoint}/infer`, as JSON or with binary tensors either way."""

    __slots__ = ("_id", "_wanted", "ask")
    place = "inputs[0].data"

    def __init__(self) -> None:
        self.ask = Ask.TENSORS
        self._id: str | None = None
        self._wanted: list[oip.Wanted] | None = None

    def read(self, request: Request, target: Target, limit: int) -> list[Any]:
        if target.revision.input_kind != "string":
            raise invalid("inputs", "This model does not take texts over this protocol.", "Use /predict.")
        text, blob = _split(request)
        body = json_object(text, 'Send {"inputs": [...]}.')
        if isinstance(body.get("id"), str):
            self._id = body["id"]
        try:
            self._wanted = oip.wanted_outputs(body, target.revision.labels)
            inputs = oip.input_values(body, blob, limit)
        except oip.InvalidTensor as error:
            raise invalid(error.field, str(error), "See GET /v2/models/{name} for the tensors.") from None
        if self._wanted is not None and any(output.binary for output in self._wanted):
            self.ask = Ask.TENSORS_BINARY
        return inputs

    def write(self, reply: Reply, request: Request, endpoint: Endpoint, target: Target) -> Answer:
        tensors: Any = orjson.Fragment(reply.body)
        blobs: list[bytes] = []
        if self.ask is Ask.TENSORS_BINARY:
            tensors, blobs = oip.select(reply.body, self._wanted or ())
        elif self._wanted is not None:
            by_name = {tensor["name"]: tensor for tensor in orjson.loads(reply.body)}
            tensors = [by_name[output.name] for output in self._wanted if output.name in by_name]
        answer = {
            "model_name": endpoint.name,
            "model_version": str(target.revision.number),
            "id": self._id or request.request_id,
            "outputs": tensors,
        }
        body = orjson.dumps(answer)
        if self.ask is not Ask.TENSORS_BINARY:
            return Answer(body)
        length = b"%b: %d\r\n" % (_HEADER_LENGTH, len(body))
        return Answer(b"".join((body, *blobs)), b"application/octet-stream", length)


def _split(request: Request) -> tuple[bytes | bytearray | memoryview, memoryview | bytes]:
    """The JSON of an infer request and the bytes behind it."""
    header = request.headers.get(_HEADER_LENGTH)
    if header is None:
        return request.body, b""
    length = int(header) if header.isdigit() and len(header) < 12 else -1
    if not 0 <= length <= len(request.body):
        message = f"Inference-Header-Content-Length is the size of the JSON, at most {len(request.body)} here."
        raise invalid("Inference-Header-Content-Length", message, "Leave the header out when no binary data follows.")
    whole = memoryview(request.body)
    return whole[:length], whole[length:]


class Embeddings:
    """`POST /v1/embeddings` in OpenAI's form. The body names the endpoint, so it is read before there is a target."""

    __slots__ = ("_body", "ask", "model")
    place = "input"

    _FIELDS = frozenset(("model", "input", "encoding_format", "dimensions", "user"))
    _FORMATS = {"float": Ask.EMBED, "base64": Ask.EMBED_BASE64}

    def __init__(self, request: Request) -> None:
        """Raises Refused where the body says nothing of an endpoint."""
        self._body = json_object(request.body, 'Send {"model": "...", "input": [...]}.')
        model = self._body.get("model")
        if not isinstance(model, str):
            raise invalid("model", "model is the name of an endpoint.", "GET /v1/models lists them.")
        self.model = model
        self.ask = Ask.EMBED

    def read(self, request: Request, target: Target, limit: int) -> list[Any]:
        body, width = self._body, target.revision.embedding_width
        if not width:
            message = (
                f"{target.revision.model} gives no embeddings: it was made before there were any, or is no encoder."
            )
            raise invalid("model", message, "Train the model again and deploy the new version.")
        unknown = next((name for name in body if name not in self._FIELDS), None)
        if unknown is not None:
            raise invalid(unknown, f"There is no field {unknown[:60]!r}.", "Send model, input and encoding_format.")
        encoding = body.get("encoding_format", "float")
        if not isinstance(encoding, str) or encoding not in self._FORMATS:
            raise invalid("encoding_format", "encoding_format is float or base64.", "Leave it out for float.")
        self.ask = self._FORMATS[encoding]
        if body.get("dimensions", width) != width:
            raise invalid("dimensions", f"The embeddings have {width} dimensions.", "Leave dimensions out.")
        inputs = body.get("input")
        if isinstance(inputs, str):
            return [inputs]
        if not isinstance(inputs, list):
            raise invalid("input", "input is a text or a list of texts.", 'Send {"input": ["..."]}.')
        if inputs and all(type(value) in (int, list) for value in inputs):
            raise invalid("input", "Token ids are not taken, only texts.", "Send the texts themselves.")
        return inputs

    def write(self, reply: Reply, request: Request, endpoint: Endpoint, target: Target) -> Answer:
        tokens = b"%d" % reply.cost.tokens
        return Answer(
            b"".join(
                (
                    b'{"object":"list","data":', reply.body,
                    b',"usage":{"prompt_tokens":', tokens, b',"total_tokens":', tokens, b"}",
                    target.answer_tail, request.request_id.encode(), b'"}',
                )
            )
        )  # fmt: skip


def json_object(body: bytes | bytearray | memoryview, hint: str) -> dict[str, Any]:
    """The body as an object; raises Refused."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed_json(str(error)) from None
    if not isinstance(value, dict):
        raise invalid("body", "The body is not a JSON object.", hint)
    return value
