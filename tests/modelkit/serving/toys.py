"""Bundles of the toy task, and a home with a real agent, front and runners for tests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from modelkit import bundle
from modelkit.serving.backends.local_process import LocalProcess
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import (
    AccessKey,
    DesiredEndpoint,
    DesiredRevision,
    DesiredSet,
    KeySet,
    Limits,
    ObservedEndpoint,
    ObservedRevision,
    ObservedSet,
    Placement,
)

T = TypeVar("T")

PLUGIN = Path(__file__).parent / "plugin"
LABELS = ["card", "refund", "transfer"]
TOKEN, WORKSPACE = "ty_owner", "ws1"
OTHER_TOKEN, OTHER_WORKSPACE = "ty_outsider", "ws2"


def make_bundle(
    folder: Path,
    *,
    bias: float = 0.0,
    golden_bias: float | None = None,
    task: str = "toy_words",
    embedding_width: int = len(LABELS),
    golden_also: tuple[str, ...] = (),
    **weights: Any,
) -> bundle.Manifest:
    """A sealed toy bundle. A `golden_bias` other than `bias` freezes answers that the model does not give."""
    folder.mkdir(parents=True)
    (folder / "weights.json").write_text(json.dumps({"bias": bias, **weights}))
    inputs = [f"{label} {label} please" for label in LABELS] + ["nothing known", *golden_also]
    outputs = [_answer(text, bias if golden_bias is None else golden_bias) for text in inputs]
    (folder / bundle.GOLDEN).write_text(bundle.Golden(inputs=inputs, outputs=outputs).model_dump_json())
    manifest = bundle.Manifest(
        task=task,
        name=folder.name,
        created_at="2026-01-01T00:00:00Z",
        labels=LABELS,
        embedding_width=embedding_width,
        request_example={"inputs": ["refund please"]},
    )
    return bundle.seal(folder, manifest)


def _answer(text: str, bias: float) -> dict[str, Any]:
    powers = [math.exp(text.split().count(label) + i * bias) for i, label in enumerate(LABELS)]
    scores = dict(zip(LABELS, (power / sum(powers) for power in powers), strict=True))
    best = max(scores, key=lambda label: scores[label])
    return {"label": best, "score": scores[best], "scores": scores}


def revision(number: int, folder: Path, *, weight: int = 100) -> DesiredRevision:
    manifest = bundle.read(folder)
    return DesiredRevision(
        number=number, model=f"intents@{number}", bundle=str(folder), digest=manifest.digest, weight=weight
    )


def running(name: str, *revisions: DesiredRevision, workspace: str = WORKSPACE, **settings: int) -> DesiredEndpoint:
    """An endpoint that should run; `settings` are limits and placement by their names."""
    limits = {name: value for name, value in settings.items() if name in Limits.model_fields}
    placement = {name: value for name, value in settings.items() if name in Placement.model_fields}
    assert limits.keys() | placement.keys() == settings.keys()
    return DesiredEndpoint(
        workspace=workspace,
        name=name,
        state="running",
        revisions=revisions,
        limits=Limits(**limits),
        placement=Placement(**placement),
    )


def stopped(name: str, *revisions: DesiredRevision) -> DesiredEndpoint:
    return DesiredEndpoint(workspace=WORKSPACE, name=name, state="stopped", revisions=revisions)


def key(token: str, workspace: str, expires_at: float | None = None, **limits: Any) -> AccessKey:
    sha256 = hashlib.sha256(token.encode()).hexdigest()
    return AccessKey(sha256=sha256, workspace=workspace, expires_at=expires_at, **limits)


KEYS = (key(TOKEN, WORKSPACE), key(OTHER_TOKEN, OTHER_WORKSPACE), key("ty_expired", WORKSPACE, 1.0))


def wait_until(look: Callable[[], T | None], *, timeout_s: float = 120.0, what: str = "it") -> T:
    """Poll until `look` gives something true. The time-out only ends a hanging test; nothing is measured by it."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {timeout_s} s")


