"""Management commands on a database that no start has made ready: a sentence that says what to do, no traceback."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOKEN = ("token_create", "--user", "admin", "--workspace", "default", "--role", "owner", "--name", "ci")


def _manage(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment | {"TUNEYARD_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _ours() -> list[str]:
    return sorted(
        path.stem for path in (ROOT / "apps").glob("*/management/commands/*.py") if not path.stem.startswith("_")
    )


@pytest.mark.parametrize("command", _ours())
def test_a_command_before_the_first_start_says_what_to_do(command: str, tmp_path: Path) -> None:
    ended = _manage(tmp_path / "home", *(TOKEN if command == "token_create" else (command,)))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"{tmp_path / 'home'}" in ended.stderr
    assert "is still empty. Start Tuneyard once (`make run`)" in ended.stderr


def test_a_database_of_an_older_version_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with sqlite3.connect(home / "tuneyard.sqlite3") as database:
        database.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT)")
        database.execute("INSERT INTO django_migrations VALUES (1, 'accounts', '0001_initial', '2026-01-01')")
    database.close()
    ended = _manage(home, *TOKEN)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert "is from an older version" in ended.stderr


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    environment = os.environ | {"TUNEYARD_HOME": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/none/db.sqlite3"}
    ended = subprocess.run(
        [sys.executable, "manage.py", *TOKEN], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert f"{tmp_path}/none/db.sqlite3 cannot be opened" in ended.stderr
