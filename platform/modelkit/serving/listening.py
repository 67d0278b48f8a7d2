"""What the processes of serving have in common: Unix sockets, descriptors, and an end when they are told to end."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable
from pathlib import Path


class Door:
    """A Unix socket that listens at `path`. Use `open`."""

    def __init__(self, path: Path, server: asyncio.AbstractServer, inode: int) -> None:
        self.path = path
        self._server = server
        self._inode = inode

    @classmethod
    async def open(cls, path: Path, protocol: Callable[[], asyncio.BaseProtocol]) -> Door:
        """Listen, for this user alone, in the place of whoever did before. Raises OSError."""
        # Bound under another name and renamed, so that a socket seen is a socket that listens.
        waiting = path.with_suffix(".new")
        waiting.unlink(missing_ok=True)
        server = await asyncio.get_running_loop().create_unix_server(protocol, str(waiting), backlog=128)
        waiting.chmod(0o600)
        inode = waiting.stat().st_ino
        waiting.replace(path)
        return cls(path, server, inode)

    @property
    def ours(self) -> bool:
        """Whether who comes still comes to us: the socket is neither gone nor another's."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Let nobody else in; who is in stays."""
        self._server.close()
        if self.ours:
            self.path.unlink(missing_ok=True)


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


def raise_descriptors(wanted: int) -> int:
    """How many files and sockets this process may have open: `wanted` or what the system allows, if that is less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
