"""What the serving port answers: keys, shapes, every kind of bad input, and HTTP at its edges."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.modelkit.serving.toys import (
    OTHER_TOKEN,
    OTHER_WORKSPACE,
    TOKEN,
    Host,
    make_bundle,
    revision,
    running,
    stopped,
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("front")
    make_bundle(folder / "first")
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first")),
            running("small", revision(1, folder / "first"), max_batch=2, max_bytes=100),
            running("private", revision(1, folder / "first"), workspace=OTHER_WORKSPACE),
            stopped("resting", revision(1, folder / "first")),
        )
        running_host.wait_for("intents", "live")
        running_host.wait_for("small", "live")
        running_host.wait_for("private", "live", workspace=OTHER_WORKSPACE)
        yield running_host


def error(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields", "hint", "request_id"}
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["message"]
    return dict(body["error"])


# --- good requests ---


def test_predict_answers_in_order_with_scores_on_request(client: httpx.Client) -> None:
    answer = client.post("/predict/intents", json={"inputs": ["card", "refund", "transfer"], "scores": True}).json()
    assert [row["label"] for row in answer["outputs"]] == ["card", "refund", "transfer"]
    assert all(abs(sum(row["scores"].values()) - 1) < 1e-9 for row in answer["outputs"])
    plain = client.post("/predict/intents", json={"inputs": ["card"]}).json()
    assert set(plain) == {"outputs", "model", "revision", "request_id"}
    assert set(plain["outputs"][0]) == {"label", "score"}


def test_256_texts_in_any_language_are_one_request(client: httpx.Client) -> None:
    answer = client.post("/predict/intents", json={"inputs": ["我想退款 refund 🙂"] * 256})
    assert answer.status_code == 200
    assert [row["label"] for row in answer.json()["outputs"]] == ["refund"] * 256


def test_open_inference_protocol(client: httpx.Client) -> None:
    body = {"id": "abc", "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["card", "refund"]}]}
    answer = client.post("/v2/models/intents/infer", json=body).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("intents", "1", "abc")
    label, score, scores = answer["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["card", "refund"]}
    assert (score["datatype"], score["shape"]) == ("FP32", [2])
    assert scores["shape"] == [2, 3]
    assert max(scores["data"][:3]) == pytest.approx(score["data"][0])
    only = client.post("/v2/models/intents/infer", json={**body, "outputs": [{"name": "label"}]}).json()
    assert [tensor["name"] for tensor in only["outputs"]] == ["label"]
    rows = {"inputs": [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["card"], ["refund"]]}]}
    assert client.post("/v2/models/intents/versions/1/infer", json=rows).json()["outputs"][0]["data"] == [
        "card",
        "refund",
    ]


def test_metadata_readiness_and_health(client: httpx.Client, host: Host) -> None:
    metadata = client.get("/v2/models/intents").json()
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert metadata["outputs"][2]["parameters"]["labels"] == ["card", "refund", "transfer"]
    assert client.get("/v2/models/intents/ready").json() == {"name": "intents", "ready": True}
    assert client.get("/v2/models/resting/ready").status_code == 503
    assert client.get("/v2/models/intents/versions/9").status_code == 404
    with host.client(token="") as anonymous:
        assert anonymous.get("/v2/health/live").json() == {"live": True}
        assert anonymous.get("/v2/health/ready").json() == {"ready": True}
        assert anonymous.get("/v2").json()["name"] == "tuneyard"


def test_the_callers_request_id_is_kept_when_it_is_a_sane_one(client: httpx.Client) -> None:
    for given_id, kept in (("trace-1.a_b", True), ("bad id", False), ("x" * 65, False)):
        answer = client.post("/predict/intents", json={"inputs": ["card"]}, headers={"x-request-id": given_id})
        assert (answer.json()["request_id"] == given_id) is kept


def test_metrics_are_for_this_machine_or_for_a_keys_own_workspace(host: Host, client: httpx.Client) -> None:
    assert client.post("/predict/intents", json={"inputs": ["card"]}).status_code == 200
    with host.client(token="") as anonymous:
        whole = anonymous.get("/metrics").text
        assert anonymous.get("/metrics", headers={"x-forwarded-for": "8.8.8.8"}).status_code == 401
    assert 'endpoint="intents",revision="1",code="200"' in whole
    assert 'workspace="ws2"' in whole
    own = client.get("/metrics").text
    assert 'endpoint="intents"' in own
    assert "ws2" not in own
    for line in whole.splitlines():
        assert line.startswith("#") or float(line.rsplit(" ", 1)[1]) >= 0


# --- keys ---


@pytest.mark.parametrize("token", ["", "ty_unknown", "ty_expired"])
@pytest.mark.parametrize("path", ["/predict/intents", "/predict/nowhere", "/v2/models/intents/infer"])
def test_without_a_valid_key_nothing_is_told(host: Host, token: str, path: str) -> None:
    with host.client(token) as caller:
        answer = caller.post(path, json={"inputs": ["card"]})
    assert answer.status_code == 401
    assert error(answer)["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_endpoint_of_another_workspace_does_not_exist(host: Host, client: httpx.Client) -> None:
    unknown = error(client.post("/predict/nowhere", json={"inputs": ["card"]}))
    foreign = client.post("/predict/private", json={"inputs": ["card"]})
    assert foreign.status_code == 404
    assert error(foreign)["message"].replace("private", "nowhere") == unknown["message"]
    with host.client(OTHER_TOKEN) as other:
        assert other.post("/predict/private", json={"inputs": ["card"]}).status_code == 200
        assert other.post("/predict/intents", json={"inputs": ["card"]}).status_code == 404


def test_a_caller_cannot_pose_as_the_agent(client: httpx.Client) -> None:
    headers = {"x-tuneyard-workspace": OTHER_WORKSPACE, "x-tuneyard-revision": "9"}
    assert client.post("/predict/private", json={"inputs": ["card"]}, headers=headers).status_code == 404
    assert client.post("/predict/intents", json={"inputs": ["card"]}, headers=headers).json()["revision"] == 1


# --- bad input ---

TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["card"]}

BAD_BODIES: list[tuple[str, bytes, int, str, str]] = [
    ("predict", b"{", 400, "malformed_json", ""),
    ("predict", b"", 400, "malformed_json", ""),
    ("predict", b'{"inputs": ["a"]} trailing', 400, "malformed_json", ""),
    ("predict", b'{"inputs": ["\xff\xfe"]}', 400, "malformed_json", ""),
    ("predict", '{"inputs": ["caf\u00e9"]}'.encode("latin-1"), 400, "malformed_json", ""),
    ("predict", b'{"inputs": ["\\ud800"]}', 400, "malformed_json", ""),
    ("predict", b'{"inputs": [NaN]}', 400, "malformed_json", ""),
    ("predict", b"[" * 5000 + b"]" * 5000, 400, "malformed_json", ""),
    ("predict", b'["a"]', 422, "invalid_input", "body"),
    ("predict", b"null", 422, "invalid_input", "body"),
    ("predict", b"{}", 422, "invalid_input", "inputs"),
    ("predict", b'{"inputs": "a text"}', 422, "invalid_input", "inputs"),
    ("predict", b'{"inputs": []}', 422, "invalid_input", "inputs"),
    ("predict", b'{"inputs": ["a", 7]}', 422, "invalid_input", "inputs[1]"),
    ("predict", b'{"inputs": [null]}', 422, "invalid_input", "inputs[0]"),
    ("predict", b'{"inputs": [["a"]]}', 422, "invalid_input", "inputs[0]"),
    ("predict", b'{"inputs": [true]}', 422, "invalid_input", "inputs[0]"),
    ("predict", b'{"inputs": ["a"], "scores": 1}', 422, "invalid_input", "scores"),
    ("predict", b'{"inputs": ["a"], "temperature": 1}', 422, "invalid_input", "temperature"),
    ("predict", json.dumps({"inputs": ["a"] * 257}).encode(), 422, "invalid_input", "inputs"),
    ("predict", json.dumps({"inputs": ["a"] * 1000}).encode(), 422, "invalid_input", "inputs"),
    ("predict", json.dumps({"inputs": ["{invalid}"]}).encode(), 422, "invalid_input", "inputs"),
    ("predict", json.dumps({"inputs": ["{fail}"]}).encode(), 500, "model_failed", ""),
    ("predict", json.dumps({"inputs": ["x" * 1_000_001]}).encode(), 413, "body_too_large", ""),
    ("predict", json.dumps({"inputs": ["x" * 5_000_000]}).encode(), 413, "body_too_large", ""),
    ("infer", b"{}", 422, "invalid_input", "inputs"),
    ("infer", json.dumps({"inputs": [TENSOR, TENSOR]}).encode(), 422, "invalid_input", "inputs"),
    ("infer", json.dumps({"inputs": [{**TENSOR, "name": "x"}]}).encode(), 422, "invalid_input", "inputs[0].name"),
    (
        "infer",
        json.dumps({"inputs": [{**TENSOR, "datatype": "FP32"}]}).encode(),
        422,
        "invalid_input",
        "inputs[0].datatype",
    ),
    ("infer", json.dumps({"inputs": [{**TENSOR, "shape": [2]}]}).encode(), 422, "invalid_input", "inputs[0].shape"),
    ("infer", json.dumps({"inputs": [{**TENSOR, "shape": []}]}).encode(), 422, "invalid_input", "inputs[0].shape"),
    ("infer", json.dumps({"inputs": [{**TENSOR, "data": "card"}]}).encode(), 422, "invalid_input", "inputs[0].data"),
    ("infer", json.dumps({"inputs": [{**TENSOR, "data": [7]}]}).encode(), 422, "invalid_input", "inputs[0].data[0]"),
    (
        "infer",
        json.dumps({"inputs": [{**TENSOR, "data": [], "shape": [0]}]}).encode(),
        422,
        "invalid_input",
        "inputs[0].data",
    ),
    (
        "infer",
        json.dumps({"inputs": [TENSOR], "outputs": [{"name": "x"}]}).encode(),
        422,
        "invalid_input",
        "outputs[0].name",
    ),
]


@pytest.mark.parametrize(("verb", "body", "status", "code", "field"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_bad_bodies(client: httpx.Client, verb: str, body: bytes, status: int, code: str, field: str) -> None:
    path = "/predict/intents" if verb == "predict" else "/v2/models/intents/infer"
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    problem = error(answer)
    assert problem["code"] == code
    assert list(problem["fields"]) == ([field] if field else [])
    assert problem["hint"]
    # The connection and the endpoint are none the worse.
    assert client.post("/predict/intents", json={"inputs": ["card"]}).status_code == 200


def test_limits_are_the_endpoints_own(client: httpx.Client) -> None:
    assert client.post("/predict/small", json={"inputs": ["a", "b"]}).status_code == 200
    assert client.post("/predict/small", json={"inputs": ["a", "b", "c"]}).status_code == 422
    assert client.post("/predict/small", json={"inputs": ["x" * 200]}).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict/intents", 405),
        ("DELETE", "/v2/models/intents", 405),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/predict/intents", 405),
        ("GET", "/", 404),
        ("POST", "/predict/", 404),
        ("POST", "/predict/intents/extra", 404),
        ("POST", "/predict/%69ntents", 404),
        ("POST", "/predict/" + "x" * 300, 404),
        ("POST", "/predict/resting", 503),
        ("GET", "/v2/models/nowhere", 404),
    ],
)
def test_addresses(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, content=b'{"inputs": ["a"]}')
    assert answer.status_code == status
    error(answer)
    assert "access-control-allow-origin" not in answer.headers
    if status == 405:
        assert answer.headers["allow"]


def test_more_than_the_queue_holds_is_429_with_retry_after(host: Host) -> None:
    async def scenario() -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits, trust_env=False) as caller:
            # One that sleeps holds the queue up; a hundred of them would hold the test up, too.
            body = {"inputs": ["{sleep}"] + ["card"] * 99}
            sent = [asyncio.create_task(caller.post(f"{host.url}/predict/intents", json=body)) for _ in range(40)]
            return list(await asyncio.gather(*sent))

    answers = asyncio.run(scenario())
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["retry-after"] == "1" and error(answer)["code"] == "queue_full" for answer in refused)


# --- HTTP at its edges ---


def raw(host: Host, *pieces: bytes, pause_s: float = 0.0, read_until_closed: bool = True) -> bytes:
    """Send bytes as they are and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        received = b""
        while read_until_closed:
            data = connection.recv(65536)
            if not data:
                break
            received += data
        return received


