"""One runner process: up, kept up, and down. Does not know golden sets, traffic or other replicas."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from modelkit.serving.agent.company import CannotJoin, Company
from modelkit.serving.agent.processes import Process, ProcessId, adopt, spawn
from modelkit.serving.files import tail
from modelkit.serving.runner import EXIT_UNLOADABLE
from modelkit.serving.wire import Ask, ask
from modelkit.wording import both, said_by, say, unpack

logger = logging.getLogger("modelkit.serving.agent")

LOAD_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 35.0
#: Seconds before each restart of a runner that keeps dying; the last one repeats.
BACK_OFF_S = (0.0, 0.2, 1.0, 2.0, 5.0, 15.0, 30.0)
#: Crashes older than this are forgiven.
CRASH_WINDOW_S = 60.0
#: From here on the endpoint is called failed, though restarts go on.
CRASH_LOOP = 4
PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 5.0
#: On a busy machine a healthy runner may be late; this many seconds of silence are a hang.
SILENT_S = 20.0
#: A runner without a ceiling of its own may take this much more than after its warm-up.
_ROOM_FACTOR, _ROOM_BYTES = 2, 1024**3
_START_ATTEMPTS = 3


class CannotStart(Exception):
    """The model cannot be served; the message is for the user."""


class RunnerInfo(BaseModel):
    """What a runner says of itself, see `modelkit.serving.runner.Runner.info`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    in_flight: int
    queued_inputs: int
    oldest_run_s: float
    idle_s: float


