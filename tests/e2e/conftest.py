"""The whole product, started as `make run` starts it, on a home and ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Limits for a machine that does much else; an idle one needs a tenth.
START_S = 400
STOP_S = 120
ADMIN_PASSWORD = "an end to end password"
#: What would point the instance at something other than its own parts.
SETTINGS = ("TUNEYARD_", "DJANGO_", "MLFLOW_", "DATABASE_URL", "REDIS_URL", "STORAGE_URL")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Product:
    """One instance: start and stop it, and make tokens for it."""

    home: Path
    port: int = field(default_factory=free_port)
    serving_port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def serving_url(self) -> str:
        return f"http://127.0.0.1:{self.serving_port}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        return {
            **inherited,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
            "TUNEYARD_HOME": str(self.home),
            "TUNEYARD_PORT": str(self.port),
            "TUNEYARD_SERVING_PORT": str(self.serving_port),
            "TUNEYARD_ADMIN_PASSWORD": ADMIN_PASSWORD,
            **self.settings,
        }

    def start(self) -> None:
        """Start the supervisor and wait until every part that the health page knows answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = (self.home / "console.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tuneyard.supervisor"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
        )
        deadline = time.monotonic() + START_S
        health: dict[str, object] = {}
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                health = httpx.get(f"{self.url}/api/v1/health", timeout=5, trust_env=False).json()
                if health["status"] == "ok":
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.3)
        self.stop()
        tail = (self.home / "console.log").read_text(errors="replace")[-4000:]
        raise AssertionError(f"the product did not start; health {health}\n{tail}")

    def stop(self) -> int:
        """Ctrl-C, and wait."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)

    def processes(self, *words: str) -> list[psutil.Process]:
        """This instance's processes whose command line holds all the words."""
        assert self.process is not None
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in found if all(word in process.cmdline() for word in words)]

    def api(self) -> httpx.Client:
        """A client of the REST API that signs with an owner's token."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60, trust_env=False)

    def manage(self, *arguments: str) -> str:
        """A management command's output."""
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return result.stdout.strip()

    def token(self, name: str = "test", role: str = "owner") -> str:
        output = self.manage(
            "token_create", "--user", "admin", "--workspace", "default", "--role", role, "--name", name
        )
        return next(word for word in output.split() if word.startswith("ty_"))


@pytest.fixture
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A running product of a test's own: a story begins at the first sign-in, also when it is told again."""
    instance = Product(home=tmp_path_factory.mktemp("product"))
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()
