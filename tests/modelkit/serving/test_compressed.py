"""Compressed bodies and answers on a real front: read whole or refused by name, and never more than the limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkit.serving.front import coding
from tests.modelkit.serving.toys import Host, make_bundle, revision, running

BODY = json.dumps({"inputs": ["refund refund"]}).encode()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("compressed")
    make_bundle(folder / "first")
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first")),
            running("large", revision(1, folder / "first"), max_bytes=64_000_000, max_batch=4096),
        )
        running_host.wait_for("intents", "live")
        running_host.wait_for("large", "live")
        yield running_host


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[httpx.Client]:
    with host.client() as opened:
        opened.headers.pop("accept-encoding", None)
        yield opened


def post(client: httpx.Client, content: bytes, name: str, *, coded: str) -> httpx.Response:
    return client.post(f"/predict/{name}", content=content, headers={"content-encoding": coded})


@pytest.mark.parametrize(
    ("packed", "coded"),
    [
        pytest.param(gzip.compress(BODY), "gzip", id="gzip"),
        pytest.param(gzip.compress(BODY), "GZIP", id="upper-case"),
        pytest.param(gzip.compress(BODY), "x-gzip", id="x-gzip"),
        pytest.param(zlib.compress(BODY), "deflate", id="deflate"),
        pytest.param(BODY, "identity", id="identity"),
    ],
)
def test_a_body_is_read_in_each_coding(client: httpx.Client, packed: bytes, coded: str) -> None:
    answer = post(client, packed, "intents", coded=coded)
    assert (answer.status_code, answer.json()["outputs"][0]["label"]) == (200, "refund")


@pytest.mark.parametrize(
    ("packed", "coded", "status", "code"),
    [
        pytest.param(b"", "gzip", 400, "damaged_body", id="nothing"),
        pytest.param(b"\x1f\x8b", "gzip", 400, "damaged_body", id="two-bytes"),
        pytest.param(BODY, "gzip", 400, "damaged_body", id="not-packed"),
        pytest.param(gzip.compress(BODY)[:-1], "gzip", 400, "damaged_body", id="cut"),
        pytest.param(gzip.compress(BODY)[:-8] + b"\0" * 8, "gzip", 400, "damaged_body", id="wrong-checksum"),
        pytest.param(gzip.compress(BODY) + b"x", "gzip", 400, "damaged_body", id="more-after-it"),
        pytest.param(gzip.compress(BODY) * 2, "gzip", 400, "damaged_body", id="twice"),
        pytest.param(gzip.compress(BODY), "deflate", 400, "damaged_body", id="another-coding"),
        pytest.param(gzip.compress(b"{"), "gzip", 400, "malformed_json", id="half-a-json"),
        pytest.param(gzip.compress(b" " * 1_000_001), "gzip", 413, "body_too_large", id="large"),
        pytest.param(gzip.compress(b" " * 100_000_000), "gzip", 413, "body_too_large", id="bomb"),
        pytest.param(BODY, "br", 415, "unsupported_encoding", id="unknown-coding"),
        pytest.param(gzip.compress(BODY), "gzip, gzip", 415, "unsupported_encoding", id="two-codings"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_by_name(
    client: httpx.Client, packed: bytes, coded: str, status: int, code: str
) -> None:
    answer = post(client, packed, "intents", coded=coded)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["hint"]
    assert post(client, gzip.compress(BODY), "intents", coded="gzip").status_code == 200


def test_a_large_body_is_unpacked_beside_the_loop(client: httpx.Client) -> None:
    body = json.dumps({"inputs": ["refund " + "x" * 500] * 4000}).encode()
    assert not coding.is_quick(len(gzip.compress(body)), 64_000_000)
    answer = post(client, gzip.compress(body), "large", coded="gzip")
    assert [row["label"] for row in answer.json()["outputs"]] == ["refund"] * 4000
    bomb = gzip.compress(b" " * 64_000_001)
    assert post(client, bomb, "large", coded="gzip").status_code == 413


def test_without_a_key_nothing_is_unpacked(host: Host) -> None:
    with host.client(token="") as anonymous:
        assert post(anonymous, b"damaged", "intents", coded="gzip").status_code == 401


@pytest.mark.parametrize("count", [100, 4000])
@pytest.mark.parametrize(("accepts", "coded"), [("gzip", "gzip"), ("deflate", "deflate"), ("br, gzip;q=0.5", "gzip")])
def test_a_large_answer_is_compressed_on_request(client: httpx.Client, count: int, accepts: str, coded: str) -> None:
    body = {"inputs": ["refund"] * count, "scores": True}
    plain = client.post("/predict/large", json=body)
    assert "content-encoding" not in plain.headers
    packed = client.post("/predict/large", json=body, headers={"accept-encoding": accepts})
    assert packed.headers["content-encoding"] == coded
    assert packed.headers["vary"] == "accept-encoding"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) // 4
    assert packed.json()["outputs"] == plain.json()["outputs"]


@pytest.mark.parametrize(
    ("accepts", "count"), [("gzip", 1), ("gzip;q=0", 200), ("br", 200), ("", 200), ("gzip;q=nonsense", 200)]
)
def test_small_answers_and_unwilling_callers_get_plain_ones(client: httpx.Client, accepts: str, count: int) -> None:
    answer = client.post("/predict/large", json={"inputs": ["refund"] * count}, headers={"accept-encoding": accepts})
    assert "content-encoding" not in answer.headers
    assert len(answer.json()["outputs"]) == count


def test_the_log_has_no_traceback(host: Host) -> None:
    """Last, after all the above."""
    assert "Traceback" not in (host.paths.logs / "front.log").read_text()


# --- any bytes ---


@given(st.binary(max_size=5000), st.sampled_from([b"gzip", b"deflate"]))
def test_what_was_packed_comes_back(body: bytes, coded: bytes) -> None:
    assert coding.inflate(coding.deflate(body, coded), coded, len(body)) == body


@given(st.binary(max_size=500), st.integers(0, 400), st.sampled_from([b"gzip", b"deflate"]), st.data())
def test_damage_is_found_and_the_limit_held(body: bytes, limit: int, coded: bytes, data: Any) -> None:
    packed = bytearray(coding.deflate(body, coded))
    for _ in range(data.draw(st.integers(0, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(0, 255))
    try:
        assert len(coding.inflate(bytes(packed), coded, limit)) <= limit
    except (coding.Damaged, coding.TooLarge):
        assert bytes(packed) != coding.deflate(body, coded) or len(body) > limit


@given(st.binary(max_size=60))
def test_any_accept_encoding_is_understood_or_ignored(header: bytes) -> None:
    assert coding.accepted(header) in (None, b"gzip", b"deflate")
