"""`platform/` is a folder on the path, never a package: it shares its name with a module of the standard library."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.architecture.conftest import ROOT, tracked_files


def test_it_holds_packages_only() -> None:
    loose = [path.name for path in (ROOT / "platform").iterdir() if path.is_file()]
    assert loose == ["README.md"]


def test_the_standard_library_wins(fresh: Callable[[str], str]) -> None:
    assert fresh("import platform; print(platform.python_version())").startswith("3.11")


def test_nothing_inside_is_run_by_path() -> None:
    """A script's own folder comes first on its path, and would hide the standard library's modules."""
    by_path = re.compile(r"python[\w.]*\s+\S*platform/\S+\.py\b")
    said = [
        path.relative_to(ROOT)
        for path in tracked_files()
        if path.suffix in {".md", ".py", ".yml", ".yaml", ".toml", ".Dockerfile", ""} and by_path.search(_text(path))
    ]
    assert said == []


def _text(path: object) -> str:
    return path.read_text(errors="replace")  # type: ignore[attr-defined,no-any-return]
