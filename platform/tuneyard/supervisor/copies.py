"""Copies of SQLite databases, made before something changes their schema."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

#: Copies that are kept of each database, the newest.
COPIES_KEPT = 5


def copy_database(database: Path, folder: Path) -> Path:
    """A consistent copy, also while others write; older copies beyond `COPIES_KEPT` are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{database.stem}-{time.strftime('%Y%m%d-%H%M%S')}.sqlite3"
    scratch = target.with_suffix(".part")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(scratch)) as copy:
        source.backup(copy)
    scratch.chmod(0o600)
    scratch.replace(target)
    for old in sorted(folder.glob(f"{database.stem}-*.sqlite3"))[:-COPIES_KEPT]:
        old.unlink()
    return target
