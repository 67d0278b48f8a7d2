"""The storeys, the order of the apps, the light web: import-linter's contracts in pyproject.toml, one test each."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from tests.architecture.conftest import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def _lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("contract", [contract["id"] for contract in CONTRACTS])
def test_contract_is_kept(contract: str) -> None:
    ended = _lint("--contract", contract, "--no-cache")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 kept, 0 broken" in ended.stdout


def test_a_broken_contract_is_noticed(tmp_path: object) -> None:
    """The same tool over the same packages finds an import that is there: the web does reach Django."""
    path = ROOT / "build" / "broken.importlinter.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "[tool.importlinter]\n"
        'root_packages = ["tuneyard", "apps"]\n'
        "include_external_packages = true\n"
        "[[tool.importlinter.contracts]]\n"
        'id = "broken"\nname = "broken"\ntype = "forbidden"\n'
        'source_modules = ["apps"]\nforbidden_modules = ["django"]\n'
    )
    try:
        ended = _lint("--config", str(path), "--no-cache")
    finally:
        path.unlink()
    assert ended.returncode == 1
    assert "0 kept, 1 broken" in ended.stdout