BODY = b'{"inputs":["refund"]}'
HEAD = b"POST /predict/intents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"
CLOSE = b"connection: close\r\n"


def sized(body: bytes, *, close: bool = False) -> bytes:
    return HEAD + (CLOSE if close else b"") + b"content-length: %d\r\n\r\n" % len(body) + body


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def test_pipelined_requests_are_answered_in_order(host: Host) -> None:
    slow, bad = sized(b'{"inputs":["{sleep} card"]}'), sized(b"{")
    answer = raw(
        host, slow + bad + sized(BODY) * 30 + b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    assert statuses(answer) == [200, 400] + [200] * 31
    assert (
        answer.index(b'"card"') < answer.index(b"malformed_json") < answer.index(b'"refund"') < answer.index(b'"live"')
    )


def test_chunked_bodies_and_bytes_one_by_one(host: Host) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, BODY[i : i + 1]) for i in range(len(BODY))) + b"0\r\n\r\n"
    request = HEAD + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunks
    assert statuses(raw(host, request)) == [200]
    assert statuses(raw(host, *[request[i : i + 1] for i in range(len(request))])) == [200]


def test_a_chunked_body_that_grows_too_large_is_413(host: Host) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = raw(host, HEAD + CLOSE + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 20, b"0\r\n\r\n")
    assert statuses(answer) == [413]


