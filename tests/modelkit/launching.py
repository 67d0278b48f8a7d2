"""Helpers to start a real launcher and make job folders of the toy task."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from modelkit.jobfolder import JobFolder

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a process of the product, with the toy task in its catalog."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    return {**os.environ, "PYTHONPATH": path, "TUNEYARD_PLUGINS": str(PLUGINS), **more}


def wait_for(condition: Callable[[], Any], *, timeout_s: float = 30.0, what: str = "") -> Any:
    """The first true value of `condition`; the limit is a safety net, not a measurement."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s in vain for {what or condition}")


def toy_folder(jobs: Path, name: str, **params: Any) -> JobFolder:
    """A job folder with the spec of a toy training."""
    folder = JobFolder(jobs / name)
    folder.create(
        {
            "format": 1,
            "kind": "train",
            "job": name,
            "task": "toy_counts",
            "params": params,
            "model_name": "toy",
            "seed": 1,
            "code_version": "test",
            "dataset": {"ref": "none@1", "path": str(jobs), "digest": "0"},
            "base_model": {"id": "none", "path": str(jobs), "revision": "0"},
            "budget_s": None,
            "lineage": {},
        }
    )
    return folder


class RealLauncher:
    """A launcher process of our own, spoken to over its socket."""

    def __init__(self, home: Path, *, preload: str = "", stop_timeout_s: float = 10.0) -> None:
        self.jobs = home / "jobs"
        self.socket_path = home / "l.sock"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "modelkit.launcher", "--socket", str(self.socket_path)),
                *("--jobs", str(self.jobs), "--preload", preload, "--stop-timeout", str(stop_timeout_s)),
            ],
            env=child_environment(),
        )
        wait_for(self._answers, timeout_s=60, what="the launcher")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the launcher ended"
        try:
            return bool(self.ask("ping")["ok"])
        except OSError:
            return False

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect(str(self.socket_path))
            connection.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
            return answer

    def launch(self, folder: JobFolder, *, attempt: int = 1, **fields: Any) -> dict[str, Any]:
        answer = self.ask("launch", job_dir=str(folder.path), attempt=attempt, **fields)
        assert answer["ok"], answer
        return answer

    def close(self) -> None:
        """End it and, whatever a test did, every child it or a launcher before it left."""
        self.process.kill()
        self.process.wait()
        for file in self.jobs.glob("*/child.json"):
            child = JobFolder(file.parent).child()
            if child is not None and child.alive:
                psutil.Process(child.pid).kill()
