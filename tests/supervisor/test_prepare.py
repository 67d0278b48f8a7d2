"""Databases are copied before their schema changes, and old copies do not pile up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tuneyard.supervisor.copies import COPIES_KEPT, copy_database

ROOT = Path(__file__).resolve().parents[2]


def _prepare(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "TUNEYARD_HOME": str(home)}
    environment.pop("TUNEYARD_ADMIN_PASSWORD", None)
    ended = subprocess.run(
        [sys.executable, "-m", "tuneyard.supervisor.prepare", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_new_database_is_made_once_and_copied_before_a_later_migration(tmp_path: Path) -> None:
    login = tmp_path / "first-login"
    assert "Migrating the database" in _prepare(tmp_path, "--login-file", str(login))
    assert "admin" in login.read_text()
    assert login.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "backups").exists()
    login.unlink()

    assert _prepare(tmp_path, "--login-file", str(login)) == ""
    assert not login.exists()

    # As after an update: a migration that the database has not seen.
    database = tmp_path / "tuneyard.sqlite3"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE django_session")
        connection.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    said = _prepare(tmp_path, "--login-file", str(login))
    assert "Migrating the database: 1 steps." in said
    (copy,) = (tmp_path / "backups").glob("tuneyard-*.sqlite3")
    assert str(copy) in said
    with closing(sqlite3.connect(copy)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "accounts_user" in tables
    assert "django_session" not in tables


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TUNEYARD_SECRET_KEY", "short", "must hold 32 characters or more; it holds 5"),
        ("TUNEYARD_SECRET_KEY", "   ", "must hold 32 characters or more; it holds 0"),
        ("TUNEYARD_SECRET_KEY_FILE", "/nowhere/secret", "cannot be read"),
    ],
)
def test_a_secret_that_is_none_is_refused_in_one_line(tmp_path: Path, variable: str, value: str, said: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", "TUNEYARD_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "tuneyard.supervisor.prepare"],
        env={**environment, variable: value},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert variable in ended.stderr
    assert said in ended.stderr
    assert not (tmp_path / "tuneyard.sqlite3").exists()


def test_bundled_models_are_found_again_without_a_migration(tmp_path: Path) -> None:
    """As when another version of Python has its packages in another folder."""
    _prepare(tmp_path)
    with closing(sqlite3.connect(tmp_path / "tuneyard.sqlite3")) as connection, connection:
        here = connection.execute("SELECT path FROM registry_basemodel").fetchall()
        assert here, "no bundled base model is installed"
        connection.execute("UPDATE registry_basemodel SET path = '/gone'")
    _prepare(tmp_path)
    with closing(sqlite3.connect(tmp_path / "tuneyard.sqlite3")) as connection:
        assert connection.execute("SELECT path FROM registry_basemodel").fetchall() == here


def test_a_copy_is_consistent_while_others_write(tmp_path: Path) -> None:
    database = tmp_path / "data.sqlite3"
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE row (number)")
        writer.executemany("INSERT INTO row VALUES (?)", [(number,) for number in range(1000)])
        writer.commit()
        writer.execute("INSERT INTO row VALUES (1000)")
        copy = copy_database(database, tmp_path / "backups")
        writer.rollback()
    with closing(sqlite3.connect(copy)) as reader:
        assert reader.execute("SELECT count(*) FROM row").fetchone() == (1000,)
    assert copy.stat().st_mode & 0o777 == 0o600


def test_only_the_newest_copies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "data.sqlite3"
    sqlite3.connect(database).close()
    names = []
    for number in range(COPIES_KEPT + 2):
        monkeypatch.setattr(time, "strftime", lambda _, number=number: f"2026010{number}-000000")
        names.append(copy_database(database, tmp_path / "backups").name)
    kept = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert kept == names[-COPIES_KEPT:]
