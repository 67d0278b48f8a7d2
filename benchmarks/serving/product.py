"""Our own contender: the serving agent as the product starts it, with its front and runners, and no Django."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.serving.stage import TOKEN
from modelkit import bundle
from modelkit.serving.backends.local_process import LocalProcess
from modelkit.serving.plan import (
    AccessKey,
    DesiredEndpoint,
    DesiredRevision,
    DesiredSet,
    KeySet,
    ObservedEndpoint,
    ObservedSet,
)

WORKSPACE, NAME = "bench", "intents"
WAIT_S = 60.0


class Product:
    """An agent on a home of its own and a free port, with one endpoint."""

    name = "tuneyard"

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log = (home / "agent.log").open("w")
        command = [sys.executable, "-m", "modelkit.serving.agent", "--home", str(home), "--port", "0"]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        self._backend = LocalProcess(home, "")
        observed = self._wait(lambda seen: seen.front.healthy)
        self.url = f"http://127.0.0.1:{observed.front.port}/predict/{NAME}"

    def bodies(self, sentences: list[str]) -> list[str]:
        return [json.dumps({"inputs": [text]}) for text in sentences]

    def deploy(self, folder: Path, number: int) -> None:
        """Desire one revision with all traffic; does not wait."""
        revision = DesiredRevision(
            number=number,
            model=f"{NAME}@{number}",
            bundle=str(folder),
            digest=bundle.read(folder).digest,
            weight=100,
        )
        key = AccessKey(sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), workspace=WORKSPACE)
        endpoint = DesiredEndpoint(workspace=WORKSPACE, name=NAME, state="running", revisions=(revision,))
        self._backend.apply_keys(KeySet(keys=(key,)))
        self._backend.apply(DesiredSet(endpoints=(endpoint,)))

    def wait_live(self, number: int) -> ObservedEndpoint:
        """Until `number` alone has the traffic."""

        def there(seen: ObservedSet) -> bool:
            return any(e.status == "live" and e.active_revision == number for e in seen.endpoints)

        return self._wait(there).endpoints[0]

    def cpu_s(self) -> float:
        """Processor seconds so far of agent, front and runners that live."""
        own = psutil.Process(self._process.pid)
        return sum(t.user + t.system for t in (p.cpu_times() for p in [own, *own.children(recursive=True)]))

    def memory_mb(self) -> float:
        """Memory of agent, front and runners together."""
        own = psutil.Process(self._process.pid)
        return sum(process.memory_info().rss for process in [own, *own.children(recursive=True)]) / 1e6

    def _wait(self, there: Callable[[ObservedSet], bool]) -> ObservedSet:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            seen = self._backend.observe()
            if seen is not None and seen.updated_at and there(seen):
                return seen
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"The agent did not get there; its log is {self._log.name}.")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def cold_start_s(folder: Path, scratch: Path) -> float:
    """Seconds from the start of a runner process to its first answer."""
    import asyncio

    from modelkit.serving.wire import Ask, ask

    socket = scratch / "cold.sock"
    command = [sys.executable, "-m", "modelkit.serving.runner", "--bundle", str(folder), "--socket", str(socket)]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise RuntimeError("The runner ended before it answered.")
            time.sleep(0.002)
        asyncio.run(ask(socket, Ask.PREDICT, json.dumps(["Where is my card?"]).encode(), timeout_s=10))
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(10)
