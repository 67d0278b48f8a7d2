"""A published version where only mlflow, onnxruntime, tokenizers and numpy are installed, and nothing of ours."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit.evaluation.parity import open_predictor
from modelkit.tracking.mlflow import REQUIREMENTS
from tests.e2e.conftest import free_port
from tests.modelkit.launching import wait_for
from tests.modelkit.tracking.conftest import Published

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TEXTS = ["parcel late", "订 单", "reset my password"]

_OPEN = """
import importlib.util, json, sys, warnings
foreign = [name for name in ("modelkit", "tuneyard", "torch", "transformers") if importlib.util.find_spec(name)]
import mlflow.pyfunc, pandas
# MLflow warns of its own types when it is imported; of ours it has to be silent.
warnings.simplefilter("error", UserWarning)
model = mlflow.pyfunc.load_model(sys.argv[1])
answers = model.predict(pandas.DataFrame({"text": json.loads(sys.argv[2])}))
print(json.dumps({"foreign": foreign, "labels": list(answers["label"]), "scores": list(answers["score"])}))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new virtual environment with the four packages, in the versions that we publish with."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS]
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *wanted]
    installed = subprocess.run(command, env=_bare(), capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"the packages cannot be had here: {installed.stderr.strip().splitlines()[-1:]}")
    return folder / "bin"


def _bare(**more: str) -> dict[str, str]:
    """This environment without what would lead to our code or our interpreter."""
    ours = ("PYTHON", "DJANGO_", "TUNEYARD_", "VIRTUAL_ENV", "MLFLOW_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


def test_plain_mlflow_opens_it_with_the_same_labels(fresh: Path, published: Published, tmp_path: Path) -> None:
    answer = subprocess.run(
        [str(fresh / "python"), "-c", _OPEN, published.model_uri, json.dumps(TEXTS)],
        env=_bare(MLFLOW_TRACKING_URI=published.tracking_uri),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    given = json.loads(answer.stdout.splitlines()[-1])
    assert given["foreign"] == []
    expected = open_predictor(published.bundle).predict(TEXTS)
    assert given["labels"] == [item["label"] for item in expected]
    assert given["scores"] == pytest.approx([item["score"] for item in expected], abs=1e-5)


def test_mlflow_serves_it(fresh: Path, published: Published, tmp_path: Path) -> None:
    import httpx

    port = free_port()
    path = f"{fresh}{os.pathsep}{os.environ['PATH']}"
    command = [str(fresh / "mlflow"), "models", "serve", "--env-manager", "local", "--model-uri", published.model_uri]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            env=_bare(MLFLOW_TRACKING_URI=published.tracking_uri, PATH=path),
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as server,
    ):
        address = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                return httpx.get(f"{address}/ping", timeout=5, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        try:
            wait_for(answers, timeout_s=240, what="mlflow models serve")
            body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}}
            response = httpx.post(f"{address}/invocations", json=body, timeout=60, trust_env=False)
        finally:
            os.killpg(server.pid, 15)
    assert response.status_code == 200, response.text
    labels = [row["label"] for row in response.json()["predictions"]]
    assert labels == [item["label"] for item in open_predictor(published.bundle).predict(TEXTS)]
