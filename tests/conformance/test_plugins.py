"""A task and a method in a folder elsewhere pass the whole suite, and no file of ours is changed for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).resolve().parent / "plugins"


def test_a_folder_elsewhere_is_a_task_and_a_method(tmp_path: Path) -> None:
    for source in PLUGINS.rglob("*.py.txt"):
        copy = tmp_path / source.relative_to(PLUGINS).with_suffix("")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "tests/conformance", "-q", "-rA", "-p", "no:cacheprovider",
            "-k", "toy_majority or toy_strip", "--deselect", "tests/conformance/test_plugins.py",
        ],
        cwd=ROOT,
        env={**os.environ, "TUNEYARD_PLUGINS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED")]
    # Every check of a task for the toy task, and the toy method on the real task's bundle too.
    assert len([line for line in passed if "test_tasks.py" in line and "toy_majority" in line]) >= 12
    assert any("toy_strip" in line and "text_classification" in line for line in passed)
