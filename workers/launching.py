"""Speaks to the launcher of this host over its Unix socket."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from django.conf import settings

from modelkit.jobfolder import Child, JobFolder

TIMEOUT_S = 15.0


class LauncherUnavailable(Exception):
    """The launcher does not answer at present."""


class LauncherRefused(Exception):
    """The launcher answered with a refusal."""


def ask(op: str, **fields: Any) -> dict[str, Any]:
    """One request and its answer; raises LauncherUnavailable or LauncherRefused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(settings.LAUNCHER_SOCKET))
            connection.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except OSError as error:
        raise LauncherUnavailable(f"The launcher at {settings.LAUNCHER_SOCKET} does not answer: {error}") from error
    if not line:
        raise LauncherUnavailable("The launcher hung up.")
    answer: dict[str, Any] = json.loads(line)
    if not answer["ok"]:
        raise LauncherRefused(answer["error"])
    return answer


def launch(folder: JobFolder, *, attempt: int, device: str, threads: int, nice: int, env: dict[str, str]) -> Child:
    """Start a child, or get the one that lives in this folder already."""
    answer = ask(
        "launch",
        job_dir=os.fspath(Path(folder.path).resolve()),
        attempt=attempt,
        device=device,
        threads=threads,
        nice=nice,
        env=env,
    )
    return Child(pid=answer["pid"], started_at=answer["started_at"], attempt=answer["attempt"])


def kill(folder: JobFolder, child: Child) -> None:
    """End a child that did not stop by itself; without a launcher, its process group at least."""
    try:
        ask("kill", job_dir=os.fspath(folder.path.resolve()))
    except (LauncherUnavailable, LauncherRefused):
        if child.alive:
            os.killpg(child.pid, signal.SIGKILL)
