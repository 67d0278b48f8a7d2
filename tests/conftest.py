"""Fixtures for every test: where real data and models lie, people of every role, a database of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.personas import Team, team_make

ROOT = Path(__file__).resolve().parents[1]


#: Where tests start processes, kill them and wait for what comes of it; the longest first.
REAL_PROCESSES = ("e2e", "workers", "supervisor", "modelkit/serving", "modelkit/test_launcher.py", "ui")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of real processes first, so that none is left to run alone at the end, and let each fail once.

    What is wrong fails twice; the summary names each test that ran again.
    """

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((n for n, start in enumerate(REAL_PROCESSES) if path.startswith(start)), len(REAL_PROCESSES))

    items.sort(key=place)
    for item in items:
        if place(item) < len(REAL_PROCESSES):
            item.add_marker(pytest.mark.flaky(reruns=1))


def _shared(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"no {folder} at {path}; set {variable}")
    return path


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Hash passwords cheaply: the real hash takes half a second a user by design."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """A file, as in use: SQLite in memory locks by table and knows no WAL, so that threads would fail."""
    from django.db import connections

    settings = connections["default"].settings_dict
    if settings["ENGINE"].endswith("sqlite3"):
        settings["TEST"]["NAME"] = str(Path(tempfile.mkdtemp(prefix="ty-test-db-")) / "test.sqlite3")


@pytest.fixture
def team(db: None) -> Team:
    """A workspace with people of every role, and an outsider who owns another one."""
    return team_make()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets."""
    return _shared("TUNEYARD_DATA", "data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of small real pretrained models."""
    return _shared("TUNEYARD_MODELS", "models")
