"""Toy services under a real supervisor, each test in a process of its own so that signals and orphans are real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Runs the services that a JSON file lists, as `python -m tuneyard.supervisor` runs the real ones.
_RUNNER = """
import asyncio, json, os, sys
from pathlib import Path
from tuneyard.supervisor.console import Console
from tuneyard.supervisor.service import Service
from tuneyard.supervisor.supervisor import Supervisor

folder = Path(sys.argv[1])
listed = json.loads((folder / "services.json").read_text())
services = [Service(**{key: tuple(value) if isinstance(value, list) else value 
    for key, value in item.items()}) for item in listed]
console = Console(folder / "logs")
supervisor = Supervisor(services, console, identity=sys.argv[2], environment=dict(os.environ), guardian_grace_s=1)
asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
announce = {services[-1].name: lambda: console.say("all up")}
sys.exit(0 if asyncio.run(supervisor.run(announce=announce)) else 1)
"""


_PRELUDE = """
import os, signal, sys, time
from pathlib import Path

folder = Path({folder!r})

def write_pid(name):
    with open(folder / (name + ".pid"), "a") as file:
        print(os.getpid(), file=file)

write_pid({name!r})
"""


def wait_for(condition: Callable[[], Any], *, what: str, timeout_s: float = 60) -> Any:
    """The first true value of `condition`; a failure says what was waited for."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"Waited {timeout_s:.0f} s in vain for: {what}")


class Instance:
    """A supervisor over toy services, as a child of the test."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity
        self.process: subprocess.Popen[str] | None = None

    def toy(self, name: str, code: str, **facts: Any) -> dict[str, Any]:
        """A service that runs Python code, which may use `folder` and `write_pid(name)`."""
        prelude = _PRELUDE.format(folder=str(self.folder), name=name)
        return {"name": name, "command": [sys.executable, "-c", prelude + textwrap.dedent(code)], **facts}

    def start(self, *services: dict[str, Any], prefix: tuple[str, ...] = ()) -> None:
        (self.folder / "logs").mkdir(exist_ok=True)
        (self.folder / "services.json").write_text(json.dumps(services))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "NO_COLOR": "1"}
        with (self.folder / "output.txt").open("a") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", _RUNNER, str(self.folder), self.identity],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                # Where the tests themselves run under nohup, the terminal's end would be ignored from the start.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def pids(self, name: str) -> list[int]:
        """The pid of each start of a service, oldest first."""
        path = self.folder / f"{name}.pid"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def await_start(self, name: str, *, number: int = 1) -> int:
        wait_for(lambda: len(self.pids(name)) >= number, what=f"start {number} of {name}")
        return self.pids(name)[number - 1]

    def await_pid(self, name: str) -> int:
        """The pid that a toy wrote with `write_pid`."""
        return self.await_start(name)

    def await_output(self, text: str) -> None:
        wait_for(lambda: text in self.output, what=f"{text!r} in the output")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal(signal.SIGINT)
        return self.await_end()

    def await_end(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=60)

    def strays(self) -> list[psutil.Process]:
        """Living processes of this instance, found by what they inherit, whoever their parent is."""
        found = []
        for process in psutil.process_iter():
            try:
                marker = process.environ().get("TUNEYARD_INSTANCE", "")
                if marker.startswith(self.identity) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    toy = Instance(tmp_path, f"test{os.getpid()}x{abs(hash(tmp_path)) % 10**9}")
    yield toy
    if toy.process is not None and toy.process.poll() is None:
        toy.process.kill()
        toy.process.wait()
    for stray in toy.strays():
        stray.kill()