def test_expect_100_continue(host: Host) -> None:
    head = HEAD + CLOSE + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY)
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    too_large = HEAD + b"expect: 100-continue\r\ncontent-length: 2000000\r\n\r\n"
    assert statuses(raw(host, too_large)) == [413]
    no_key = b"POST /predict/intents HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
    assert statuses(raw(host, no_key)) == [401]


def test_a_huge_announced_body_is_refused_before_it_is_sent(host: Host) -> None:
    assert statuses(raw(host, HEAD + b"content-length: 99999999999\r\n\r\n" + b"x" * 100_000)) == [413]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(150)) + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_and_closed(host: Host, request_bytes: bytes, status: int) -> None:
    assert statuses(raw(host, request_bytes)) == [status]


def test_http_1_0_and_upgrades_are_answered_and_closed(host: Host) -> None:
    assert statuses(raw(host, b"GET /v2/health/live HTTP/1.0\r\n\r\n")) == [200]
    upgrade = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert statuses(raw(host, upgrade)) == [200]


def test_what_follows_a_closing_answer_is_not_answered(host: Host) -> None:
    closing = HEAD + CLOSE + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    for follower in (sized(BODY), b"NONSENSE\r\n\r\n", b"GET /v2 HTTP/1.1\r\nexpect: 100-continue\r\n\r\n"):
        assert statuses(raw(host, closing + follower)) == [200]
        no_key = b"GET /v2/models/intents HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert statuses(raw(host, no_key + follower)) == [401]


