"""`/v1/embeddings` and `/v1/models` on a real front and runner, in the form of OpenAI's API."""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.modelkit.serving.toys import OTHER_TOKEN, OTHER_WORKSPACE, Host, make_bundle, revision, running, stopped


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("embeddings")
    make_bundle(folder / "first")
    make_bundle(folder / "old", embedding_width=0)
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first")),
            running("small", revision(1, folder / "first"), max_batch=2, max_bytes=100),
            running("old", revision(1, folder / "old")),
            running("private", revision(1, folder / "first"), workspace=OTHER_WORKSPACE),
            stopped("resting", revision(1, folder / "first")),
        )
        for name in ("intents", "small", "old"):
            running_host.wait_for(name, "live")
        running_host.wait_for("private", "live", workspace=OTHER_WORKSPACE)
        yield running_host


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[httpx.Client]:
    with host.client() as opened:
        yield opened


def embed(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/embeddings", json={"model": "intents", "input": "refund", **body})


def test_a_list_of_texts_becomes_unit_vectors_in_order(client: httpx.Client) -> None:
    answer = embed(client, input=["card", "refund refund", "transfer"]).json()
    assert (answer["object"], answer["model"], answer["revision"]) == ("list", "intents@1", 1)
    assert answer["request_id"]
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert [(row["object"], row["index"]) for row in answer["data"]] == [("embedding", i) for i in range(3)]
    vectors = [row["embedding"] for row in answer["data"]]
    assert [vector.index(max(vector)) for vector in vectors] == [0, 1, 2]
    assert all(math.hypot(*vector) == pytest.approx(1.0) for vector in vectors)


def test_one_text_and_base64_are_the_same_numbers(client: httpx.Client) -> None:
    (row,) = embed(client, user="somebody", dimensions=3).json()["data"]
    (packed,) = embed(client, encoding_format="base64").json()["data"]
    assert struct.unpack("<3f", b64decode(packed["embedding"])) == pytest.approx(row["embedding"])


def test_more_texts_than_a_batch_holds_keep_their_order(client: httpx.Client) -> None:
    rows = embed(client, input=["card", "refund", "transfer"] * 80).json()["data"]
    assert [row["index"] for row in rows] == list(range(240))
    assert [row["embedding"].index(max(row["embedding"])) for row in rows] == [0, 1, 2] * 80


def test_predictions_and_embeddings_do_not_mix(client: httpx.Client) -> None:
    assert client.post("/predict/intents", json={"inputs": ["card"]}).json()["outputs"][0]["label"] == "card"
    assert len(embed(client).json()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"model": "nowhere"}, 404, ""),
        ({"model": "private"}, 404, ""),
        ({"model": "resting"}, 503, ""),
        ({"model": "old"}, 422, "model"),
        ({"model": None}, 422, "model"),
        ({"input": []}, 422, "input"),
        ({"input": None}, 422, "input"),
        ({"input": {"text": "a"}}, 422, "input"),
        ({"input": [1, 2, 3]}, 422, "input"),
        ({"input": [[1, 2], [3]]}, 422, "input"),
        ({"input": ["a", 7]}, 422, "input[1]"),
        ({"input": ["{invalid}"]}, 422, "input"),
        ({"input": ["{fail}"]}, 500, ""),
        ({"input": ["a"] * 257}, 422, "input"),
        ({"encoding_format": "int8"}, 422, "encoding_format"),
        ({"encoding_format": []}, 422, "encoding_format"),
        ({"dimensions": 2}, 422, "dimensions"),
        ({"temperature": 1}, 422, "temperature"),
        ({"model": "small", "input": ["x" * 200]}, 413, ""),
        ({"model": "small", "input": ["a", "b", "c"]}, 422, "input"),
    ],
)
def test_what_is_refused(client: httpx.Client, body: dict[str, Any], status: int, field: str) -> None:
    answer = embed(client, **body)
    assert answer.status_code == status, answer.text
    problem = answer.json()["error"]
    assert set(problem) == {"code", "message", "fields", "hint", "request_id"}
    assert list(problem["fields"]) == ([field] if field else [])
    assert problem["hint"]
    assert embed(client).status_code == 200


def test_the_remedy_for_a_model_without_embeddings_is_told(client: httpx.Client) -> None:
    assert "Train the model again" in embed(client, model="old").json()["error"]["hint"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_what_is_no_json(client: httpx.Client, content: bytes) -> None:
    assert client.post("/v1/embeddings", content=content).json()["error"]["code"] == "malformed_json"


def test_a_key_is_needed_and_opens_its_own_workspace_only(host: Host) -> None:
    with host.client(token="") as anonymous:
        assert embed(anonymous).status_code == 401
        assert anonymous.get("/v1/models").status_code == 401
    with host.client(OTHER_TOKEN) as other:
        assert embed(other).status_code == 404
        assert [row["id"] for row in other.get("/v1/models").json()["data"]] == ["private"]


def test_models_are_listed(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == ["intents", "old", "small"]
    assert listed["data"][0] == {"id": "intents", "object": "model", "created": 1767225600, "owned_by": "intents@1"}
    assert client.get("/v1/models/intents").json() == listed["data"][0]
    assert client.get("/v1/models/nowhere").status_code == 404
    assert client.get("/v1/models/resting").status_code == 503
    assert client.post("/v1/models").status_code == 405
    assert client.get("/v1/embeddings").status_code == 405


def test_embeddings_are_counted(host: Host, client: httpx.Client) -> None:
    embed(client)
    with host.client(token="") as anonymous:
        assert 'endpoint="intents",revision="1",code="500"' in anonymous.get("/metrics").text


def test_the_log_has_no_traceback(host: Host) -> None:
    """Last, after all the above."""
    assert "Traceback" not in (host.paths.logs / "front.log").read_text()
