"""The one process in which small models live together, for the agent: started with the first, ended with the last.

It is not looked after for itself: each of its models is a replica, which sees that the process died and asks anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path

from modelkit.serving.agent.processes import Process, spawn
from modelkit.serving.paths import ServingPaths
from modelkit.serving.wire import Ask, Status, ask
from modelkit.wording import say, unpack

logger = logging.getLogger("modelkit.serving.agent")

_START_TIMEOUT_S = 60.0
_UNLOAD_TIMEOUT_S = 35.0


class CannotJoin(Exception):
    """The model cannot be loaded there; the message is for the user."""


class Company:
    """See the module. `load` and `unload` are for replicas."""

    def __init__(self, paths: ServingPaths) -> None:
        self._control = paths.run / "shared.sock"
        self._log = paths.logs / "shared.log"
        self._process: Process | None = None
        self._members: set[Path] = set()
        self._changing = asyncio.Lock()

    def adopt(self, process: Process, socket: Path) -> None:
        """Take over the process of the last agent for a model that still answers in it."""
        self._process = process
        self._members.add(socket)

    async def load(self, socket: Path, arguments: list[str], *, timeout_s: float) -> Process:
        """Start the process if it does not run, and load a model in it. Raises CannotJoin, OSError."""
        # Counted before the process is there: what comes must not meet the end of what goes.
        self._members.add(socket)
        process = await self._ensure()
        reply = await ask(str(self._control), Ask.LOAD, json.dumps(arguments).encode(), timeout_s=timeout_s)
        if reply.status is not Status.OK:
            raise CannotJoin(unpack(json.loads(reply.body)))
        return process

    async def unload(self, socket: Path) -> None:
        """Let a model answer what it has and go; the process goes with the last one."""
        self._members.discard(socket)
        async with self._changing:
            process = self._process
            if process is None or not process.alive():
                return
            if not self._members:
                await self._end(process)
                return
        try:
            await ask(str(self._control), Ask.UNLOAD, str(socket).encode(), timeout_s=_UNLOAD_TIMEOUT_S)
        except OSError:
            logger.warning("The process that models share does not answer; one of them stays loaded.")

    async def _end(self, process: Process) -> None:
        process.terminate()
        until = time.monotonic() + _UNLOAD_TIMEOUT_S
        while process.alive() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        process.kill()
        # Also while it is only about to be gone: whoever comes next gets another one.
        self._process = None
        self._control.unlink(missing_ok=True)

    async def _ensure(self) -> Process:
        async with self._changing:
            if self._process is not None and self._process.alive():
                return self._process
            self._control.unlink(missing_ok=True)
            self._process = spawn("modelkit.serving.shared", ["--control", str(self._control)], log=self._log)
            until = time.monotonic() + _START_TIMEOUT_S
            while not self._control.exists():
                if not self._process.alive() or time.monotonic() > until:
                    self._process.kill()
                    raise CannotJoin(say("The process that models share does not start; see its log."))
                await asyncio.sleep(0.01)
            return self._process
