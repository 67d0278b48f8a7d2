"""The field: each peer in its own environment, with the same model function and the settings its documentation favours.

`<name>.txt` pins the environment, `<name>_app.py` runs inside it and imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelkit.tracking.mlflow import MODEL_CODE

HERE = Path(__file__).resolve().parent
TORCH = HERE.parents[2] / "requirements" / "torch.txt"
START_S = 90.0


@dataclass(frozen=True)
class Peer:
    """How to ask one: its address after the port, its body for one text, and what its environment needs first."""

    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    torch: bool = False


PEERS = (
    Peer("litserve", "/predict", lambda text: {"input": text}, torch=True),
    Peer(
        "mlserver",
        "/v2/models/intents/infer",
        lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
    ),
    Peer("mlflow", "/invocations", lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}}),
)


def environment(peer: Peer, cache: Path) -> Path:
    """The interpreter of the peer's environment, which is made where it is missing or was made for other pins."""
    requirements = HERE / f"{peer.name}.txt"
    folder = cache / f"env-{peer.name}"
    made_from = hashlib.sha256(requirements.read_bytes() + TORCH.read_bytes()).hexdigest()
    stamp = folder / "made-from"
    if not stamp.is_file() or stamp.read_text() != made_from:
        print(f"bench    | installing {peer.name} (once)", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if peer.torch:  # first and alone, so that no other build of it comes along
            subprocess.run([*pip, "--requirement", str(TORCH)], check=True)
        subprocess.run([*pip, "--requirement", str(requirements)], check=True)
        stamp.write_text(made_from)
    return folder / "bin" / "python"


class Server:
    """A peer that is running and answers."""

    def __init__(self, name: str, peer: Peer, bundle: Path, cache: Path, scratch: Path) -> None:
        python = environment(peer, cache)
        scratch.mkdir(parents=True)
        port = _free_port()
        app = [str(HERE / f"{peer.name}_app.py"), str(bundle), str(port), str(scratch)]
        quiet = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "ORT_DISABLE_TELEMETRY": "1"}
        own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.name = name
        self.url = f"http://127.0.0.1:{port}{peer.path}"
        self._log = (scratch / "log").open("w")
        self._process = subprocess.Popen(
            [str(python), *app, str(MODEL_CODE)],
            stdout=self._log,
            stderr=self._log,
            cwd=scratch,
            env={**own, **quiet, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        self._wait(json.dumps(peer.body("Where is my card?")).encode())

    def _wait(self, body: bytes) -> None:
        deadline = time.monotonic() + START_S
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})  # noqa: S310
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                    return
            except urllib.error.HTTPError as error:
                if error.code not in (400, 404, 503):  # MLServer answers 400 while its model loads
                    break
            except OSError:
                pass
            time.sleep(0.2)
        self.close()
        raise RuntimeError(f"{self.name} does not answer; its log is {self._log.name}.")

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Runs only inside: an idle peer that polls its queue would take the others' time."""
        os.killpg(self._process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def close(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            os.killpg(self._process.pid, signal.SIGCONT)
            self._process.wait(10)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()


def _free_port() -> int:
    """A port that is free now, with a free one after it (MLServer takes two)."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