class Host:
    """A home with its agent. Use as a context manager: at its end everything started has to be gone."""

    def __init__(self, home: Path, *, control_url: str = "") -> None:
        self.control_url = control_url
        self.paths = ServingPaths(home)
        self.backend = LocalProcess(home, "http://127.0.0.1")
        self.agent: subprocess.Popen[bytes] | None = None
        self._seen_pids: set[int] = set()

    def __enter__(self) -> Host:
        self.start_agent()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.agent is None or self.agent.poll() is not None:
            self.start_agent()
        self._remember()
        self.stop_agent()
        left = [pid for pid in self._seen_pids if _lives(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, "the agent left processes behind"

    # --- the agent ---

    def start_agent(self, *options: str) -> None:
        self.paths.ensure()
        log = (self.paths.logs / "agent.log").open("ab")
        self.agent = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "modelkit.serving.agent",
                "--home",
                str(self.paths.home),
                "--port",
                "0",
                "--host",
                "127.0.0.1",
                *options,
            ],
            env={**os.environ, "TUNEYARD_PLUGINS": str(PLUGIN), "TUNEYARD_CONTROL_URL": self.control_url},
            stdout=log,
            stderr=log,
        )
        started = time.time()
        wait_until(
            lambda: (seen := self.backend.observe()) and seen.updated_at >= started and seen.front.healthy,
            what="the front",
        )
        self._remember()

    def stop_agent(self) -> int:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        return self.agent.wait(30)

    def kill_agent(self) -> None:
        assert self.agent is not None
        self._remember()
        self.agent.kill()
        self.agent.wait()

    def agent_log(self) -> str:
        return (self.paths.logs / "agent.log").read_text()

    # --- what is desired and observed ---

    def apply(self, *endpoints: DesiredEndpoint, keys: tuple[AccessKey, ...] = KEYS) -> None:
        self.backend.apply_keys(KeySet(keys=keys))
        self.backend.apply(DesiredSet(endpoints=endpoints))

    def observed(self) -> ObservedSet:
        seen = self.backend.observe()
        assert seen is not None
        self._remember(seen)
        return seen

    def endpoint(self, name: str, workspace: str = WORKSPACE) -> ObservedEndpoint | None:
        return next((e for e in self.observed().endpoints if e.key == (workspace, name)), None)

    def wait_for(
        self, name: str, status: str, *, active: int | None = None, workspace: str = WORKSPACE
    ) -> ObservedEndpoint:
        def look() -> ObservedEndpoint | None:
            seen = self.endpoint(name, workspace)
            fits = seen is not None and seen.status == status and active in (None, seen.active_revision)
            return seen if fits else None

        return wait_until(look, what=f"{name} {status} (revision {active})")

    def revision(self, name: str, number: int = 1) -> ObservedRevision:
        seen = self.endpoint(name)
        assert seen is not None
        return next(r for r in seen.revisions if r.number == number)

    def pid_of(self, name: str, number: int) -> int:
        def look() -> int | None:
            seen = self.endpoint(name)
            return next(
                (r.pid for r in (seen.revisions if seen else ()) if r.number == number and r.status == "live"), None
            )

        return wait_until(look, what="the runner's pid")

    def _remember(self, seen: ObservedSet | None = None) -> None:
        seen = seen or self.backend.observe()
        if seen is not None:
            pids = [seen.front.pid, *(pid for e in seen.endpoints for r in e.revisions for pid in (r.pid, *r.pids))]
            self._seen_pids.update(pid for pid in pids if pid)

    # --- calls ---

    @property
    def port(self) -> int:
        return wait_until(lambda: self.observed().front.port, what="the port")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str = TOKEN) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def predict(
        self, name: str, text: str = "refund refund please", *, token: str = TOKEN, **extra: Any
    ) -> httpx.Response:
        with self.client(token) as client:
            return client.post(f"/predict/{name}", json={"inputs": [text], **extra})


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
