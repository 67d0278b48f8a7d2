"""A real PostgreSQL, started by the test that needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import free_port


@dataclass(frozen=True)
class Postgres:
    """A cluster of its own in a temporary folder, on a loopback port."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgres://tuneyard@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A new, empty database; its address."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tuneyard", name)
        return self.url_of(name)

    def run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root; Debian's package brings a user of its own.
        prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(
            [*prefix, str(self.programs / program), *arguments], cwd="/", check=True, stdout=subprocess.DEVNULL
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def kill(self) -> None:
        """Stop without a checkpoint, as a crash would."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A running server; skips the test where the machine has none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("no PostgreSQL server on this machine; Debian's package is postgresql")
    folder = Path(tempfile.mkdtemp(prefix="ty-pg-", dir="/tmp"))
    folder.chmod(0o700)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Postgres(found[-1].parent, folder, free_port())
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "tuneyard", "--auth=trust", "--no-sync")
        server.start()
        yield server
        server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
