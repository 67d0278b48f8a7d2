"""One revision on this host: from its bundle to a runner that has answered its golden set, and back after a crash.

    new -> checking -> checked -> draining -> gone
               |           `-> (crash: restarted with back-off, still `checked`)
               `-> failed

Does not decide when to start or end (`modelkit.serving.plan`) and does not move traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving.agent import golden
from modelkit.serving.agent.processes import Process, adopt, spawn, tail
from modelkit.serving.agent.state import SavedRevision
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import DesiredRevision, EndpointKey, GoldenReplay, ObservedRevision, Phase, RevisionStatus
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
PROBE_EVERY_S = 5.0
PROBE_TIMEOUT_S = 10.0
_MAX_MISSED_PROBES = 3
_START_ATTEMPTS = 3

#: Runs the golden set through the live path; given by the agent, who owns the front.
LiveReplay = Callable[["Revision"], Awaitable[GoldenReplay]]


class CannotStart(Exception):
    """The revision cannot be served; the message is for the user."""


class Revision:
    """See the module. `phase` is what the planner sees; `observed` what the control plane is told."""

    def __init__(
        self, paths: ServingPaths, key: EndpointKey, spec: DesiredRevision, live_replay: LiveReplay, *, threads: int
    ) -> None:
        self.key = key
        self.spec = spec
        self.phase: Phase = "new"
        self.reason = ""
        self.golden: GoldenReplay | None = None
        self.started_s: float | None = None
        self.manifest: bundle.Manifest | None = None
        self.ready = False
        self.socket = paths.socket(*key, spec.number)
        self.log = paths.log(*key, spec.number)
        self._process: Process | None = None
        self._live_replay = live_replay
        self._threads = threads
        self._task: asyncio.Task[None] | None = None
        self._crashes: list[float] = []
        self._crashes_ever = 0
        self._probed_at = 0.0
        self._missed_probes = 0

    @property
    def name(self) -> str:
        return f"{self.key[1]} revision {self.spec.number}"

    @property
    def crash_looping(self) -> bool:
        return not self.ready and len(self._crashes) >= CRASH_LOOP

    @property
    def status(self) -> RevisionStatus:
        if self.phase == "checked":
            return "live" if self.ready else "starting"
        shown: dict[Phase, RevisionStatus] = {
            "new": "pending",
            "checking": "starting",
            "failed": "failed",
            "draining": "draining",
        }
        return shown[self.phase]

    def observed(self) -> ObservedRevision:
        pid = self._process.pid if self._process is not None and self._process.alive() else None
        return ObservedRevision(
            number=self.spec.number,
            status=self.status,
            reason=self.reason,
            pid=pid,
            golden=self.golden,
            started_s=self.started_s,
            crashes=self._crashes_ever,
        )

    def saved(self) -> SavedRevision:
        return SavedRevision(
            spec=self.spec,
            checked=self.phase == "checked",
            process=self._process.identity if self._process is not None else None,
            golden=self.golden,
            started_s=self.started_s,
        )

    # --- verbs ---

    def start(self) -> None:
        self.phase = "checking"
        self._task = asyncio.create_task(self._bring_up())

    def readopt(self, saved: SavedRevision) -> None:
        """Take over what the last agent left: a checked runner that still lives goes on, anything else starts anew."""
        process = adopt(saved.process)
        if process is not None and saved.checked and self.socket.exists():
            with contextlib.suppress(UserError):
                self.manifest = bundle.read(Path(self.spec.bundle))
                self._process, self.phase, self.ready = process, "checked", True
                self.golden, self.started_s = saved.golden, saved.started_s
                logger.info("%s: took over the runner with pid %d.", self.name, process.pid)
                return
        if process is not None:
            process.kill()
        self.start()

    def watch(self) -> None:
        """Look after a checked runner: probe it, restart it when it died."""
        if self.phase != "checked" or (self._task is not None and not self._task.done()):
            return
        if self._process is not None and self._process.alive():
            if time.monotonic() - self._probed_at >= PROBE_EVERY_S:
                self._probed_at = time.monotonic()
                self._task = asyncio.create_task(self._probe())
            return
        now = time.monotonic()
        self._crashes = [t for t in self._crashes if now - t < CRASH_WINDOW_S] + [now]
        self._crashes_ever += 1
        delay_s = BACK_OFF_S[min(len(self._crashes), len(BACK_OFF_S)) - 1]
        self.ready = False
        count = len(self._crashes)
        died = say("The runner died, {count} in a minute; next start in {delay_s:g} s.", count=count, delay_s=delay_s)
        self.reason = both(died, self._last_words())
        logger.warning("%s: %s", self.name, self.reason)
        self._task = asyncio.create_task(self._restart(delay_s))

    def drain(self) -> None:
        """End it: what it has is answered first."""
        self.phase = "draining"
        self.reason = ""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._drain())

    @property
    def gone(self) -> bool:
        return self.phase == "draining" and self._task is not None and self._task.done()

    async def end(self, deadline_s: float) -> None:
        """The whole product stops: end the runner, kindly and then not."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        await self._terminate(deadline_s)

    # --- the way up ---

    async def _bring_up(self) -> None:
        begun = time.monotonic()
        try:
            await self._load()
            direct = await golden.replay_runner(Path(self.spec.bundle), self.socket)
            self._judge(direct)
            self.golden = await self._live_replay(self)
            self._judge(self.golden)
        except (CannotStart, golden.GoldenFailed, OSError, ValueError) as error:
            await self._fail(said_by(error))
        except Exception as error:
            logger.exception("%s: bringing it up failed.", self.name)
            await self._fail(f"{type(error).__name__}: {error}")
        else:
            self.started_s = round(time.monotonic() - begun, 3)
            self.reason = ""
            self.phase = "checked"
            logger.info("%s: checked after %.2f s.", self.name, self.started_s)

    async def _load(self) -> None:
        """Check every file while the runner already loads them: nobody is answered before both are done."""
        check = asyncio.create_task(self._check_bundle())
        try:
            await self._start_runner()
        finally:
            # A damaged file is the better reason of the two when loading has failed as well.
            await check

    async def _check_bundle(self) -> None:
        folder = Path(self.spec.bundle)
        try:
            self.manifest = await asyncio.to_thread(bundle.verify, folder)
        except UserError as error:
            raise CannotStart(both(error.message, error.hint)) from error
        if self.manifest.digest != self.spec.digest:
            raise CannotStart(
                say("The bundle on this host is not the one that was deployed. Deploy the version again.")
            )

    def _judge(self, replay: GoldenReplay) -> None:
        assert self.manifest is not None  # noqa: S101  read by _check_bundle
        self.golden = replay
        problem = golden.verdict(replay, self.manifest)
        if problem:
            raise CannotStart(problem)

    async def _start_runner(self) -> None:
        """Until the runner answers. One that dies without a reason, e.g. killed, is tried again."""
        for attempt in range(1, _START_ATTEMPTS + 1):
            arguments = ["--bundle", self.spec.bundle, "--socket", str(self.socket), "--threads", str(self._threads)]
            self.socket.unlink(missing_ok=True)
            self._process = spawn("modelkit.serving.runner", arguments, log=self.log)
            until = time.monotonic() + LOAD_TIMEOUT_S
            while self._process.alive() and time.monotonic() < until:
                if self.socket.exists():
                    await ask(str(self.socket), Ask.INFO)
                    self.ready = True
                    self._probed_at = time.monotonic()
                    return
                await asyncio.sleep(0.01)
            if self._process.alive():
                self._process.kill()
                raise CannotStart(say("The model did not load within {seconds:.0f} s.", seconds=LOAD_TIMEOUT_S))
            if self._process.returncode == EXIT_UNLOADABLE:
                break
            logger.warning("%s: the runner died while loading (attempt %d).", self.name, attempt)
        raise CannotStart(self._why_unloadable())

    def _why_unloadable(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            told: str = unpack(json.loads(Path(f"{self.socket}.failed").read_text()))
            return told
        return both(say("The runner died while loading the model."), self._last_words())

    def _last_words(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            return say("It was ended by signal {number}.", number=-code)
        lines = [line for line in tail(self.log, 5) if line.strip()]
        return say("Its last words: {words}", words=lines[-1][:200]) if code and lines else ""

    async def _fail(self, reason: str) -> None:
        self.reason = reason
        self.phase = "failed"
        self.ready = False
        logger.error("%s: %s", self.name, reason)
        await self._terminate(1.0)

    # --- afterwards ---

    async def _restart(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            await self._start_runner()
        except (CannotStart, OSError) as error:
            # It has answered before, so it is tried again, later; `watch` sees that it does not live.
            self.reason = said_by(error)
            if self._process is not None:
                self._process.kill()
            logger.error("%s: %s", self.name, error)
        else:
            self.reason = ""

    async def _probe(self) -> None:
        try:
            await ask(str(self.socket), Ask.INFO, timeout_s=PROBE_TIMEOUT_S)
            self._missed_probes = 0
        except OSError:
            self._missed_probes += 1
            if self._missed_probes >= _MAX_MISSED_PROBES and self._process is not None:
                logger.error("%s: the runner no longer answers and is ended.", self.name)
                self._missed_probes = 0
                self._process.kill()

    async def _drain(self) -> None:
        await self._terminate(DRAIN_TIMEOUT_S)
        self.ready = False
        logger.info("%s: drained.", self.name)

    async def _terminate(self, deadline_s: float) -> None:
        if self._process is None:
            return
        self._process.terminate()
        until = time.monotonic() + deadline_s
        while self._process.alive() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self._process.kill()
        # Reaped before the socket goes, so that the removal cannot meet a runner that just binds it.
        while self._process.alive():
            await asyncio.sleep(0.01)
        for path in (self.socket, Path(f"{self.socket}.failed")):
            path.unlink(missing_ok=True)
