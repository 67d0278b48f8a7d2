"""Keeps one front alive on the serving port and tells it when the routing table has changed."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import orjson

from modelkit.serving.agent.custodian import Custodian
from modelkit.serving.agent.processes import Process, adopt, found, spawn
from modelkit.serving.agent.state import SavedFront
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import EndpointCounters, ObservedFront, RevisionTally
from modelkit.serving.wire import Ask, Status, ask

logger = logging.getLogger("modelkit.serving.agent")

#: After deaths without an answer; a front that has answered is wanted back at once, whatever killed it.
BACK_OFF_S = (0.0, 0.2, 1.0, 2.0, 5.0, 10.0)
_CRASH_WINDOW_S = 30.0
_LOOK_EVERY_S = 1.0
_LOOK_AT_NEW_EVERY_S = 0.1
_MAX_MISSED_LOOKS = 5
#: Until a new front must answer. On a busy machine its imports take longer than the looks that a running one may miss.
_START_TIMEOUT_S = 60.0
#: A front without a state answers what it has; the port is dead meanwhile.
_STRAY_S = 1.0


class PortInUse(Exception):
    """Somebody else listens on the serving port."""


class FrontKeeper:
    """Owner of the listening socket, so that callers wait in its queue, and are not refused, while a front restarts."""

    def __init__(self, paths: ServingPaths, host: str, port: int) -> None:
        self._paths = paths
        self._host = host
        self.port = port
        self._listener: socket.socket | None = None
        self._custodian = Custodian(paths.custody)
        self._process: Process | None = None
        self._crashes: list[float] = []
        self._start_at = 0.0
        self._looked_at = 0.0
        self._look: asyncio.Task[None] | None = None
        self._missed = 0
        self._answered = False
        self._started_at = 0.0
        self.healthy = False
        self.counters: tuple[EndpointCounters, ...] = ()
        #: Handed to the front with each look at it; see `vitals`.
        self.vitals = b""
        self.tallies: tuple[RevisionTally, ...] = ()

    def readopt(self, saved: SavedFront) -> None:
        """Keep the front of the last agent if it serves the same address."""
        process = adopt(saved.process)
        if process is None:
            return
        if saved.host == self._host and self.port in (0, saved.port) and self._paths.control.exists():
            self.port = saved.port
            self._process = process
            self._answered = True
            logger.info("Took over the front with pid %d.", process.pid)
        else:
            process.kill()

    async def end_stray(self) -> None:
        """End a front that answers at our control socket though no state tells of it: it would hold the port."""
        try:
            reply = await ask(str(self._paths.control), Ask.RELOAD, timeout_s=2.0)
            process = found(int(orjson.loads(reply.body)["pid"]))
        except (OSError, ValueError, KeyError):
            return
        if process is not None:
            logger.warning("A front with pid %d is left that no state tells of; it is replaced.", process.pid)
            await _end(process, _STRAY_S)

    def saved(self) -> SavedFront:
        return SavedFront(
            process=self._process.identity if self._process is not None else None, host=self._host, port=self.port
        )

    def observed(self) -> ObservedFront:
        pid = self._process.pid if self._process is not None and self._process.alive() else None
        return ObservedFront(pid=pid, port=self.port or None, healthy=self.healthy and pid is not None)

    def watch(self) -> None:
        """Restart a dead front, whose callers have been told by now. Raises PortInUse."""
        self._custodian.look()
        now = time.monotonic()
        if self._process is not None and self._process.alive():
            every = _LOOK_EVERY_S if self._answered else _LOOK_AT_NEW_EVERY_S
            if now - self._looked_at >= every and (self._look is None or self._look.done()):
                self._looked_at = now
                self._look = asyncio.create_task(self._look_at_it())
            return
        if self._process is not None:
            if self._answered:
                self._crashes.clear()
            else:
                self._crashes = [t for t in self._crashes if now - t < _CRASH_WINDOW_S] + [now]
                self._start_at = now + BACK_OFF_S[min(len(self._crashes), len(BACK_OFF_S)) - 1]
            logger.warning("The front died and is restarted.")
            self._process, self.healthy = None, False
        if now >= self._start_at:
            self._spawn()

    async def reload(self, generation: int) -> bool:
        """Tell the front to read the routing table; True once it serves by `generation` or a later one."""
        try:
            reply = await ask(str(self._paths.control), Ask.RELOAD, timeout_s=5.0)
        except OSError:
            return False
        return reply.status is Status.OK and int(orjson.loads(reply.body)["generation"]) >= generation

    async def end(self, deadline_s: float) -> None:
        """End the front after it answered what has come."""
        if self._look is not None:
            self._look.cancel()
        if self._process is not None:
            await _end(self._process, deadline_s)
        self._custodian.close()
        if self._listener is not None:
            self._listener.close()
        self.healthy = False

    def _spawn(self) -> None:
        listener = self._listener or self._listen()
        self._missed, self._answered, self._started_at = 0, False, time.monotonic()
        self._process = spawn(
            "modelkit.serving.front",
            [
                "--fd",
                str(listener.fileno()),
                "--routing",
                str(self._paths.routing),
                "--control",
                str(self._paths.control),
                "--journal",
                str(self._paths.journal),
                "--custody",
                str(self._paths.custody),
            ],
            log=self._paths.logs / "front.log",
            pass_fds=(listener.fileno(),),
        )

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self.port))
        except OSError as error:
            listener.close()
            raise PortInUse(
                f"The serving port {self._host}:{self.port} cannot be used: {error.strerror}. "
                "End what listens there, or set TUNEYARD_SERVING_PORT to another port."
            ) from error
        listener.listen(1024)
        self._listener = listener
        self.port = listener.getsockname()[1]
        return listener

    async def _look_at_it(self) -> None:
        try:
            reply = await ask(str(self._paths.control), Ask.STATS, self.vitals, timeout_s=5.0)
            stats = orjson.loads(reply.body)
            self.counters = tuple(EndpointCounters.model_validate(row) for row in stats["counters"])
            # A front of an older version, taken over while it serves, tells none.
            self.tallies = tuple(RevisionTally.model_validate(row) for row in stats.get("tallies", ()))
            self.healthy, self._missed, self._answered = True, 0, True
        except (OSError, ValueError):
            self.healthy = False
            if not self._answered and time.monotonic() - self._started_at < _START_TIMEOUT_S:
                return
            self._missed += 1
            if self._missed >= _MAX_MISSED_LOOKS and self._process is not None:
                logger.error("The front no longer answers and is ended.")
                self._missed = 0
                self._process.kill()


async def _end(process: Process, deadline_s: float) -> None:
    process.terminate()
    until = time.monotonic() + deadline_s
    while process.alive() and time.monotonic() < until:
        await asyncio.sleep(0.02)
    process.kill()
    while process.alive():
        await asyncio.sleep(0.01)
