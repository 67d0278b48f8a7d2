"""The Open Inference Protocol as its own client speaks it (`tritonclient`), and what that client would never send."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from modelkit.serving import oip
from tests.modelkit.serving.toys import (
    OTHER_WORKSPACE,
    TOKEN,
    Host,
    make_bundle,
    revision,
    running,
    stopped,
    wait_until,
)

# A fresh copy for each call: the client writes into the headers that it is given.
KEY = {"Authorization": f"Bearer {TOKEN}"}
TEXTS = ["card", "refund", "我想退款 refund 🙂"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("oip")
    make_bundle(folder / "first")
    make_bundle(folder / "second", bias=0.1)
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first", weight=60), revision(2, folder / "second", weight=40)),
            running("private", revision(1, folder / "first"), workspace=OTHER_WORKSPACE),
            stopped("resting", revision(1, folder / "first")),
        )
        running_host.wait_for("intents", "live")
        running_host.wait_for("private", "live", workspace=OTHER_WORKSPACE)
        with running_host.client() as caller:
            for number in (1, 2):
                ready = f"/v2/models/intents/versions/{number}/ready"
                wait_until(lambda path=ready: caller.get(path).status_code == 200, what=ready)
        yield running_host


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{host.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def plain(host: Host) -> Iterator[httpx.Client]:
    with host.client() as opened:
        yield opened


def tensor(texts: list[str], *, binary: bool, rows: bool = False, kind: Any = triton) -> Any:
    shape = [len(texts), 1] if rows else [len(texts)]
    given_tensor = kind.InferInput("text", shape, "BYTES")
    given_tensor.set_data_from_numpy(np.array(texts, dtype=object).reshape(shape), binary_data=binary)
    return given_tensor


# --- as its client speaks it ---


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    server = client.get_server_metadata()
    assert set(server["extensions"]) == {"binary_tensor_data", "model_repository"}
    assert client.is_model_ready("intents", headers=dict(KEY))
    assert client.is_model_ready("intents", "2", headers=dict(KEY))
    assert not client.is_model_ready("intents", "9", headers=dict(KEY))
    assert not client.is_model_ready("resting", headers=dict(KEY))
    assert not client.is_model_ready("intents")
    for version in ("", "2"):
        metadata = client.get_model_metadata("intents", version, headers=dict(KEY))
        assert (metadata["name"], metadata["versions"]) == ("intents", ["1", "2"])
        assert [output["name"] for output in metadata["outputs"]] == ["label", "score", "scores"]


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True, None])
def test_infer(client: triton.InferenceServerClient, rows: bool, binary_in: bool, binary_out: bool | None) -> None:
    outputs = None
    if binary_out is not None:
        names = ("scores", "label", "score")
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    result = client.infer(
        "intents",
        [tensor(TEXTS, binary=binary_in, rows=rows)],
        model_version="1",
        outputs=outputs,
        request_id="abc",
        headers=dict(KEY),
    )
    told = result.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == ("intents", "1", "abc")
    labels = result.as_numpy("label")
    assert [label.decode() if isinstance(label, bytes) else label for label in labels] == ["card", "refund", "refund"]
    scores = result.as_numpy("scores")
    assert (scores.dtype, scores.shape) == (np.float32, (3, 3))
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(result.as_numpy("score"), scores.max(axis=1), rtol=1e-6)


def test_some_outputs_as_bytes_and_some_as_json(client: triton.InferenceServerClient) -> None:
    outputs = [
        triton.InferRequestedOutput("label", binary_data=False),
        triton.InferRequestedOutput("score", binary_data=True),
    ]
    result = client.infer("intents", [tensor(TEXTS, binary=True)], outputs=outputs, headers=dict(KEY))
    told = {output["name"]: output for output in result.get_response()["outputs"]}
    assert told["label"]["data"] == ["card", "refund", "refund"]
    assert told["score"]["parameters"] == {"binary_data_size": 12}
    assert "scores" not in told
    assert result.as_numpy("score").shape == (3,)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_its_compression(client: triton.InferenceServerClient, coding: str) -> None:
    result = client.infer(
        "intents",
        [tensor(TEXTS * 80, binary=True)],
        headers=dict(KEY),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.as_numpy("label").tolist() == [b"card", b"refund", b"refund"] * 80


def test_the_asynchronous_client(host: Host) -> None:
    async def scenario() -> list[list[bytes]]:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{host.port}") as opened:
            assert await opened.is_model_ready("intents", headers=dict(KEY))
            asked = [
                opened.infer("intents", [tensor(TEXTS, binary=binary, kind=triton_aio)], headers=dict(KEY))
                for binary in (False, True)
            ]
            return [result.as_numpy("label").tolist() for result in await asyncio.gather(*asked)]

    assert asyncio.run(scenario()) == [[b"card", b"refund", b"refund"]] * 2


def test_a_refusal_carries_its_status_and_our_error(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("private", [tensor(TEXTS, binary=True)], headers=dict(KEY))
    assert caught.value.status() == "404"
    assert caught.value.message()["code"] == "endpoint_not_found"


# --- the model repository ---


def test_the_index_names_this_workspaces_endpoints_only(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index(headers=dict(KEY))
    assert [(line["name"], line.get("version"), line["state"]) for line in index] == [
        ("intents", "1", "READY"),
        ("intents", "2", "READY"),
        ("resting", None, "UNAVAILABLE"),
    ]


def test_the_index_of_what_is_ready(plain: httpx.Client) -> None:
    ready = plain.post("/v2/repository/index", json={"ready": True}).json()
    assert {line["name"] for line in ready} == {"intents"}
    assert plain.post("/v2/repository/index", json={"ready": "yes"}).status_code == 422
    assert plain.post("/v2/repository/index", content=b"{").status_code == 400
    assert plain.get("/v2/repository/index").status_code == 405


def test_what_is_so_already_needs_nobody(client: triton.InferenceServerClient) -> None:
    """No platform runs here: the client raises where the front would have had to ask it."""
    before = client.get_model_repository_index(headers=dict(KEY))
    client.load_model("intents", headers=dict(KEY))
    client.unload_model("resting", headers=dict(KEY))
    assert client.get_model_repository_index(headers=dict(KEY)) == before
    assert client.is_model_ready("intents", headers=dict(KEY))


def test_without_the_platform_a_change_is_refused_with_the_way_to_make_it(plain: httpx.Client) -> None:
    answer = plain.post("/v2/repository/models/intents/unload")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "control_plane_unavailable")
    assert "/api/v1/endpoints/intents/stop" in answer.json()["error"]["hint"]
    assert plain.get("/v2/models/intents/ready").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/repository/models/nowhere/load", {}, 404),
        ("/v2/repository/models/private/unload", {}, 404),
        ("/v2/repository/models/intents/load", {"parameters": {"config": "{}"}}, 422),
        ("/v2/repository/models/intents/load", {"parameters": []}, 422),
        ("/v2/repository/models/intents/load", [], 422),
    ],
)
def test_loads_that_are_refused(plain: httpx.Client, path: str, body: Any, status: int) -> None:
    assert plain.post(path, json=body).status_code == status
    assert plain.get(path).status_code == 405
    assert plain.post(path, json=body, headers={"authorization": "Bearer ty_unknown"}).status_code == 401


# --- what that client would never send ---


def framed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def infer(plain: httpx.Client, blob: bytes, *, header: str | None = None, **tensor_fields: Any) -> httpx.Response:
    tensor_ = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(blob)}}
    text = json.dumps({"inputs": [{**tensor_, **tensor_fields}]}).encode()
    headers = {"inference-header-content-length": header or str(len(text))}
    return plain.post("/v2/models/intents/infer", content=text + blob, headers=headers)


@pytest.mark.parametrize(
    ("blob", "fields", "field"),
    [
        (framed(b"card"), {"shape": [2]}, "inputs[0]"),
        (framed(b"card", b"card"), {}, "inputs[0].shape"),
        (framed(b"card"), {"shape": []}, "inputs[0].shape"),
        (framed(b"card"), {"shape": [-1]}, "inputs[0].shape"),
        (framed(b"card"), {"shape": [True]}, "inputs[0].shape"),
        (framed(b"card"), {"shape": [1, 2]}, "inputs[0].shape"),
        (framed(b"card"), {"shape": 1}, "inputs[0].shape"),
        (framed(b"card"), {"datatype": "FP32"}, "inputs[0].datatype"),
        (framed(b"card"), {"data": ["card"]}, "inputs[0].data"),
        (framed(b"card"), {"parameters": {}}, "inputs[0].parameters.binary_data_size"),
        (framed(b"card"), {"parameters": []}, "inputs[0].parameters"),
        (framed(b"card"), {"parameters": {"binary_data_size": 7}}, "inputs[0].parameters.binary_data_size"),
        (framed(b"card"), {"parameters": {"binary_data_size": 8.0}}, "inputs[0].parameters.binary_data_size"),
        (framed(b"card"), {"parameters": {"shared_memory_region": "x"}}, "inputs[0].parameters.shared_memory_region"),
        (framed(b"\xff\xfe"), {}, "inputs[0][0]"),
        (b"\xff\xff\xff\xffcard", {}, "inputs[0]"),
        (b"\x04\x00", {}, "inputs[0]"),
        (b"", {"shape": [0]}, "inputs[0].data"),
        (framed(*[b""] * 10_000), {"shape": [10_000]}, "inputs[0].shape"),
    ],
)
def test_bad_binary_tensors(plain: httpx.Client, blob: bytes, fields: dict[str, Any], field: str) -> None:
    answer = infer(plain, blob, **fields)
    assert answer.status_code == 422, answer.text
    assert list(answer.json()["error"]["fields"]) == [field]
    assert infer(plain, framed(b"card")).status_code == 200


@pytest.mark.parametrize("header", ["-1", "x", "9" * 30, "100000", "1.5"])
def test_a_header_length_that_is_none(plain: httpx.Client, header: str) -> None:
    answer = infer(plain, framed(b"card"), header=header)
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == ["Inference-Header-Content-Length"]


def test_binary_data_without_its_header_is_no_json(plain: httpx.Client) -> None:
    answer = plain.post("/v2/models/intents/infer", content=b'{"inputs": []}' + framed(b"card"))
    assert answer.json()["error"]["code"] == "malformed_json"


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "outputs[1].name"),
        ({"outputs": ["label"]}, "outputs[0].name"),
        ({"outputs": {}}, "outputs"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
            "outputs[0].parameters.classification",
        ),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, "outputs[0].parameters.binary_data"),
        ({"parameters": {"binary_data_output": "yes"}}, "parameters.binary_data_output"),
        ({"parameters": 1}, "parameters"),
    ],
)
def test_bad_wishes_for_outputs(plain: httpx.Client, extra: dict[str, Any], field: str) -> None:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["card"]}], **extra}
    answer = plain.post("/v2/models/intents/infer", json=body)
    assert answer.status_code == 422, answer.text
    assert list(answer.json()["error"]["fields"]) == [field]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 310) | st.none(), st.sampled_from([b"", b"{}", b'{"inputs":[]}']))
def test_any_bytes_end_in_a_refusal_of_known_shape(
    plain: httpx.Client, blob: bytes, length: int | None, start: bytes
) -> None:
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    answer = plain.post("/v2/models/intents/infer", content=start + blob, headers=headers)
    assert answer.status_code in (400, 422)
    assert set(answer.json()["error"]) == {"code", "message", "fields", "hint", "request_id"}


# --- any tensors ---


@given(st.lists(st.text(max_size=30), max_size=20))
def test_texts_survive_their_binary_form(texts: list[str]) -> None:
    texts = [text.encode(errors="ignore").decode() for text in texts]
    blob = framed(*(text.encode() for text in texts))
    asked = {
        "inputs": [
            {
                "name": "text",
                "datatype": "BYTES",
                "shape": [len(texts)],
                "parameters": {"binary_data_size": len(blob)},
            }
        ]
    }
    assert oip.input_values(asked, memoryview(blob), 20) == texts


@given(st.binary(max_size=200), st.integers(-1, 30), st.integers(0, 20))
def test_any_binary_data_is_read_whole_or_refused(blob: bytes, count: int, limit: int) -> None:
    parameters = {"binary_data_size": len(blob)}
    asked = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [count], "parameters": parameters}]}
    try:
        texts = oip.input_values(asked, blob, limit)
    except oip.InvalidTensor:
        return
    assert len(texts) == count <= limit
    assert framed(*(text.encode() for text in texts)) == blob


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["text", "BYTES", "label"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "binary_data"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "parameters", "id"]), JSON, max_size=4))
def test_any_request_is_read_or_refused(request: dict[str, Any]) -> None:
    """Anything but `InvalidTensor` fails here; what is read is what may be sent on, what is refused has a place."""
    refused, wanted, texts = None, None, []
    try:
        wanted = oip.wanted_outputs(request, ["card"])
        texts = oip.input_values(request, b"", 5)
    except oip.InvalidTensor as error:
        refused = error
    assert refused is None or (refused.field.startswith(("inputs", "outputs", "parameters")) and str(refused))
    assert wanted is None or all(output.name in ("label", "score", "scores") for output in wanted)
    assert len(texts) <= 5


@given(st.lists(st.tuples(st.sampled_from(["card", "退款", ""]), st.floats(0, 1, width=32)), max_size=10), st.data())
def test_what_a_runner_packs_the_front_selects(rows: list[tuple[str, float]], data: Any) -> None:
    outputs = [{"label": label, "score": score, "scores": {"a": score, "b": 1 - score}} for label, score in rows]
    tensors = oip.output_tensors(outputs, ["a", "b"])
    wanted = [oip.Wanted(t["name"], data.draw(st.booleans())) for t in data.draw(st.permutations(tensors))]
    heads, blobs = oip.select(oip.pack(tensors), wanted)
    assert [head["name"] for head in heads] == [output.name for output in wanted]
    by_name = {t["name"]: t for t in tensors}
    for head in heads:
        if "data" in head:
            given_data = head["data"]
        else:
            blob = blobs.pop(0)
            assert head["parameters"]["binary_data_size"] == len(blob)
            given_data = oip._data(head["datatype"], blob)
        wished = by_name[head["name"]]["data"]
        assert given_data == (pytest.approx(wished, abs=1e-6) if head["datatype"] == "FP32" else wished)
    assert not blobs


def test_the_log_has_no_traceback(host: Host) -> None:
    """Last, after all the above."""
    assert "Traceback" not in (host.paths.logs / "front.log").read_text()
