"""The MLflow server as an instance and as a container starts it: names that it answers to, copies before an upgrade."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("mlflow", reason="the MLflow server is not installed here")


@contextmanager
def _serving(folder: Path, *arguments: str) -> Iterator[str]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "tuneyard.supervisor.mlflow_server", "--folder", str(folder), "--port", str(port)]
    server = subprocess.Popen([*command, *arguments], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 180
        while True:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            try:
                if httpx.get(f"{url}/health", trust_env=False).is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_it_answers_to_allowed_names_and_copies_an_older_database(tmp_path: Path) -> None:
    folder, backups = tmp_path / "data", tmp_path / "data" / "backups"
    folder.mkdir()
    arguments = ("--backups", str(backups), "--allowed-hosts", "mlflow:5000")
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    with _serving(folder, *arguments) as url:
        assert httpx.get(url + path, headers={"Host": "mlflow:5000"}, trust_env=False).status_code == 200
        assert httpx.get(url + path, headers={"Host": "elsewhere:5000"}, trust_env=False).status_code == 403
    assert not backups.exists()

    # As after an update of MLflow.
    (folder / "version").write_text("1.0")
    with _serving(folder, *arguments) as url:
        assert httpx.get(url + path, headers={"Host": "mlflow:5000"}, trust_env=False).status_code == 200
    assert len(list(backups.glob("mlflow-*.sqlite3"))) == 1
