"""What one instance is: its home, its addresses, and which servers it runs itself. The settings hold the defaults."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil


class RefusedError(Exception):
    """The instance cannot start; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Read once at the start. A URL that is None means: the supervisor runs that server itself."""

    root: Path
    home: Path
    run_dir: Path
    host: str
    port: int
    serving_port: int
    public_url: str
    serving_url: str
    redis_url: str | None
    mlflow_uri: str | None

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def loopback(self) -> str:
        """The host by which this machine reaches what is bound to `host`."""
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104


def read_configuration() -> Configuration:
    """Raises `RefusedError` for a variable that makes no sense."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        from tuneyard import settings
    except (ImproperlyConfigured, OSError) as error:
        raise RefusedError(str(error)) from error
    if settings.PORT == settings.SERVING_PORT:
        raise RefusedError(f"TUNEYARD_PORT and TUNEYARD_SERVING_PORT are both {settings.PORT}; give each its own.")
    return Configuration(
        root=settings.BASE_DIR,
        home=settings.HOME,
        run_dir=settings.RUN_DIR,
        host=settings.BIND_HOST,
        port=settings.PORT,
        serving_port=settings.SERVING_PORT,
        public_url=settings.PUBLIC_URL,
        serving_url=settings.SERVING_URL,
        redis_url=os.environ.get("REDIS_URL") or None,
        mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI") or None,
    )


def make_folders(configuration: Configuration) -> None:
    """The home's folders. Sockets lie in a folder that only this user may enter."""
    home = configuration.home
    try:
        for name in (
            "logs",
            "redis",
            "mlflow/artifacts",
            "storage/incoming",
            "jobs",
            "bundles",
            "serving",
            "models",
            "static",
        ):
            (home / name).mkdir(parents=True, exist_ok=True)
        configuration.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RefusedError(
            f"The data folder {home} cannot be written: {error.strerror}. Name another one in TUNEYARD_HOME."
        ) from error
    # The run folder may lie in the shared temp folder, where somebody else could have made it first.
    if configuration.run_dir.stat().st_uid != os.getuid():
        raise RefusedError(f"{configuration.run_dir} belongs to another user. Give TUNEYARD_HOME a shorter path.")
    configuration.run_dir.chmod(0o700)


def lock_home(home: Path, part: str = "") -> IO[str]:
    """Hold this file open: while it is, no second instance, or no second `part` of one, starts on the same home."""
    part = "".join(letter for letter in part if letter.isalnum() or letter == "-")[:100]
    handle = (home / f"supervisor{part and '-'}{part}.lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise RefusedError(
            f"Tuneyard already runs on {home} (process {owner}).\n"
            "Stop that one first, or start this one beside it on a home and ports of its own:\n"
            "  TUNEYARD_HOME=./var2 TUNEYARD_PORT=8710 TUNEYARD_SERVING_PORT=8711 make run"
        ) from error
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def require_port(host: str, port: int, variable: str) -> None:
    """Raises `RefusedError` with the remedy if nothing can listen on the port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Two sockets may be bound with SO_REUSEADDR as long as neither listens.
            probe.listen(1)
    except socket.gaierror as error:
        raise RefusedError(f"TUNEYARD_HOST is {host!r}, which is no address of this machine.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RefusedError(
                f"Port {port} is already in use{_owner_of(port)}.\n"
                f"Stop that program, or choose another port: {variable}={port + 10} make run"
            ) from error
        if error.errno == errno.EACCES:
            raise RefusedError(f"This user may not open port {port}. Choose one above 1023 in {variable}.") from error
        raise RefusedError(f"Nothing can listen on {host}:{port}: {error.strerror}. See TUNEYARD_HOST.") from error


def _owner_of(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    return ""
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""


def kept_port(home: Path, name: str) -> int:
    """A free loopback port for an inner server: the one of the last start if it is still free."""
    path = home / "ports.json"
    try:
        ports = {str(key): int(value) for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        ports = {}
    for candidate in (ports.get(name, 0), 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            ports[name] = probe.getsockname()[1]
            break
    scratch = path.with_suffix(".json.new")
    scratch.write_text(json.dumps(ports, indent=1) + "\n")
    scratch.replace(path)
    return ports[name]
