"""What is fuzzed: each target takes any bytes and raises where the serving port would have done wrong.

`python scripts/fuzz.py` drives them with atheris; the properties in `tests/modelkit/serving` cover the same ground with
inputs that make sense.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import orjson

from modelkit.serving import embedding, oip
from modelkit.serving.front import coding
from modelkit.serving.front.app import Front
from modelkit.serving.front.contenders import Contenders
from modelkit.serving.front.http import Connection
from modelkit.serving.front.links import Caller, Link
from modelkit.serving.front.table import Table
from modelkit.serving.plan import AccessKey, KeySet, Limits, Route, RouteRevision, RoutingTable
from modelkit.serving.wire import Ask, BadFrame, Cost, FrameProtocol, Reply, Status, parse_reply, request_frame

LABELS = ("card", "refund")
#: SHA-256 of `k`, the only key.
_KEY = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")


class _Echo(Link):
    """A runner that answers at once."""

    @property
    def is_open(self) -> bool:
        return True

    def open(self) -> None:
        pass

    def send(self, ask: Ask, payload: bytes, caller: Caller) -> None:
        inputs = orjson.loads(payload)
        if ask in embedding.ASKS:
            body = embedding.encode([[0.6, 0.8] for _ in inputs], ask)
        else:
            rows = [{"label": "card", "score": 0.75, "scores": {"card": 0.75, "refund": 0.25}} for _ in inputs]
            tensors = oip.output_tensors(rows, LABELS)
            forms = {Ask.TENSORS: lambda: orjson.dumps(tensors), Ask.TENSORS_BINARY: lambda: oip.pack(tensors)}
            body = forms.get(ask, lambda: orjson.dumps(rows))()
        caller.replied(Reply(Status.OK, body, Cost(tokens=len(inputs))))


class _Transport:
    """Remembers what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def write_eof(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str) -> Any:
        return ("203.0.113.9", 40000)


def _front() -> Front:
    limits = Limits(max_batch=8, max_bytes=4000)
    revision = RouteRevision(
        number=1,
        model="intents@1",
        sockets=("echo",),
        weight=100,
        input_kind="string",
        labels=LABELS,
        request_example={"inputs": ["card"]},
        embedding_width=2,
    )
    routing = RoutingTable(
        routes=(
            Route(workspace="ws", name="intents", state="running", limits=limits, revisions=(revision,)),
            Route(workspace="ws", name="resting", state="stopped"),
        ),
    )
    keys = KeySet(keys=(AccessKey(sha256=_KEY, workspace="ws"),))
    with TemporaryDirectory() as folder:
        front = Front(Path(folder) / "routing.json")
        (Path(folder) / "keys.json").write_text(keys.model_dump_json())
        front.keys.reload()
    front.table = Table(routing, cast(dict[str, Link], {"echo": _Echo("echo")}), Contenders())
    front.loaded = True
    return front


class Http:
    """Any bytes on a connection, cut anywhere, end in answers of known statuses, and never in one of ours failing."""

    def __init__(self) -> None:
        self._front = _front()
        self.seen: set[bytes] = set()

    def __call__(self, data: bytes) -> None:
        cut = data[0] % (len(data) + 1) if data else 0
        transport = _Transport()
        connection = Connection(self._front)
        connection.connection_made(cast(Any, transport))
        for piece in (data[:cut], data[cut:]):
            if not transport.closed:
                connection.data_received(piece)
        connection.expire(float("inf"))
        if not transport.closed:
            connection.eof_received()
        connection.connection_lost(None)
        assert connection not in self._front.connections
        statuses = _STATUS.findall(bytes(transport.written))
        assert _KNOWN.issuperset(statuses), statuses
        self.seen.update(statuses)


_KNOWN = frozenset(b"100 200 400 401 404 405 408 413 414 415 422 431 503".split())


