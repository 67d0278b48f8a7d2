"""What the supervisor must know of a process, and how one asks whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process. It is ready when its probe says so; without a probe, as soon as it runs.

    A one-shot service is ready when it has ended well; if it ends badly, the start is given up.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Names of services that must be ready first. Only the first start waits: what restarts finds its own way.
    needs: tuple[str, ...] = ()
    #: Names of services that are let ahead for a while, since somebody waits for them; no need, only courtesy.
    after: tuple[str, ...] = ()
    ready: Probe | None = None
    one_shot: bool = False
    #: Stages stop one after the other, the highest first; the services of one stage together.
    stop_stage: int = 0
    #: Seconds between SIGTERM and SIGKILL.
    stop_s: float = 10.0
    #: Whether what is left of its process group is killed when it ends. No for those whose children live on.
    owns_group: bool = True
    nice: int = 0


def socket_answers(path: Path, question: bytes, answer: bytes) -> Probe:
    """Ready when the server on a Unix socket answers a question."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            writer.write(question)
            return (await reader.read(len(answer))) == answer
        finally:
            writer.close()

    return probe


def http_answers(host: str, port: int, path: str) -> Probe:
    """Ready when a GET is answered with anything below 500."""

    async def probe() -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
            status = (await reader.readline()).split()
            return len(status) > 1 and status[1].isdigit() and int(status[1]) < 500
        finally:
            writer.close()

    return probe


async def until_ready(probe: Probe, *, every_s: float = 0.1, timeout_s: float = 2.0) -> None:
    """Returns once the probe says yes; a refused or slow answer is a no."""
    while True:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            if await asyncio.wait_for(probe(), timeout_s):
                return
        await asyncio.sleep(every_s)
