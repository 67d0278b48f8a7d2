"""The OpenAPI document of an endpoint: valid, its own, and true of what the endpoint answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from modelkit.serving import document
from modelkit.serving.plan import Limits, RouteRevision
from tests.modelkit.serving.toys import LABELS, OTHER_TOKEN, Host, make_bundle, revision, running, stopped


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("document")
    make_bundle(folder / "first")
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first"), max_batch=7),
            stopped("resting", revision(1, folder / "first")),
        )
        running_host.wait_for("intents", "live")
        yield running_host


@pytest.fixture
def told(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/openapi/intents.json")
    assert answer.status_code == 200
    return dict(answer.json())


def schema(told: dict[str, Any], path: str, part: str) -> Draft202012Validator:
    operation = told["paths"][path]["post"]
    content = operation["requestBody"] if part == "body" else operation["responses"][part]
    return Draft202012Validator({**content["content"]["application/json"]["schema"], "components": told["components"]})


def test_it_is_a_valid_document(told: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(told).iter_errors()) == []


def test_it_is_this_endpoints_own(told: dict[str, Any]) -> None:
    assert set(told["paths"]) == {
        "/predict/intents",
        "/v2/models/intents/infer",
        "/v2/models/intents",
        "/v1/embeddings",
    }
    body = told["paths"]["/predict/intents"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == {"inputs": ["refund please"]}
    assert body["schema"]["properties"]["inputs"]["maxItems"] == 7
    assert told["components"]["schemas"]["Answer"]["properties"]["label"]["enum"] == LABELS
    assert told["security"] == [{"token": []}]


@pytest.mark.parametrize("path", ["/predict/intents", "/v2/models/intents/infer", "/v1/embeddings"])
def test_its_examples_are_answered_as_it_says(client: httpx.Client, told: dict[str, Any], path: str) -> None:
    example = told["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    schema(told, path, "body").validate(example)
    answer = client.post(path, json=example)
    assert answer.status_code == 200
    schema(told, path, "200").validate(answer.json())
    refused = client.post(path, json={**example, "inputs": [], "input": []})
    assert refused.status_code == 422
    schema(told, path, "422").validate(refused.json())
    assert not schema(told, path, "body").is_valid({"inputs": "text"})


def test_scores_are_described(client: httpx.Client, told: dict[str, Any]) -> None:
    answer = client.post("/predict/intents", json={"inputs": ["card"], "scores": True}).json()
    described = schema(told, "/predict/intents", "200")
    assert answer["outputs"][0]["scores"].keys() == set(LABELS)
    assert described.is_valid(answer)
    answer["outputs"][0]["scores"]["card"] = "high"
    assert not described.is_valid(answer)


def test_who_may_not_see_it(host: Host, client: httpx.Client) -> None:
    assert client.get("/openapi/nowhere.json").status_code == 404
    assert client.get("/openapi/resting.json").status_code == 503
    assert client.post("/openapi/intents.json").status_code == 405
    for token, status in (("", 401), (OTHER_TOKEN, 404)):
        with host.client(token) as other:
            assert other.get("/openapi/intents.json").status_code == status


def test_a_model_of_another_kind_is_described_without_tensors() -> None:
    told = document.of(
        "prices",
        RouteRevision(
            number=3, model="prices@3", sockets=(), weight=100, input_kind="object", request_example={"inputs": [{}]}
        ),
        Limits(),
    )
    OpenAPIV31SpecValidator(told).validate()
    assert set(told["paths"]) == {"/predict/prices"}
