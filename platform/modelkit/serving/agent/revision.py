"""One revision on this host: from its bundle to runners that have answered its golden set.

    new -> checking -> checked -> draining -> gone
               |           `-> asleep, and back with the next request (still `checked`)
               `-> failed

Does not decide when to start or end (`modelkit.serving.difference`), does not move traffic and does not look after a
runner (`modelkit.serving.agent.replica`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from modelkit import bundle
from modelkit.errors import UserError
from modelkit.serving.agent import golden, tuning
from modelkit.serving.agent.company import Company
from modelkit.serving.agent.replica import DRAIN_TIMEOUT_S, CannotStart, Replica
from modelkit.serving.agent.state import SavedRevision
from modelkit.serving.difference import Phase
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import (
    DesiredRevision,
    EndpointKey,
    GoldenReplay,
    Limits,
    ObservedRevision,
    Placement,
    RevisionStatus,
    Runtime,
    Tuning,
)
from modelkit.wording import both, said_by, say

logger = logging.getLogger("modelkit.serving.agent")

#: Whatever is killed while a revision comes up must not cost the deployment.
_ATTEMPTS = 3

#: Runs the golden set through the live path; given by the agent, who owns the front.
LiveReplay = Callable[["Revision"], Awaitable[GoldenReplay]]


class Revision:
    """See the module. `phase` is what the planner sees; `observed` what the control plane is told."""

    def __init__(
        self,
        paths: ServingPaths,
        key: EndpointKey,
        spec: DesiredRevision,
        live_replay: LiveReplay,
        *,
        limits: Limits,
        placement: Placement,
        company: Company,
        threads: int,
    ) -> None:
        self.key = key
        self.spec = spec
        self.limits = limits
        self.placement = placement
        self.phase: Phase = "new"
        self.asleep = False
        self.golden: GoldenReplay | None = None
        self.started_s: float | None = None
        self.tuning: Tuning | None = None
        self.manifest: bundle.Manifest | None = None
        self._paths = paths
        self._log = paths.log(*key, spec.number)
        self._live_replay = live_replay
        self._threads = threads
        self._company = company
        # Of the replicas that there are; where the placement differs, `_move` brings them there.
        self._shared = placement.shared
        self._failure = ""
        self._waking = False
        self._used_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._replicas = [self._replica(0)]
        self._coming: Replica | None = None
        self._leaving: list[Replica] = []
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return f"{self.key[1]} revision {self.spec.number}"

    @property
    def ready(self) -> bool:
        return any(replica.ready for replica in self._replicas)

    @property
    def sockets(self) -> tuple[str, ...]:
        """Where it answers, or will when it has been woken."""
        answering = [str(replica.socket) for replica in self._replicas if replica.ready]
        return tuple(answering) or (str(self._replicas[0].socket),)

    @property
    def _wish(self) -> Path:
        """The file by which the front asks that it be woken."""
        return Path(f"{self._replicas[0].socket}.wake")

    @property
    def runtime(self) -> Runtime:
        """As the user fixed it, else as it was measured to be best, else the default."""
        if self.spec.runtime is not None:
            return self.spec.runtime
        return self.tuning.runtime if self.tuning is not None else Runtime()

    @property
    def reason(self) -> str:
        return self._failure or next((replica.reason for replica in self._all if replica.reason), "")

    @property
    def _all(self) -> list[Replica]:
        """Also the one that is to take the others' place."""
        return self._replicas if self._coming is None else [*self._replicas, self._coming]

    @property
    def queued_inputs(self) -> int:
        """As of the last probes."""
        return sum(replica.info.queued_inputs for replica in self._replicas if replica.info is not None)

    @property
    def crash_looping(self) -> bool:
        return not self.ready and any(replica.crash_looping for replica in self._replicas)

    @property
    def status(self) -> RevisionStatus:
        if self.phase == "checked":
            return "asleep" if self.asleep else "live" if self.ready else "starting"
        shown: dict[Phase, RevisionStatus] = {
            "new": "pending",
            "checking": "starting",
            "failed": "failed",
            "draining": "draining",
        }
        return shown[self.phase]

    @property
    def standing(self) -> tuple[object, ...]:
        """Equal while nothing happened to it that its place in the traffic or what is kept of it depends on."""
        return (self.phase, self.asleep, self.reason, *((replica.pid, replica.ready) for replica in self._replicas))

    def observed(self) -> ObservedRevision:
        return ObservedRevision(
            number=self.spec.number,
            status=self.status,
            reason=self.reason,
            pid=self._replicas[0].pid,
            pids=tuple(replica.pid for replica in self._replicas if replica.pid is not None),
            memory_mb=sum(replica.memory_bytes for replica in self._replicas if replica.pid is not None) // 1_000_000,
            restarts=sum(replica.restarts for replica in self._replicas),
            golden=self.golden,
            started_s=self.started_s,
            tuning=self.tuning,
        )

    def saved(self) -> SavedRevision:
        return SavedRevision(
            spec=self.spec,
            checked=self.phase == "checked",
            asleep=self.asleep,
            shared=self._shared,
            processes=tuple(replica.identity for replica in self._replicas),
            golden=self.golden,
            started_s=self.started_s,
            tuning=self.tuning,
        )

    # --- verbs ---

    def start(self) -> None:
        self.phase = "checking"
        self._task = asyncio.create_task(self._bring_up())

    def readopt(self, saved: SavedRevision) -> None:
        """Take over what the last agent left: a checked runner that still lives goes on, anything else starts anew."""
        self.tuning = saved.tuning
        self._shared = saved.shared
        self._replicas = [self._replica(index) for index in range(max(1, len(saved.processes)))]
        pairs = list(zip(self._replicas, saved.processes, strict=False))
        living = [replica for replica, identity in pairs if replica.readopt(identity)]
        self._used_at = time.monotonic()
        if saved.checked and (living or saved.asleep):
            with contextlib.suppress(UserError):
                self.manifest = bundle.read(Path(self.spec.bundle))
                self.phase, self.asleep = "checked", not living
                self.golden, self.started_s = saved.golden, saved.started_s
                logger.info("%s: took over %d of %d runners.", self.name, len(living), len(saved.processes))
                return
        if self._shared == self.placement.shared:
            for replica in living:
                replica.kill()
        else:
            # Not where it starts anew, so nothing takes its place there: it has to be told.
            self._leaving += living
        self._shared = self.placement.shared
        self._replicas = [self._replica(0)]
        self.start()

    def watch(self) -> None:
        """Look after the runners of a checked revision: how many, how they are, whether anybody needs them."""
        if self.phase != "checked":
            return
        if self.asleep:
            self._watch_sleep()
            return
        for replica in self._all:
            replica.memory_limit_bytes = self.placement.memory_mb * 1_000_000
            replica.hang_s = self.limits.timeout_s
            replica.watch()
        self._move()
        wanted = 1 if self._shared else self.placement.replicas
        while len(self._replicas) < wanted and not self._places_taken:
            self._replicas.append(self._replica(len(self._replicas)))
            self._replicas[-1].begin()
        while len(self._replicas) > wanted:
            self._leaving.append(self._replicas.pop())
        if self._coming is None and self._is_idle():
            logger.info("%s: falls asleep; the next request wakes it.", self.name)
            # Before the front is told: a wish from now on is meant, one left from the last waking is not.
            self._wish.unlink(missing_ok=True)
            self.asleep = True

    def settle(self) -> None:
        """End runners that the front no longer uses; to be called once it has the routing table that says so."""
        for replica in self._leaving:
            self._background(replica.end())
        self._leaving.clear()
        if self.asleep and not self._waking:
            for replica in self._replicas:
                if replica.ready:
                    replica.ready = False
                    self._background(replica.end())
            del self._replicas[1:]

    def drain(self) -> None:
        """End it: what it has is answered first."""
        self.phase = "draining"
        self._failure = ""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._drain())

    @property
    def gone(self) -> bool:
        return self.phase == "draining" and self._task is not None and self._task.done()

    async def end(self, deadline_s: float) -> None:
        """The whole product stops: end the runners, kindly and then not."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task
        await self._end_all(deadline_s)

    # --- the way up ---

    async def _bring_up(self) -> None:
        begun = time.monotonic()
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    await self._load_and_check()
                    break
                except (ConnectionError, golden.Interrupted) as error:
                    if attempt == _ATTEMPTS:
                        raise
                    logger.warning("%s: interrupted while it was checked (attempt %d): %s", self.name, attempt, error)
                    await self._replicas[0].end(1.0)
        except (CannotStart, golden.GoldenFailed, OSError, ValueError) as error:
            await self._fail(said_by(error))
        except Exception as error:
            logger.exception("%s: bringing it up failed.", self.name)
            await self._fail(f"{type(error).__name__}: {error}")
        else:
            self.started_s = round(time.monotonic() - begun, 3)
            self._used_at = time.monotonic()
            self.phase = "checked"
            logger.info("%s: checked after %.2f s.", self.name, self.started_s)

    async def _load_and_check(self) -> None:
        """Raises ConnectionError, golden.Interrupted when the runner or the front died meanwhile."""
        await self._load()
        direct = await golden.replay_runner(Path(self.spec.bundle), self._replicas[0].socket)
        self._judge(direct)
        self.golden = await self._live_replay(self)
        self._judge(self.golden)

    async def _load(self) -> None:
        """Check every file while the runner already loads them: nobody is answered before both are done."""
        check = asyncio.create_task(self._check_bundle())
        try:
            if self.spec.goal and self.spec.runtime is None and self.tuning is None:
                await check
                self.tuning = await tuning.measure(Path(self.spec.bundle), self.spec.goal, threads=self._threads)
                logger.info("%s: %s", self.name, self.tuning.reason)
            await self._replicas[0].start()
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
        problem = golden.verdict(replay, self.manifest, self.runtime)
        if problem:
            raise CannotStart(problem)

    async def _fail(self, reason: str) -> None:
        self._failure = reason
        self.phase = "failed"
        logger.error("%s: %s", self.name, reason)
        await self._end_all(1.0)

    # --- afterwards ---

    def _is_idle(self) -> bool:
        """Whether every runner says that nobody has asked for as long as the placement allows."""
        idle_s = self.placement.idle_s
        if not idle_s or time.monotonic() - self._used_at < idle_s:
            return False
        known = [replica.info for replica in self._replicas if replica.ready]
        return bool(known) and all(info is not None and not info.in_flight and info.idle_s > idle_s for info in known)

    def _move(self) -> None:
        """Into the shared process or out of it: what answers now goes once its successor has loaded and answers too."""
        if self.placement.shared == self._shared:
            if self._coming is not None:
                self._leaving.append(self._coming)
                self._coming = None
        elif self._coming is None:
            if not self._places_taken:
                self._coming = self._replica(0, shared=self.placement.shared)
                self._coming.begin()
        elif self._coming.ready:
            logger.info("%s: moves %s the shared process.", self.name, "out of" if self._shared else "into")
            self._leaving += self._replicas
            self._replicas, self._coming = [self._coming], None
            self._shared = self.placement.shared

    @property
    def _places_taken(self) -> bool:
        """Whether runners still end: one that began in the place of such a one would lose its socket to it."""
        return bool(self._leaving or self._ending)

    def _watch_sleep(self) -> None:
        """The front leaves a file beside the socket when somebody asks."""
        first = self._replicas[0]
        if not self._waking:
            # A runner that still ends must be gone before its place is taken; one that was not told to end just stays.
            if self._wish.exists() and not self._ending:
                self._waking = True
                if not first.ready:
                    first.begin()
        elif first.ready or first.reason:
            # One that cannot be woken is no sleeper any more: whoever waits is told so, and it is tried anew, as any.
            self.asleep = self._waking = False
            self._used_at = time.monotonic()
            self._wish.unlink(missing_ok=True)
        else:
            first.watch()

    def _replica(self, index: int, *, shared: bool | None = None) -> Replica:
        inside = self._shared if shared is None else shared
        socket = self._paths.socket(*self.key, self.spec.number, index, shared=inside)
        return Replica(
            f"{self.name}, {'in the shared process' if inside else f'runner {index}'}", socket, self._log,
            lambda: self._arguments(socket), self._company if inside else None,
        )  # fmt: skip

    def _arguments(self, socket: Path) -> list[str]:
        runtime = self.runtime
        slots = runtime.slots or -(-self._threads // self.placement.replicas)
        return [
            "--bundle", self.spec.bundle,
            "--socket", str(socket),
            "--threads", str(slots),
            "--engine", runtime.engine,
            "--precision", runtime.precision,
            "--max-batch", str(runtime.max_batch),
        ]  # fmt: skip

    def _background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _drain(self) -> None:
        await self._end_all(DRAIN_TIMEOUT_S)
        logger.info("%s: drained.", self.name)

    async def _end_all(self, deadline_s: float) -> None:
        await asyncio.gather(*(replica.end(deadline_s) for replica in [*self._all, *self._leaving]))
        await asyncio.gather(*self._ending)