def test_a_client_that_hangs_up_costs_nothing(host: Host, client: httpx.Client) -> None:
    for piece in (HEAD, sized(BODY)[:-5], sized(b'{"inputs":["{sleep}"]}')):
        raw(host, piece, read_until_closed=False)
    assert client.post("/predict/intents", json={"inputs": ["card"]}).status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from([sized(BODY), HEAD, b"\r\n", b"\r\n\r\n", b"content-length: 3\r\n", b"0\r\n\r\n", BODY]),
        ),
        max_size=6,
    )
)
def test_any_bytes_end_in_answers_and_a_front_that_lives(host: Host, pieces: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while data := connection.recv(65536):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            received = b""
    assert all(status in (200, 400, 401, 404, 405, 414, 422, 431) for status in statuses(received))
    with host.client() as caller:
        assert caller.post("/predict/intents", json={"inputs": ["card"]}).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["inputs", "scores", "x"]), inner, max_size=3)
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_any_json_ends_in_an_answer_of_known_shape(client: httpx.Client, body: Any) -> None:
    try:
        content = json.dumps(body).encode()
    except UnicodeEncodeError:
        return
    answer = client.post("/predict/intents", content=content)
    if answer.status_code == 200:
        assert len(answer.json()["outputs"]) == len(body["inputs"])
    else:
        assert answer.status_code in (400, 422), answer.text
        error(answer)


def test_the_log_has_no_traceback(host: Host) -> None:
    """Last, after all the above: nothing that a caller sends may be unexpected."""
    log = Path(host.paths.logs / "front.log").read_text()
    assert "Traceback" not in log, log[-3000:]
