"""How a job's child ends: each exception becomes the right outcome, and the result is always written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelkit.jobfolder import JobFolder
from tests.modelkit.launching import child_environment, toy_folder


def run(folder: JobFolder, *, attempt: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelkit.run", str(folder.path), "--attempt", str(attempt)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("ending", "outcome", "code"),
    [
        ("user_error", "failed", "toy_refused"),
        ("crash", "errored", "crashed"),
        ("memory", "failed", "out_of_memory"),
        ("disk_full", "failed", "disk_full"),
    ],
)
def test_an_exception_becomes_an_outcome_with_a_card(tmp_path: Path, ending: str, outcome: str, code: str) -> None:
    folder = toy_folder(tmp_path, "one", steps=2, ending=ending)
    assert run(folder, attempt=3).returncode == 0
    result = folder.result()
    assert result is not None
    assert (result["outcome"], result["error"]["code"], result["attempt"]) == (outcome, code, 3)
    assert result["error"]["message"]
    assert result["error"]["hint"]
    assert "Traceback" in result["error"]["traceback"]


def test_success_names_bundle_metrics_and_cost(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path, "one", steps=2)
    run(folder)
    result = folder.result()
    assert result is not None
    assert result["outcome"] == "succeeded"
    assert (folder.path / result["bundle"] / "manifest.json").is_file()
    cost = [event for event in folder.iter_events() if event["type"] == "resources"]
    assert len(cost) == 1
    assert cost[0]["peak_memory_bytes"] > 1_000_000
    assert cost[0]["disk_bytes"] > 0
    assert not (folder.path / ".reserve").exists()


def test_parameters_of_another_version_fail_naming_the_field(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path, "one", steps=2, unknown=1)
    run(folder)
    result = folder.result()
    assert result is not None
    assert result["error"]["code"] == "params_invalid"
    assert result["error"]["message"].startswith("unknown:")


def test_an_unknown_kind_fails_with_a_reason(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "one")
    folder.create({"kind": "dance", "seed": 1})
    run(folder)
    result = folder.result()
    assert result is not None
    assert (result["outcome"], result["error"]["code"]) == ("failed", "kind_unknown")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk_fails_the_job_and_still_leaves_its_result(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        folder = toy_folder(small, "one", steps=2, ending="disk_full")
        assert run(folder).returncode == 0
        result = folder.result()
        assert result is not None
        assert (result["outcome"], result["error"]["code"]) == ("failed", "disk_full")
        assert (folder.path / "filler").stat().st_size > 1 << 20
    finally:
        subprocess.run(["umount", str(small)], check=True)
