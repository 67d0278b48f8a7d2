"""The gateway and the bundle cache against a real MLflow server, with a version logged by MLflow's own client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import Conflict
from apps.registry import bundles, mlflow_gateway, selectors, services
from apps.registry.models import ModelVersion, RegisteredModel
from tests.apps.registry.factory import bundle_make, version_make
from tests.personas import Team

CODE = """
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input

mlflow.models.set_model(Model())
"""


@pytest.fixture
def mlflow(mlflow_uri: str, settings: Any) -> Iterator[Any]:
    settings.MLFLOW_TRACKING_URI = mlflow_uri
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_uri)
    yield mlflow
    # The client keeps it for the whole process, hence for the next test.
    mlflow.set_tracking_uri(before)


def register(mlflow: Any, name: str, bundle: Path, folder: Path) -> tuple[int, str]:
    """Log a pyfunc model with the bundle inside and register it, as publishing does."""
    code = folder / "model.py"
    code.write_text(CODE)
    known = mlflow.get_experiment_by_name("tests")
    experiment = known.experiment_id if known else mlflow.create_experiment("tests")
    with mlflow.start_run(experiment_id=experiment) as run:
        info = mlflow.pyfunc.log_model(
            name="model", python_model=str(code), artifacts={"bundle": str(bundle)}, pip_requirements=["mlflow"]
        )
    version = mlflow.register_model(info.model_uri, name)
    return int(version.version), run.info.run_id


def published(team: Team, mlflow: Any, folder: Path, number: int) -> ModelVersion:
    """A version that is both here and in MLflow, in that order of numbers."""
    content = f"bank/intents/{number}"
    staging = folder / str(number) / "bundle"
    bundle_make(staging, content=content)
    registered, _run = register(mlflow, f"{team.workspace.name}.intents", staging, folder)
    assert registered == number
    return version_make(team.workspace, number=number, content=content)


@pytest.mark.django_db
def test_versions_here_and_in_mlflow_stay_together(team: Team, mlflow: Any, tmp_path: Path, settings: Any) -> None:
    first = published(team, mlflow, tmp_path, 1)
    second = published(team, mlflow, tmp_path, 2)
    name = mlflow_gateway.registered_name("bank", "intents")

    # Runs, experiments and versions are read.
    versions = mlflow_gateway.versions(name)
    assert [row.version for row in versions] == [2, 1]
    assert mlflow_gateway.aliases(name) == {"champion": 1}
    run = mlflow_gateway.run_get(versions[0].run_id)
    assert mlflow_gateway.experiments()[run["info"]["experiment_id"]] == "tests"
    with pytest.raises(mlflow_gateway.MlflowNotFound):
        mlflow_gateway.version_get(name, 99)

    # Aliases follow ours, also after one was moved behind our back.
    services.alias_set(by=team.maintainer.identity, version=second, alias="champion")
    assert mlflow.MlflowClient().get_model_version_by_alias(name, "champion").version == "2"
    mlflow.MlflowClient().set_registered_model_alias(name, "stray", "1")
    mlflow.MlflowClient().delete_registered_model_alias(name, "champion")
    assert services.aliases_mirror_all() == 0
    assert mlflow_gateway.aliases(name) == {"champion": 2}

    # One that was set while MLflow was down arrives once it is up.
    uri, settings.MLFLOW_TRACKING_URI = settings.MLFLOW_TRACKING_URI, "http://127.0.0.1:9"
    services.alias_set(by=team.maintainer.identity, version=first, alias="challenger")
    services.aliases_mirror_due()
    settings.MLFLOW_TRACKING_URI = uri
    assert mlflow_gateway.aliases(name) == {"champion": 2}
    services.aliases_mirror_due()
    assert mlflow_gateway.aliases(name) == {"champion": 2, "challenger": 1}
    services.alias_delete(by=team.maintainer.identity, model=first.model, alias="challenger")

    # A bundle that is absent or damaged here comes back whole.
    folder = bundles.bundle_ensure_local(first)
    shutil.rmtree(folder)
    assert (bundles.bundle_ensure_local(first) / "model.onnx").read_text() == "bank/intents/1"
    (folder / "tokenizer" / "tokenizer.json").write_text("spoilt")
    assert (bundles.bundle_ensure_local(first) / "tokenizer" / "tokenizer.json").read_text() == "{}"
    assert [path.name for path in settings.BUNDLES_DIR.iterdir() if path.name.startswith(".")] == []

    # Deleting goes through to MLflow, and the local copy goes too.
    services.version_delete(by=team.maintainer.identity, version=first)
    assert not folder.exists()
    assert [row.version for row in mlflow_gateway.versions(name)] == [2]
    services.model_delete(by=team.maintainer.identity, model=RegisteredModel.objects.get())
    assert mlflow_gateway.versions(name) == []
    assert list(selectors.models_of(team.workspace)) == []


@pytest.mark.django_db
def test_a_bundle_that_is_nowhere_whole_is_said_lost(team: Team, mlflow: Any, settings: Any) -> None:
    version = version_make(team.workspace, name="orphan")
    shutil.rmtree(settings.BUNDLES_DIR / version.bundle_digest)
    with pytest.raises(Conflict) as caught:
        bundles.bundle_ensure_local(version)
    assert caught.value.code == "bundle_damaged"


def test_down_is_one_error(settings: Any) -> None:
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    assert not mlflow_gateway.is_up()
    for call in (mlflow_gateway.experiments, lambda: mlflow_gateway.versions("a"), lambda: mlflow_gateway.run_get("b")):
        with pytest.raises(mlflow_gateway.MlflowUnavailable):
            call()


def test_a_path_out_of_the_model_is_refused(tmp_path: Path) -> None:
    for path in ("../secret", "/etc/passwd", "a/../../b"):
        with pytest.raises(mlflow_gateway.MlflowNotFound):
            mlflow_gateway.artifact_download("a", 1, path, tmp_path / "x")