def infer(data: bytes) -> None:
    """The JSON and the tensors of an infer request: read whole, or refused with a field."""
    cut = struct.unpack_from("<H", data)[0] if len(data) >= 2 else 0
    text, blob = data[2 : 2 + cut], data[2 + cut :]
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    if not isinstance(body, dict):
        return
    try:
        oip.wanted_outputs(body, LABELS)
        texts = oip.input_values(body, memoryview(blob), 8)
    except oip.InvalidTensor:
        return
    if blob:
        packed = [cast(str, value).encode() for value in texts]
        assert b"".join(struct.pack("<I", len(value)) + value for value in packed) == blob


class _Frames(FrameProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, bytes]] = []

    def frame_received(self, request_id: int, code: int, payload: bytes) -> None:
        self.seen.append((request_id, code, payload))


def frames(data: bytes) -> None:
    """Frames are the same however the stream is cut; a reply is parsed or refused as a bad frame."""
    whole, cut = _Frames(), _Frames()
    for frames_ in (whole, cut):
        frames_.connection_made(cast(Any, _Transport()))
    whole.data_received(data)
    step = data[0] % 16 + 1 if data else 1
    for start in range(0, len(data), step):
        if cut.transport is not None and not cast(Any, cut.transport).closed:
            cut.data_received(data[start : start + step])
    assert whole.seen == cut.seen
    for request_id, code, payload in whole.seen:
        try:
            parse_reply(code, payload)
        except BadFrame:
            continue
        assert data.count(payload) >= 1, request_id


def gzip(data: bytes) -> None:
    """A body is unpacked within its limit, or refused."""
    for coded in (b"gzip", b"deflate"):
        with contextlib.suppress(coding.Damaged, coding.TooLarge):
            assert len(coding.inflate(data, coded, 1000)) <= 1000
        assert coding.inflate(coding.deflate(data, coded), coded, len(data)) == data
    assert coding.accepted(data) in (None, b"gzip", b"deflate")


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "http": Http,
    "infer": lambda: infer,
    "frames": lambda: frames,
    "gzip": lambda: gzip,
}


def seeds(name: str) -> list[bytes]:
    """Inputs that make sense, for the fuzzer to begin with."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["card"]}
    text = orjson.dumps({"inputs": [tensor], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]})
    blob = struct.pack("<I", 4) + b"card"
    binary = orjson.dumps(
        {
            "inputs": [{k: v for k, v in tensor.items() if k != "data"} | {"parameters": {"binary_data_size": 8}}],
            "parameters": {"binary_data_output": True},
        }
    )
    if name == "infer":
        return [struct.pack("<H", len(text)) + text, struct.pack("<H", len(binary)) + binary + blob]
    if name == "frames":
        reply = struct.pack(">fffII", 1, 2, 3, 4, 5) + b"[]"
        return [request_frame(7, Ask.PREDICT, reply), request_frame(1, Ask.INFO, b"") * 3]
    if name == "gzip":
        return [coding.deflate(b"card" * 100, b"gzip"), coding.deflate(b"", b"deflate"), b"gzip;q=0.5, deflate"]
    predict = b'{"inputs":["card"],"scores":true}'
    packed = coding.deflate(predict, b"gzip")
    return [
        _request("POST /predict/intents", predict),
        _request("POST /predict/intents", packed, "content-encoding: gzip", "accept-encoding: gzip"),
        _request("POST /v2/models/intents/infer", text),
        _request("POST /v2/models/intents/infer", binary + blob, f"inference-header-content-length: {len(binary)}"),
        _request("POST /v1/embeddings", b'{"model":"intents","input":"card","encoding_format":"base64"}'),
        _request("POST /v2/repository/index", b'{"ready":true}'),
        _request("GET /v2/models/intents/versions/1/ready", b"") * 3,
        _request("GET /openapi/intents.json", b"", "expect: 100-continue", "connection: close"),
        _request("GET /v1/models/intents", b"") + _request("GET /metrics", b""),
        b"POST /predict/intents HTTP/1.1\r\nauthorization: bearer k\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\n{\"inp\r\n0\r\n\r\n",
    ]  # fmt: skip


def _request(line: str, body: bytes, *lines: str) -> bytes:
    sized = [f"content-length: {len(body)}"] if body else []
    head = [f"{line} HTTP/1.1", "host: x", "authorization: Bearer k", *sized, *lines, "", ""]
    return "\r\n".join(head).encode() + body
