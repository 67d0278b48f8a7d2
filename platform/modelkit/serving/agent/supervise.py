"""The agent's loop: read what is desired, compare, act, report. Level-triggered: every pass starts from the files."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from modelkit.serving.agent import golden, state
from modelkit.serving.agent.company import Company
from modelkit.serving.agent.hang import HUNG_S, HangWatch
from modelkit.serving.agent.keeper import FrontKeeper, PortInUse
from modelkit.serving.agent.revision import Revision
from modelkit.serving.agent.routing import routing_table
from modelkit.serving.agent.state import SavedEndpoint, SavedState
from modelkit.serving.agent.vitals import vitals
from modelkit.serving.difference import Action, Actual, Drain, Forget, Point, Start, plan
from modelkit.serving.files import Watched, stamp, write_atomic
from modelkit.serving.paths import ServingPaths
from modelkit.serving.plan import (
    DesiredEndpoint,
    DesiredRevision,
    DesiredSet,
    EndpointKey,
    EndpointStatus,
    GoldenReplay,
    Limits,
    ObservedEndpoint,
    ObservedSet,
    Placement,
)
from modelkit.serving.slots import reslot
from modelkit.wording import say

logger = logging.getLogger("modelkit.serving.agent")

#: Looks at processes and files, and acts on what changed.
TICK_S = 0.1
#: Acts, saves and reports although nothing seems to have changed: this costs more than to look.
QUIET_S = 0.25
REPORT_EVERY_S = 1.0
VITALS_EVERY_S = 2.0
_COMPLAIN_EVERY_S = 10.0
_STOP_S = 8.0
_FRONT_WAIT_S = 30.0


@dataclass
class EndpointState:
    """An endpoint as this host has it. `weights` is where traffic points; it outlives a failed deployment."""

    limits: Limits = field(default_factory=Limits)
    placement: Placement = field(default_factory=Placement)
    weights: dict[int, int] = field(default_factory=dict)
    revisions: dict[int, Revision] = field(default_factory=dict)
    weights_since: float = 0.0
    slots: tuple[int, ...] = ()


class Agent:
    """Owner of everything that serves on this host."""

    def __init__(self, paths: ServingPaths, *, host: str, port: int, threads: int, hung_s: float = HUNG_S) -> None:
        self._paths = paths
        self._threads = threads
        self._hang = HangWatch(hung_s)
        self._saved = state.load(paths.state)
        self._front = FrontKeeper(paths, host, port)
        self._company = Company(paths)
        # Kept in memory only; a new agent makes a new one and pushes its hash.
        self._token = "ty_" + secrets.token_urlsafe(32)
        self._token_hash = hashlib.sha256(self._token.encode()).hexdigest()
        self._endpoints: dict[EndpointKey, EndpointState] = {}
        self._desired = DesiredSet()
        self._desired_file = Watched(paths.desired, DesiredSet)
        self._desired_read = False
        self._generation = self._saved.routing_generation
        self._routed = b""
        self._confirmed = False
        self._routing_lock = asyncio.Lock()
        self._reported = ObservedSet()
        self._reported_at = 0.0
        self._standing: object = None
        self._acted_at = 0.0
        self._looked_at = 0.0
        self._complained_at = float("-inf")
        #: Of the files as we wrote them: what somebody else did to them is undone in the next pass.
        self._routing_stamp = stamp(paths.routing)
        self._state_stamp = stamp(paths.state)

    # --- the loop ---

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then end the front and every runner. Raises PortInUse."""
        if self._saved.front.process is None:
            await self._front.end_stray()
        self._sweep()
        self._readopt()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stopping.done():
                self._hang.put_off()
                await self._pass_or_complain()
                await asyncio.wait((stopping,), timeout=TICK_S)
        finally:
            stopping.cancel()
            self._hang.end()
            await self._end()

    async def _pass_or_complain(self) -> None:
        """What fails now, as on a full disk, is tried again in the next pass: what answers must not end for it."""
        try:
            await self._pass()
        except PortInUse:
            raise
        except Exception as error:
            self._complain(error)

    async def _pass(self) -> None:
        self._read_desired()
        self._attempt(self._front.watch)
        self._attempt(self._watch_revisions)
        standing = [id(self._desired), self._front.healthy, *((r.key, r.standing) for r in self._revisions())]
        if standing == self._standing and time.monotonic() - self._acted_at < QUIET_S:
            return
        self._standing, self._acted_at = standing, time.monotonic()
        if self._desired_read:
            await self._act()
        self._attempt(self._save)
        self._look_at_runners()
        self._attempt(self._report)

    def _attempt(self, step: Callable[[], object]) -> bool:
        """Take a step that a full disk or a want of descriptors may refuse: the other steps of the pass come after."""
        try:
            step()
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            # A full disk is the installation's, and its traceback tells nothing more.
            logger.error("This failed and is tried again: %s", error, exc_info=not isinstance(error, OSError))

    def _watch_revisions(self) -> None:
        for revision in list(self._revisions()):
            revision.watch()

    async def _act(self) -> None:
        self._adopt_settings()
        drains: list[Revision] = []
        for action in plan(self._desired.endpoints, self._actual()):
            drains.extend(self._apply(action))
        self._share_slots()
        self._prune()
        # Traffic first, and confirmed by the front, so that nobody is sent to a runner that drains.
        if await self._push_routing():
            for revision in drains:
                revision.drain()
            for revision in self._revisions():
                revision.settle()

    def _apply(self, action: Action) -> list[Revision]:
        endpoint = self._endpoints.setdefault(action.endpoint, EndpointState())
        if isinstance(action, Start):
            spec = self._spec(action.endpoint, action.number)
            if spec is None:
                endpoint.weights.pop(action.number, None)
                return []
            revision = endpoint.revisions[action.number] = self._revision(action.endpoint, spec)
            revision.start()
        elif isinstance(action, Point):
            logger.info("%s: traffic goes to %s.", action.endpoint[1], dict(action.weights) or "nobody")
            endpoint.weights = dict(action.weights)
            endpoint.weights_since = time.time()
        elif isinstance(action, Forget):
            endpoint.weights = {}
        elif isinstance(action, Drain):
            return [endpoint.revisions[action.number]]
        return []

    def _spec(self, key: EndpointKey, number: int) -> DesiredRevision | None:
        wanted = self._wanted(key)
        for revision in wanted.revisions if wanted is not None else ():
            if revision.number == number:
                return revision
        # Pointed at but no longer desired: the last good revision of a failed deployment, known from our own state.
        for saved in self._saved.endpoints:
            for old in saved.revisions if (saved.workspace, saved.name) == key else ():
                if old.spec.number == number:
                    return old.spec
        return None

    def _prune(self) -> None:
        """Let go of what has ended: drained revisions, failures nobody asks for, endpoints without either."""
        for key, endpoint in list(self._endpoints.items()):
            wanted = self._wanted(key)
            listed = {r.number for r in wanted.revisions} if wanted is not None and wanted.state == "running" else set()
            for number, revision in list(endpoint.revisions.items()):
                over = revision.phase == "failed" and number not in listed and number not in endpoint.weights
                if revision.gone or over:
                    del endpoint.revisions[number]
            if wanted is None and not endpoint.revisions:
                del self._endpoints[key]

    # --- what is desired ---

    def _read_desired(self) -> None:
        desired = self._desired_file.read()
        if desired is not None:
            self._desired, self._desired_read = desired, True

    def _wanted(self, key: EndpointKey) -> DesiredEndpoint | None:
        return next((endpoint for endpoint in self._desired.endpoints if endpoint.key == key), None)

    def _adopt_settings(self) -> None:
        for wanted in self._desired.endpoints:
            endpoint = self._endpoints.setdefault(wanted.key, EndpointState())
            endpoint.limits, endpoint.placement = wanted.limits, wanted.placement
            for revision in endpoint.revisions.values():
                revision.limits, revision.placement = wanted.limits, wanted.placement

    def _share_slots(self) -> None:
        """After traffic was pointed: the same table that moves the weights moves the callers."""
        for wanted in self._desired.endpoints:
            endpoint = self._endpoints[wanted.key]
            endpoint.slots = reslot(endpoint.slots, endpoint.weights) if wanted.sticky else ()

    def _actual(self) -> dict[EndpointKey, Actual]:
        return {
            key: Actual({n: r.phase for n, r in endpoint.revisions.items()}, endpoint.weights)
            for key, endpoint in self._endpoints.items()
        }

    # --- revisions ---

    def _revisions(self) -> Iterable[Revision]:
        return (revision for endpoint in self._endpoints.values() for revision in endpoint.revisions.values())

    def _revision(self, key: EndpointKey, spec: DesiredRevision) -> Revision:
        endpoint = self._endpoints[key]
        return Revision(
            self._paths,
            key,
            spec,
            self._replay_live,
            limits=endpoint.limits,
            placement=endpoint.placement,
            company=self._company,
            threads=self._threads,
        )

    async def _replay_live(self, revision: Revision) -> GoldenReplay:
        """Offer the revision to the front without traffic, and ask it there."""
        until = time.monotonic() + _FRONT_WAIT_S
        while not await self._push_routing():
            if time.monotonic() > until:
                raise golden.GoldenFailed(say("The front took over no new routing table; the agent's log says why."))
            await asyncio.sleep(0.05)
        workspace, name = revision.key
        return await golden.replay_live(
            Path(revision.spec.bundle),
            port=self._front.port,
            token=self._token,
            workspace=workspace,
            name=name,
            revision=revision.spec.number,
        )

    async def _push_routing(self) -> bool:
        """Write the routing table if it changed. True once the front serves by it, else it is to be tried again."""
        async with self._routing_lock:
            table = routing_table(self._desired, self._endpoints, internal=self._token_hash)
            content = table.model_dump_json().encode()
            if content == self._routed and stamp(self._paths.routing) == self._routing_stamp:
                return self._confirmed or await self._confirm()
            numbered = table.model_copy(update={"generation": self._generation + 1}).model_dump_json().encode()
            if not self._attempt(lambda: write_atomic(self._paths.routing, numbered)):
                return False
            self._generation += 1
            self._confirmed = False
            self._routed, self._routing_stamp = content, stamp(self._paths.routing)
            return await self._confirm()

    async def _confirm(self) -> bool:
        self._confirmed = await self._front.reload(self._generation)
        return self._confirmed

    # --- memory and report ---

    def _sweep(self) -> None:
        """Take away the sockets that our state does not know: a runner that nobody can reach ends by itself."""
        known = {
            self._paths.socket(endpoint.workspace, endpoint.name, revision.spec.number, replica)
            for endpoint in self._saved.endpoints
            for revision in endpoint.revisions
            for replica in range(len(revision.processes))
        }
        for socket in self._paths.run.glob("r-*.sock"):
            if socket not in known:
                logger.warning("%s belongs to no revision that our state knows; its runner is let go.", socket.name)
                socket.unlink(missing_ok=True)

    def _readopt(self) -> None:
        self._front.readopt(self._saved.front)
        for saved in self._saved.endpoints:
            key = (saved.workspace, saved.name)
            endpoint = self._endpoints[key] = EndpointState(
                saved.limits,
                saved.placement,
                dict(saved.weights),
                weights_since=saved.weights_since,
                slots=saved.slots,
            )
            for old in saved.revisions:
                revision = endpoint.revisions[old.spec.number] = self._revision(key, old.spec)
                revision.readopt(old)

    def _save(self) -> None:
        endpoints = tuple(
            SavedEndpoint(
                workspace=key[0],
                name=key[1],
                limits=endpoint.limits,
                placement=endpoint.placement,
                weights=endpoint.weights,
                weights_since=endpoint.weights_since,
                slots=endpoint.slots,
                revisions=tuple(r.saved() for r in endpoint.revisions.values() if r.phase != "draining"),
            )
            for key, endpoint in self._endpoints.items()
        )
        current = SavedState(routing_generation=self._generation, front=self._front.saved(), endpoints=endpoints)
        if current != self._saved or stamp(self._paths.state) != self._state_stamp:
            state.save(self._paths.state, current)
            self._saved, self._state_stamp = current, stamp(self._paths.state)

    def _look_at_runners(self) -> None:
        if time.monotonic() - self._looked_at >= VITALS_EVERY_S:
            self._looked_at = time.monotonic()
            self._front.vitals = vitals(self._revisions())

    def _report(self) -> None:
        now = time.monotonic()
        observed = ObservedSet(
            generation=self._desired.generation,
            front=self._front.observed(),
            endpoints=tuple(self._observe(key, endpoint) for key, endpoint in sorted(self._endpoints.items())),
            counters=self._front.counters,
            tallies=self._front.tallies,
            problem=self._desired_file.problem,
        )
        if observed == self._reported and now - self._reported_at < REPORT_EVERY_S:
            return
        self._reported, self._reported_at = observed, now
        stamped = observed.model_copy(update={"updated_at": time.time()})
        write_atomic(self._paths.observed, stamped.model_dump_json().encode())

    def _observe(self, key: EndpointKey, endpoint: EndpointState) -> ObservedEndpoint:
        active = max(endpoint.weights, key=lambda n: endpoint.weights[n], default=None)
        return ObservedEndpoint(
            workspace=key[0],
            name=key[1],
            status=self._status(key, endpoint),
            active_revision=active,
            weights=endpoint.weights,
            weights_since=endpoint.weights_since,
            revisions=tuple(revision.observed() for _, revision in sorted(endpoint.revisions.items())),
        )

    def _status(self, key: EndpointKey, endpoint: EndpointState) -> EndpointStatus:
        wanted = self._wanted(key)
        if wanted is None or wanted.state == "stopped":
            return "stopped"
        routed = [endpoint.revisions[n] for n in endpoint.weights if n in endpoint.revisions]
        answering = [revision for revision in routed if revision.status in ("live", "asleep")]
        failed = [
            r
            for r in wanted.revisions
            if r.number in endpoint.revisions and endpoint.revisions[r.number].phase == "failed"
        ]
        if answering:
            return "live" if len(answering) == len(endpoint.weights) and not failed else "degraded"
        if any(revision.crash_looping for revision in routed):
            return "failed"
        if endpoint.weights and not failed:
            return "degraded"
        return "failed" if failed and len(failed) == len(wanted.revisions) else "pending"

    # --- the end ---

    async def _end(self) -> None:
        """The whole product stops: nothing is left behind, and the next start finds where traffic pointed."""
        logger.info("Stopping the front and %d runners.", sum(1 for _ in self._revisions()))
        await self._front.end(_STOP_S)
        await asyncio.gather(*(revision.end(_STOP_S) for revision in self._revisions()), return_exceptions=True)
        self._attempt(self._save)
        self._reported_at = 0.0
        self._attempt(self._report)