class Replica:
    """See the module. `ready` once it answers; `reason` is why it does not.

    It is started anew when it takes more memory than `memory_limit_bytes` (0: a guess from what it takes when warm), or
    when a batch runs for longer than `hang_s`. With `company` it has no process of its own.
    """

    def __init__(
        self, name: str, socket: Path, log: Path, arguments: Callable[[], list[str]], company: Company | None = None
    ) -> None:
        self.name = name
        self._company = company
        self.socket = socket
        self.ready = False
        self.reason = ""
        self.info: RunnerInfo | None = None
        self.memory_bytes = 0
        self.memory_limit_bytes = 0
        self.hang_s = 0.0
        self.restarts = 0
        self._log = log
        self._arguments = arguments
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._crashes: list[float] = []
        self._probed_at = 0.0
        self._heard_at = 0.0
        self._first_bytes = 0

    @property
    def identity(self) -> ProcessId | None:
        return self._process.identity if self._process is not None else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.alive() else None

    @property
    def crash_looping(self) -> bool:
        return not self.ready and len(self._crashes) >= CRASH_LOOP

    def readopt(self, identity: ProcessId | None) -> bool:
        """Take over a living runner that listens at our socket."""
        process = adopt(identity)
        if process is None:
            return False
        if not self.socket.exists():
            # It was still loading; nobody would look after it.
            if self._company is None:
                process.kill()
            return False
        if self._company is not None:
            self._company.adopt(process, self.socket)
        self._process, self.ready = process, True
        self._heard_at = time.monotonic()
        return True

    def begin(self) -> None:
        """Start it in the background; when that fails `reason` says why, and `watch` tries again."""
        self.reason = ""
        self._task = asyncio.create_task(self._restart(0.0))

    def watch(self) -> None:
        """Probe it, hold it to its ceiling, restart it when it died."""
        if self._task is not None and not self._task.done():
            return
        now = time.monotonic()
        if self._process is not None and self._process.alive():
            if now - self._probed_at >= PROBE_EVERY_S:
                self._probed_at = now
                self._task = asyncio.create_task(self._probe())
            return
        self._crashes = [t for t in self._crashes if now - t < CRASH_WINDOW_S] + [now]
        delay_s = BACK_OFF_S[min(len(self._crashes), len(BACK_OFF_S)) - 1]
        count = len(self._crashes)
        died = say("The runner died, {count} in a minute; next start in {delay_s:g} s.", count=count, delay_s=delay_s)
        self.reason = both(died, self.reason if self.ready and self.reason else self._last_words())
        self.ready, self.info = False, None
        self.restarts += 1
        logger.warning("%s: %s", self.name, self.reason)
        self._task = asyncio.create_task(self._restart(delay_s))

    async def start(self) -> None:
        """Until it answers. One that dies without a reason, e.g. killed, is tried again. Raises CannotStart."""
        if self._company is not None:
            await self._join(self._company)
            return
        for attempt in range(1, _START_ATTEMPTS + 1):
            self.socket.unlink(missing_ok=True)
            self._process = spawn("modelkit.serving.runner", self._arguments(), log=self._log)
            until = time.monotonic() + LOAD_TIMEOUT_S
            while self._process.alive() and time.monotonic() < until:
                if self.socket.exists():
                    await self._greet()
                    return
                await asyncio.sleep(0.01)
            if self._process.alive():
                self._process.kill()
                raise CannotStart(say("The model did not load within {seconds:.0f} s.", seconds=LOAD_TIMEOUT_S))
            if self._process.returncode == EXIT_UNLOADABLE:
                break
            logger.warning("%s: the runner died while loading (attempt %d).", self.name, attempt)
        raise CannotStart(self._why_unloadable())

    def kill(self) -> None:
        if self._process is not None and self._company is None:
            self._process.kill()
        self._process, self.ready = None, False

    async def end(self, deadline_s: float = DRAIN_TIMEOUT_S) -> None:
        """Let it answer what it has, then end it; after `deadline_s` it is killed."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        if self._company is not None:
            await self._company.unload(self.socket)
        elif self._process is not None:
            self._process.terminate()
            until = time.monotonic() + deadline_s
            while self._process.alive() and time.monotonic() < until:
                await asyncio.sleep(0.02)
            self._process.kill()
            # Reaped before the socket goes, so that the removal cannot meet a runner that just binds it.
            while self._process.alive():
                await asyncio.sleep(0.01)
        self._process, self.ready, self.info = None, False, None
        for path in (self.socket, Path(f"{self.socket}.failed")):
            path.unlink(missing_ok=True)

    # --- inside ---

    async def _join(self, company: Company) -> None:
        self.socket.unlink(missing_ok=True)
        try:
            self._process = await company.load(self.socket, self._arguments(), timeout_s=LOAD_TIMEOUT_S)
        except CannotJoin as error:
            raise CannotStart(said_by(error)) from None
        await self._greet()

    async def _greet(self) -> None:
        await ask(str(self.socket), Ask.INFO)
        self._heard_at = self._probed_at = time.monotonic()
        self._first_bytes = 0
        self.ready, self.reason = True, ""

    async def _restart(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            await self.start()
        except (CannotStart, OSError) as error:
            # It has answered before, so it is tried again, later; `watch` sees that it does not live.
            self.reason = said_by(error)
            self.kill()
            logger.error("%s: %s", self.name, error)

    async def _probe(self) -> None:
        assert self._process is not None  # noqa: S101  `watch` has looked
        try:
            reply = await ask(str(self.socket), Ask.INFO, timeout_s=PROBE_TIMEOUT_S)
            self.info = RunnerInfo.model_validate_json(reply.body)
            self._heard_at = time.monotonic()
        except (OSError, ValidationError):
            if time.monotonic() - self._heard_at >= SILENT_S:
                self._kill(say("It did not answer for {seconds:.0f} s and was ended.", seconds=SILENT_S))
            return
        with contextlib.suppress(psutil.Error):
            self.memory_bytes = psutil.Process(self._process.pid).memory_info().rss
        self._first_bytes = self._first_bytes or self.memory_bytes
        roomy = max(_ROOM_FACTOR * self._first_bytes, self._first_bytes + _ROOM_BYTES)
        limit_bytes = self.memory_limit_bytes or roomy
        if self.info.oldest_run_s > self.hang_s:
            self._kill(say("A batch ran for more than {seconds:.0f} s, so it was ended.", seconds=self.hang_s))
        elif self.memory_bytes > limit_bytes:
            used, allowed = self.memory_bytes // 1_000_000, limit_bytes // 1_000_000
            self._kill(say("It took {used} MB of memory, of {allowed} MB, and was ended.", used=used, allowed=allowed))

    def _kill(self, reason: str) -> None:
        assert self._process is not None  # noqa: S101  the caller has looked
        logger.error("%s: %s", self.name, reason)
        self.reason = reason
        self._process.kill()

    def _why_unloadable(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            told: str = unpack(json.loads(Path(f"{self.socket}.failed").read_text()))
            return told
        return both(say("The runner died while loading the model."), self._last_words())

    def _last_words(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            return say("It was ended by signal {number}.", number=-code)
        lines = [line for line in tail(self._log, 5) if line.strip()]
        return say("Its last words: {words}", words=lines[-1][:200]) if code and lines else ""
