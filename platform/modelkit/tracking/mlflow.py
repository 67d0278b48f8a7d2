"""MLflow behind the sink contract: the one file that knows MLflow's client. Heavy (imports mlflow on first use).

Published versions open with plain `mlflow.pyfunc.load_model` where Tuneyard is not installed: the model is one
self-contained file (`pyfunc_model.py`, models-from-code) beside the bundle, never a pickle.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from modelkit.bundle import read
from modelkit.tracking.sink import Point, RunForgotten, SinkRefused, SinkUnavailable

KEY_TAG = "tuneyard.key"
MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
#: All that a stranger's environment needs.
REQUIREMENTS = ("mlflow", "onnxruntime", "tokenizers", "numpy")
#: MLflow takes at most 1000 metrics, 100 params and 100 tags in one batch; a param's value holds 6000 characters.
BATCH_POINTS, BATCH_PARAMS, PARAM_LENGTH = 1000, 100, 6000

#: Answers that repeating cannot change.
FINAL_CODES = {"INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "BAD_REQUEST", "UNAUTHENTICATED", "INVALID_STATE"}

logger = logging.getLogger(__name__)


class MlflowSink:
    """Talks to the tracking server at `uri`. One instance per process; not for several threads at once."""

    def __init__(self, uri: str) -> None:
        # An outage must be noticed in seconds: the caller repeats with a back-off of its own.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        import mlflow
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self._mlflow = mlflow
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def run_open(self, *, group: str, key: str, title: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        with _errors():
            experiment = self._experiment(group)
            found = self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{_quoted(key)}'", max_results=1)
            if found:
                run_id: str = found[0].info.run_id
                if found[0].info.status != "RUNNING":
                    self._client.update_run(run_id, status="RUNNING")
            else:
                run = self._client.create_run(experiment, tags={**tags, KEY_TAG: key}, run_name=title)
                run_id = run.info.run_id
            if not found or len(found[0].data.params) < len(params):
                entries = [Param(name, value[:PARAM_LENGTH]) for name, value in params.items()]
                for start in range(0, len(entries), BATCH_PARAMS):
                    self._client.log_batch(run_id, params=entries[start : start + BATCH_PARAMS])
        return run_id

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._client.get_experiment_by_name(name)
        if found is None:
            raise SinkUnavailable(f"The experiment {name} vanished while it was made.")
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def points_log(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        with _errors():
            for start in range(0, len(points), BATCH_POINTS):
                batch = points[start : start + BATCH_POINTS]
                metrics = [Metric(point.name, point.value, point.time_ms, point.step) for point in batch]
                self._client.log_batch(run_id, metrics=metrics)

    def run_close(self, run_id: str, status: Literal["finished", "failed", "killed"]) -> None:
        with _errors():
            self._client.set_terminated(run_id, status=status.upper())

    def version_publish(
        self, *, run_id: str, key: str, name: str, bundle: Path, inputs: Sequence[str], tags: Mapping[str, str]
    ) -> int:
        from mlflow.exceptions import MlflowException

        with _errors():
            number = self._version_of(name, run_id, key)
            if number is not None:
                return number
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            model_id, source = self._log_model(run_id, bundle, inputs)
            made = self._client.create_model_version(
                name, source, run_id=run_id, tags={**tags, KEY_TAG: key}, model_id=model_id, await_creation_for=60
            )
            return int(made.version)

    def _version_of(self, name: str, run_id: str, key: str) -> int | None:
        """The version that an earlier, interrupted publishing of `key` has made."""
        for version in self._client.search_model_versions(f"name = '{_quoted(name)}'", max_results=1000):
            if version.run_id == run_id and version.tags.get(KEY_TAG) == key:
                return int(version.version)
        return None

    def _log_model(self, run_id: str, bundle: Path, inputs: Sequence[str]) -> tuple[str, str]:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        signature = ModelSignature(
            inputs=Schema([ColSpec("string", name) for name in inputs]),
            outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
        )
        # MLflow stores the paths it was given: from a neutral folder they tell nothing of this installation.
        with tempfile.TemporaryDirectory(prefix="publish-") as neutral:
            code = shutil.copyfile(MODEL_CODE, Path(neutral) / "model.py")
            self._mlflow.start_run(run_id=run_id)
            try:
                info = self._mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(code),
                    artifacts={"bundle": str(bundle)},
                    signature=signature,
                    input_example=_example(bundle, inputs),
                    pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS],
                )
            finally:
                # Only this thread's stack of active runs: the run itself goes on until it is closed.
                self._mlflow.end_run("RUNNING")
        return info.model_id, info.model_uri


def warm_up() -> None:
    """Import mlflow now, so that the first publishing does not wait for it."""
    import mlflow.pyfunc  # noqa: F401


def _example(bundle: Path, inputs: Sequence[str]) -> Any:
    """The bundle's own example of a request as the DataFrame that the signature describes; None if it is no table."""
    import pandas as pd

    rows = read(bundle).request_example.get("inputs")
    if not rows:
        return None
    frame = pd.DataFrame(rows) if isinstance(rows[0], dict) else pd.DataFrame({inputs[0]: rows})
    return frame if list(frame.columns) == list(inputs) else None


def _quoted(text: str) -> str:
    return text.replace("'", "")


@contextmanager
def _errors() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except MlflowException as error:
        if error.error_code in FINAL_CODES:
            raise SinkRefused(str(error)) from error
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RunForgotten(_short(error)) from error
        raise SinkUnavailable(_short(error)) from error
    except (RequestException, ConnectionError, TimeoutError) as error:
        raise SinkUnavailable(_short(error)) from error


def _short(error: Any) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
