"""Our code laid out as an image has it, and nothing beside it: commands run, every module is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What makes no difference here and takes long to copy.
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules")


def _lay_out(image: str, root: Path) -> dict[str, str]:
    """Copy what the last stage of the Dockerfile copies; the image's environment, with its paths under `root`."""
    last_stage = (ROOT / "docker" / f"{image}.Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    for line in re.findall(r"^COPY (.*)$", last_stage, re.M):
        source, target = [word for word in line.split() if not word.startswith("--")]
        # `collected` is made in the image of what `static` holds.
        source = source.removeprefix("/src/").replace("collected", "static")
        if source.startswith("/"):
            continue
        place = root / target.strip("/")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=_LEFT_OUT)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    (root / "data").mkdir()
    pairs = [pair for line in re.findall(r"^ENV (.*)$", last_stage, re.M) for pair in line.split()]
    set_there = dict(pair.split("=", 1) for pair in pairs if not pair.startswith("PATH="))
    moved = {name: re.sub(r"/(app|data)\b", rf"{root}/\1", value) for name, value in set_there.items()}
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TUNEYARD_", "DJANGO_", "PYTHON"))
    }
    return {**kept, **moved}


def _run(root: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=root / "app",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize("image", ["web", "worker"])
def test_management_commands_run_and_say_nothing_but_their_answer(image: str, tmp_path: Path) -> None:
    """Django checks the settings before a command, and refuses or warns of folders that are not as it wants them."""
    environment = _lay_out(image, tmp_path)
    prepared = _run(tmp_path, environment, "-m", "tuneyard.supervisor.prepare")
    assert prepared.returncode == 0, prepared.stderr
    synced = _run(tmp_path, environment, "manage.py", "base_models_sync")
    assert synced.returncode == 0, synced.stderr
    assert "minilm-l6" in synced.stdout
    assert synced.stderr == ""


@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("web", "tuneyard.wsgi, tuneyard.urls"),
        ("worker", "workers.app, modelkit.launcher, tuneyard.supervisor.__main__, tuneyard.supervisor.mlflow_server"),
        ("serving", "modelkit.serving.agent.__main__, modelkit.serving.front.__main__, modelkit.serving.runner"),
    ],
)
def test_the_modules_that_an_image_starts_are_in_it(image: str, modules: str, tmp_path: Path) -> None:
    environment = _lay_out(image, tmp_path)
    program = (
        f"import os\nif 'DJANGO_SETTINGS_MODULE' in os.environ:\n    import django; django.setup()\nimport {modules}"
    )
    # Without the site, so that an editable installation of the checkout cannot stand in for what was not copied.
    site = [path for path in sys.path if path.endswith("site-packages")]
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], *site])
    ended = _run(tmp_path, environment, "-S", "-c", program)
    assert ended.returncode == 0, ended.stderr
