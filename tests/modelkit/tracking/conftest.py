"""A version published to a real MLflow server, as the platform publishes it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.apps.registry.conftest import mlflow_uri as mlflow_uri
from tests.tiny.run import Trained

NAME = "default.intents"


@dataclass(frozen=True)
class Published:
    """Where a version lies, what it was called, and the bundle that was published."""

    tracking_uri: str
    model_uri: str
    bundle: Path


@pytest.fixture(scope="session", autouse=True)
def _mlflow_imported() -> None:
    """MLflow warns of its own classes when its parts are imported, which they are on first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mlflow.pyfunc")


@pytest.fixture(scope="module")
def published(mlflow_uri: str, instant: Trained) -> Iterator[Published]:
    import mlflow

    from modelkit.tracking.mlflow import MlflowSink

    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    try:
        sink = MlflowSink(mlflow_uri)
        run = sink.run_open(group="default/intents", key="job", title="intents", params={}, tags={})
        bundle = instant.outcome.bundle
        number = sink.version_publish(run_id=run, key="job", name=NAME, bundle=bundle, inputs=["text"], tags={})
        sink.run_close(run, "finished")
        yield Published(mlflow_uri, f"models:/{NAME}/{number}", bundle)
    finally:
        mlflow.set_tracking_uri(tracking)
        mlflow.set_registry_uri(registry)
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            del os.environ[name]
        os.environ.update(before)
