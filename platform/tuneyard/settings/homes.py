"""Where an instance keeps its files and how it is addressed; pure functions, no settings."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

#: A Unix socket's path holds 107 bytes; ours are at most 17 longer than their folder.
_LONGEST_SOCKET_DIR = 88


def run_dir(home: Path) -> Path:
    """The folder for sockets and pid files: inside `home`, or a private one in the temp folder if that is too long."""
    inside = home / "run"
    if len(str(inside).encode()) <= _LONGEST_SOCKET_DIR:
        return inside
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tuneyard-{digest}"


def shown_host(bind_host: str) -> str:
    """The host to print for an address that servers bind to."""
    return "localhost" if bind_host in {"127.0.0.1", "::1", "0.0.0.0", "::", ""} else bind_host  # noqa: S104


def with_port(url: str, port: int) -> str:
    """`url` with another port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def allowed_hosts(bind_host: str, public_url: str) -> list[str]:
    """Host headers to accept: loopback names, the bound address and the public name."""
    hosts = {"localhost", "127.0.0.1", "[::1]", urlsplit(public_url).hostname or "localhost"}
    if bind_host not in {"0.0.0.0", "::", ""}:  # noqa: S104
        hosts.add(bind_host)
    return sorted(hosts)
