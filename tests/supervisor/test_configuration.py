"""What refuses to start, and with which words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tuneyard.supervisor.configuration import RefusedError, kept_port, lock_home, require_port

ROOT = Path(__file__).resolve().parents[2]


def _start(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", **variables}
    return subprocess.run(
        [sys.executable, "-m", "tuneyard.supervisor"], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_port_in_use_is_said_plainly_with_the_remedy(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = _start(TUNEYARD_HOME=str(tmp_path / "home"), TUNEYARD_PORT=str(port), TUNEYARD_SERVING_PORT="18799")
    assert ended.returncode == 2
    assert f"Port {port} is already in use" in ended.stderr
    assert f"(process {os.getpid()})" in ended.stderr
    assert f"TUNEYARD_PORT={port + 10} make run" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TUNEYARD_PORT": "eighty"}, "TUNEYARD_PORT must be a whole number; it is 'eighty'."),
        ({"TUNEYARD_PORT": "70000"}, "TUNEYARD_PORT must lie between 1 and 65535; it is 70000."),
        ({"TUNEYARD_PORT": "8700", "TUNEYARD_SERVING_PORT": "8700"}, "give each its own"),
        ({"TUNEYARD_HOST": "no.such.host.invalid"}, "TUNEYARD_HOST is 'no.such.host.invalid'"),
        ({"TUNEYARD_HOME": "/proc/tuneyard"}, "/proc/tuneyard"),
    ],
)
def test_a_variable_without_sense_is_refused_by_name(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    ended = _start(**{"TUNEYARD_HOME": str(tmp_path / "home"), **variables})
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_home_belongs_to_one_instance(tmp_path: Path) -> None:
    lock = lock_home(tmp_path)
    with pytest.raises(RefusedError, match=rf"already runs on .*\(process {os.getpid()}\)"):
        lock_home(tmp_path)
    lock.close()
    lock_home(tmp_path).close()


def test_an_inner_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    first = kept_port(tmp_path, "mlflow")
    assert kept_port(tmp_path, "mlflow") == first
    with closing(socket.create_server(("127.0.0.1", first))):
        assert kept_port(tmp_path, "mlflow") != first


def test_a_damaged_port_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[1, 2")
    assert kept_port(tmp_path, "mlflow") > 0


def test_a_free_port_passes() -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_port("127.0.0.1", port, "TUNEYARD_PORT")
