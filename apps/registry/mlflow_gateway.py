"""The one web file that knows MLflow: its REST interface over httpx, short timeouts, one error type.

Does not import `mlflow`. A caller that can live without an answer catches `MlflowUnavailable` and says so on its page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from django.conf import settings

from apps.core.http import inner_client

#: Where the pyfunc model keeps our bundle, relative to the model's artifacts.
BUNDLE_PATH = "artifacts/bundle"

_TIMEOUT = httpx.Timeout(5.0, connect=1.0)
_DOWNLOAD_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
_BLOCK = 1 << 20


class MlflowUnavailable(Exception):
    """MLflow cannot be reached, or failed; trying again later may help."""


class MlflowNotFound(MlflowUnavailable):
    """MLflow answers, but does not know what was asked for."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as MLflow's registry knows it."""

    name: str
    version: int
    run_id: str
    status: str
    tags: dict[str, str]


def registered_name(workspace: str, name: str) -> str:
    """The name in MLflow of the model `name` in the workspace with the slug `workspace`."""
    return f"{workspace}.{name}"


def run_url(experiment_id: str, run_id: str) -> str:
    """The address of a run's page in MLflow's own interface."""
    return f"{settings.MLFLOW_TRACKING_URI.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def version_url(name: str, version: int) -> str:
    """The address of a registered version's page in MLflow's own interface."""
    return f"{settings.MLFLOW_TRACKING_URI.rstrip('/')}/#/models/{name}/versions/{version}"


def is_up(*, timeout_s: float = 0.5) -> bool:
    """Whether MLflow answers its health check in time."""
    try:
        response = inner_client().get(f"{settings.MLFLOW_TRACKING_URI.rstrip('/')}/health", timeout=timeout_s)
    except httpx.HTTPError:
        return False
    return response.status_code == 200


def run_get(run_id: str) -> dict[str, Any]:
    """The run `run_id`: `info` and `data` as MLflow gives them."""
    run: dict[str, Any] = _call("GET", "runs/get", query={"run_id": run_id})["run"]
    return run


def experiments() -> dict[str, str]:
    """Names of the experiments by their id."""
    found = _call("POST", "experiments/search", body={"max_results": 1000}).get("experiments", [])
    return {entry["experiment_id"]: entry["name"] for entry in found}


def version_get(name: str, version: int) -> RegisteredVersion:
    """The registered version; raises MlflowNotFound."""
    answer = _call("GET", "model-versions/get", query={"name": name, "version": str(version)})
    return _registered_version(answer["model_version"])


def versions(name: str) -> list[RegisteredVersion]:
    """The registered versions of a model, newest first."""
    quoted = name.replace("'", "''")
    query = {"filter": f"name='{quoted}'", "max_results": "1000", "order_by": "version_number DESC"}
    found = _call("GET", "model-versions/search", query=query).get("model_versions", [])
    return [_registered_version(entry) for entry in found]


def aliases(name: str) -> dict[str, int]:
    """Version numbers by alias; raises MlflowNotFound for an unknown model."""
    model = _call("GET", "registered-models/get", query={"name": name})["registered_model"]
    return {entry["alias"]: int(entry["version"]) for entry in model.get("aliases", ())}


def alias_set(name: str, alias: str, version: int) -> None:
    """Point `alias` at `version`, wherever it pointed before."""
    _call("POST", "registered-models/alias", body={"name": name, "alias": alias, "version": str(version)})


def alias_delete(name: str, alias: str) -> None:
    """Remove `alias`; it is no error if it, or the model, is not there."""
    with contextlib.suppress(MlflowNotFound):
        _call("DELETE", "registered-models/alias", body={"name": name, "alias": alias})


def version_delete(name: str, version: int) -> None:
    """Delete a registered version; it is no error if it is not there."""
    with contextlib.suppress(MlflowNotFound):
        _call("DELETE", "model-versions/delete", body={"name": name, "version": str(version)})


def model_delete(name: str) -> None:
    """Delete a registered model with all its versions; it is no error if it is not there."""
    with contextlib.suppress(MlflowNotFound):
        _call("DELETE", "registered-models/delete", body={"name": name})


def artifact_download(name: str, version: int, path: str, target: Path) -> None:
    """Stream the file `path` of a registered version's artifacts to `target`, which is replaced."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise MlflowNotFound(f"{path} is not a path inside the model.")
    query = {"name": name, "version": str(version), "path": path}
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        _errors(),
        _client(_DOWNLOAD_TIMEOUT) as client,
        client.stream("GET", "/model-versions/get-artifact", params=query) as response,
    ):
        if response.status_code != 200:
            response.read()
            raise _failure(response)
        with target.open("wb") as file:
            for block in response.iter_bytes(_BLOCK):
                file.write(block)


def _registered_version(entry: dict[str, Any]) -> RegisteredVersion:
    return RegisteredVersion(
        name=entry["name"],
        version=int(entry["version"]),
        run_id=entry.get("run_id", ""),
        status=entry.get("status", ""),
        tags={tag["key"]: tag.get("value", "") for tag in entry.get("tags", ())},
    )


def _client(timeout: httpx.Timeout) -> httpx.Client:
    # trust_env off: a proxy meant for the internet must not swallow calls to our own server.
    return httpx.Client(base_url=settings.MLFLOW_TRACKING_URI.rstrip("/"), timeout=timeout, trust_env=False)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise MlflowUnavailable(f"MLflow does not answer: {error}") from error


def _call(
    method: str, path: str, *, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    with _errors(), _client(_TIMEOUT) as client:
        response = client.request(method, f"/api/2.0/mlflow/{path}", params=query, json=body)
    if response.status_code != 200:
        raise _failure(response)
    answer: dict[str, Any] = response.json()
    return answer


def _failure(response: httpx.Response) -> MlflowUnavailable:
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    code, message = answer.get("error_code", ""), answer.get("message", response.reason_phrase)
    missing = code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"} or response.status_code == 404
    kind = MlflowNotFound if missing else MlflowUnavailable
    return kind(f"MLflow answered {response.status_code}: {message}")
