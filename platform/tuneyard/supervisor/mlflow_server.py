"""Becomes the MLflow server of an instance, once its database has the schema of the installed MLflow.

MLflow refuses to serve a database of an older schema. Its check costs an import of many seconds, so it is only run
when the version is not the one that served last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tuneyard.supervisor.copies import copy_database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="holds the database and the artifacts")
    parser.add_argument("--backups", type=Path, help="where copies of the database go; `backups` beside the folder")
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind to")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--allowed-hosts", help="by which names it may be called, where that is not loopback")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    store = f"sqlite:///{folder / 'mlflow.sqlite3'}"
    bring_up_to_date(folder, store, arguments.backups or folder.parent / "backups")
    command = [sys.executable, "-m", "mlflow", "server", "--host", arguments.host, "--port", str(arguments.port)]
    if arguments.allowed_hosts:
        command += ["--allowed-hosts", arguments.allowed_hosts]
    command += ["--workers", "1", "--backend-store-uri", store, "--serve-artifacts"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri(), "--uvicorn-opts", "--log-level warning"]
    os.execv(sys.executable, command)  # noqa: S606 - the same process goes on, under the same watch


def bring_up_to_date(folder: Path, store: str, backups: Path) -> None:
    """Copy and upgrade the database when another version of MLflow served it last."""
    served_by = folder / "version"
    installed = version("mlflow")
    database = folder / "mlflow.sqlite3"
    if database.exists() and (not served_by.exists() or served_by.read_text() != installed):
        copy_database(database, backups)
        subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", store], check=True)
    served_by.write_text(installed)


if __name__ == "__main__":
    main()
