"""What each address of the serving port answers. Does not know sockets' bytes (`http`) or how a model is reached."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path
from typing import Any

import orjson

from modelkit.serving.custody import MAX_CONNECTIONS
from modelkit.serving.files import Watched
from modelkit.serving.front import describe, exposition
from modelkit.serving.front.contenders import Contenders
from modelkit.serving.front.control import ControlPlane, check_load, not_settled, settled
from modelkit.serving.front.counters import Counters
from modelkit.serving.front.custody import Custody
from modelkit.serving.front.dialects import Dialect, Embeddings, Infer, Predict, json_object
from modelkit.serving.front.exchange import Exchange
from modelkit.serving.front.http import Connection
from modelkit.serving.front.keys import ANY_WORKSPACE, Credential, KeyRing
from modelkit.serving.front.links import Link
from modelkit.serving.front.mirror import Mirror
from modelkit.serving.front.problem import (
    FAILED,
    FULL,
    NOT_FOUND,
    NOT_LOADED,
    UNAUTHENTICATED,
    Problem,
    Refused,
    body_too_large,
    invalid,
    method_not_allowed,
    other_endpoint,
)
from modelkit.serving.front.request import Request
from modelkit.serving.front.samples import Samples
from modelkit.serving.front.table import Endpoint, Table
from modelkit.serving.plan import RoutingTable, RunnerVitals
from modelkit.serving.wire import NO_COST

logger = logging.getLogger("modelkit.serving.front")

_PREDICT = re.compile(r"/predict/([^/]{1,200})/?")
_MODEL = re.compile(r"/v2/models/([^/]{1,200})(?:/versions/([0-9]{1,9}))?(/infer|/ready)?/?")
_GET_ONLY = frozenset(("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/metrics"))
_LOAD = re.compile(r"/v2/repository/models/([^/]{1,200})/(load|unload)")
_DOCUMENT = re.compile(r"/openapi/([^/]{1,200})\.json")
_LISTED = re.compile(r"/v1/models/([^/]{1,200})")
#: Addresses of a workspace rather than of an endpoint: the method and the action of each.
_OF_WORKSPACE = {
    "/v1/embeddings": ("POST", "embeddings"),
    "/v1/models": ("GET", "models"),
    "/v2/repository/index": ("POST", "index"),
}
_POSTED = frozenset(("predict", "infer", "load", "unload"))
#: What a model answers; only these are counted.
_ASKS_MODEL = frozenset(("predict", "infer", "embeddings"))
#: Small, for requests that have no business with a body.
_NO_BODY_BYTES = 1024
#: For the agent's golden set.
_INTERNAL_BODY_BYTES = 64_000_000

_INTERNAL_WORKSPACE = b"x-tuneyard-workspace"
_INTERNAL_REVISION = b"x-tuneyard-revision"


class _Call:
    """What `admit` found out: the action, and for endpoints which one and which revision."""

    __slots__ = ("action", "counted", "endpoint", "exchange", "key", "pinned", "workspace")

    def __init__(
        self,
        action: str,
        workspace: str | None = None,
        endpoint: Endpoint | None = None,
        pinned: int | None = None,
        key: Credential | None = None,
    ) -> None:
        self.action = action
        self.key = key
        self.workspace = workspace
        self.endpoint = endpoint
        self.pinned = pinned
        self.counted = True
        self.exchange: Exchange | None = None


class Front:
    """The handler of all connections. `reload` swaps the table between two requests.

    The keys lie beside the routing table, and what they have used as well. `custody`: where the agent listens that
    answers for a front that is killed.
    """

    def __init__(
        self,
        routing_file: Path,
        *,
        control_url: str = "",
        max_connections: int = MAX_CONNECTIONS,
        custody: Path | None = None,
    ) -> None:
        self._file = Watched(routing_file, RoutingTable)
        self._control = ControlPlane(control_url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.keys = KeyRing(routing_file.with_name("keys.json"), routing_file.with_name("key-usage.json"))
        self.max_connections = max_connections
        self.connections: set[Connection] = set()
        self.custody = Custody(custody, max_connections)
        self.links: dict[str, Link] = {}
        self.counters = Counters()
        self.started_at = time.time()
        #: Told by the agent, which owns the runners.
        self.vitals: tuple[RunnerVitals, ...] = ()
        self.vitals_at = 0.0
        self.samples = Samples(routing_file.parent / "samples")
        self.contenders = Contenders()
        self.mirror = Mirror(routing_file.with_name("shadow"))
        self.table = Table(RoutingTable(), self.links, self.contenders)
        self.loaded = False

    def has_room(self) -> bool:
        """Whether a connection may stay; for one of a busy port the longest idle one goes."""
        if len(self.connections) < self.max_connections:
            return True
        idle = min((c for c in self.connections if c.idle), key=lambda c: c.deadline, default=None)
        if idle is None:
            self.counters.strangers[FULL.status] = self.counters.strangers.get(FULL.status, 0) + 1
            return False
        self.connections.discard(idle)
        idle.close()
        return True

    # --- the table ---

    def reload(self) -> int:
        """Read `routing.json` if it changed; a damaged one is ignored. Returns the generation in use."""
        self.keys.reload()
        routing = self._file.read()
        if routing is None:
            return self.table.generation
        self.table = Table(routing, self.links, self.contenders)
        self.counters.keep({key: endpoint.by_number for key, endpoint in self.table.endpoints.items()})
        self.samples.keep(self.table.endpoints)
        self.loaded = True
        return self.table.generation

    def tick(self) -> None:
        """About once a second: time-outs, lost links, and the table in case nobody told us that it changed."""
        self.reload()
        now = time.monotonic()
        for link in list(self.links.values()):
            link.wake()
            for caller in link.expire(now):
                caller.timed_out()
            # A runner that came back is up before anybody asks it something.
            if not link.asleep:
                link.open()
        self.mirror.flush()
        for connection in list(self.connections):
            connection.expire(now)
        self.samples.flush()

    async def keep_usage(self) -> None:
        """Write down what keys have used, on a thread; about once a second, so that a kill loses no more of it."""
        content = self.keys.usage()
        if content is not None:
            await asyncio.to_thread(self.keys.write, content)

    def stats(self, told: bytes = b"") -> bytes:
        """For the agent: counters per endpoint, and per revision where several share the traffic.

        `told` is what it knows of its runners, a list of `RunnerVitals`.
        """
        if told:
            self.vitals = tuple(RunnerVitals.model_validate(row) for row in orjson.loads(told))
            self.vitals_at = time.monotonic()
        return orjson.dumps(
            {
                "generation": self.table.generation,
                "counters": self.counters.summary(),
                "tallies": self.contenders.report(),
            }
        )

    async def drain(self, deadline_s: float) -> None:
        """Answer what has come, then return."""
        for connection in list(self.connections):
            connection.close_after_answers()
        until = time.monotonic() + deadline_s
        while self.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await self.samples.close()
        await self.mirror.close()

    # --- Handler ---

    def identify(self, request: Request) -> Credential | None:
        """Whose key the request carries, if it is valid now."""
        return self.keys.find(request.headers.get(b"authorization"), self.table.internal)

    def _unknown_key(self) -> Problem:
        """Before the keys were read nobody can be told from a stranger, so nobody is called one."""
        return UNAUTHENTICATED if self.keys.loaded else NOT_LOADED

    def admit(self, request: Request, connection: Connection) -> Problem | None:
        """Decide by the headers alone: address, key, method, size."""
        request.max_body = _NO_BODY_BYTES
        path = request.path
        if path in _GET_ONLY:
            return self._admit_plain(request, connection)
        predict = _PREDICT.fullmatch(path)
        model = None if predict else _MODEL.fullmatch(path)
        if predict is not None:
            action, name, version = "predict", predict[1], None
        elif model is not None:
            action, name, version = (model[3] or "/metadata")[1:], model[1], model[2]
        else:
            return self._admit_rest(request)
        return self._admit_endpoint(request, action, name, int(version) if version else None)

    def _admit_rest(self, request: Request) -> Problem | None:
        """Addresses that are asked seldom."""
        path = request.path
        if path in _OF_WORKSPACE:
            return self._admit_workspace(request, *_OF_WORKSPACE[path])
        if (load := _LOAD.fullmatch(path)) is not None:
            return self._admit_endpoint(request, load[2], load[1], None)
        if (document := _DOCUMENT.fullmatch(path)) is not None:
            return self._admit_endpoint(request, "openapi", document[1], None)
        if (listed := _LISTED.fullmatch(path)) is not None:
            return self._admit_endpoint(request, "model", listed[1], None)
        return NOT_FOUND

    def _admit_workspace(self, request: Request, method: str, action: str) -> Problem | None:
        key = self.identify(request)
        if key is None:
            return self._unknown_key()
        if request.method != method:
            return method_not_allowed(method)
        if action == "embeddings":
            # The body names the endpoint, so its own limit, and whether the key may, can be held only afterwards.
            request.max_body = max(self.table.max_bytes_of(key.workspace), _NO_BODY_BYTES)
        elif key.endpoint is not None:
            return other_endpoint(key.endpoint)
        request.target = _Call(action, key.workspace, key=key)
        return None

    def _admit_plain(self, request: Request, connection: Connection) -> Problem | None:
        if request.method != "GET":
            return method_not_allowed("GET")
        call = _Call(request.path.rstrip("/"))
        if call.action == "/metrics":
            key = self.identify(request)
            if key is not None and key.endpoint is not None:
                return other_endpoint(key.endpoint)
            call.workspace = key.workspace if key is not None else None
            if call.workspace is None and _is_local(request, connection):
                call.workspace = ANY_WORKSPACE
            if call.workspace is None:
                return UNAUTHENTICATED
        request.target = call
        return None

    def _admit_endpoint(self, request: Request, action: str, name: str, version: int | None) -> Problem | None:
        key = self.identify(request)
        if key is None:
            return self._unknown_key()
        workspace = key.workspace
        if key.endpoint is not None and key.endpoint != name:
            return other_endpoint(key.endpoint)
        allowed = "POST" if action in _POSTED else "GET"
        if request.method != allowed:
            return method_not_allowed(allowed)
        pinned = version
        internal = workspace == ANY_WORKSPACE
        if internal:
            workspace = request.headers.get(_INTERNAL_WORKSPACE, b"").decode("latin-1")
            revision = request.headers.get(_INTERNAL_REVISION, b"")
            pinned = int(revision) if revision.isdigit() else version
        endpoint = self.table.endpoints.get((workspace, name))
        known = endpoint is not None and (version is None or version in {t.revision.number for t in endpoint.weighted})
        if endpoint is None and not self.loaded:
            return NOT_LOADED
        if endpoint is None or not known:
            return _no_endpoint(name if version is None else f"{name}, version {version}")
        if action in _ASKS_MODEL:
            request.max_body = _INTERNAL_BODY_BYTES if internal else endpoint.limits.max_bytes
        request.name_after(endpoint.tag)
        request.target = _Call(action, workspace, endpoint, pinned, key)
        request.target.counted = not internal
        if allowed == "POST":
            return key.admit(endpoint.name, endpoint.limits.rate_per_minute)
        return None

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer, now or later, a request that was admitted."""
        call: _Call = request.target
        if call.action == "predict":
            self._exchange(request, connection, call, Predict())
        elif call.action == "infer":
            self._exchange(request, connection, call, Infer())
        elif call.action == "embeddings":
            self._embed(request, connection, call)
        elif call.action in ("load", "unload"):
            task = asyncio.get_running_loop().create_task(self._load(request, connection, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif call.action == "/metrics":
            text = exposition.page(self, None if call.workspace == ANY_WORKSPACE else call.workspace)
            connection.respond(request, 200, text, exposition.CONTENT_TYPE)
        else:
            answer = self._describe(request, call)
            if isinstance(answer, Problem):
                connection.refuse(request, answer)
            else:
                connection.respond(request, 200, orjson.dumps(answer))

    def _exchange(self, request: Request, connection: Connection, call: _Call, dialect: Dialect) -> None:
        assert call.endpoint is not None  # noqa: S101  set by admit, or by `_embed`
        exchange = call.exchange = Exchange(
            self, connection, request, call.endpoint, dialect, pinned=call.pinned, counted=call.counted, key=call.key
        )
        try:
            exchange.start()
        except Refused as refused:
            connection.refuse(request, refused.problem)

    def _embed(self, request: Request, connection: Connection, call: _Call) -> None:
        try:
            dialect = Embeddings(request)
        except Refused as refused:
            connection.refuse(request, refused.problem)
            return
        assert call.workspace is not None  # noqa: S101  set by admit
        assert call.key is not None  # noqa: S101
        if call.key.endpoint is not None and call.key.endpoint != dialect.model:
            connection.refuse(request, other_endpoint(call.key.endpoint))
            return
        call.endpoint = self.table.endpoints.get((call.workspace, dialect.model))
        if call.endpoint is None:
            connection.refuse(request, _no_endpoint(dialect.model) if self.loaded else NOT_LOADED)
        elif len(request.body) > call.endpoint.limits.max_bytes:
            connection.refuse(request, body_too_large(call.endpoint.limits.max_bytes))
        elif (refusal := call.key.admit(call.endpoint.name, call.endpoint.limits.rate_per_minute)) is not None:
            connection.refuse(request, refusal)
        else:
            self._exchange(request, connection, call, dialect)

    async def _load(self, request: Request, connection: Connection, call: _Call) -> None:
        """Load or unload: at once where it is so already, else by the platform; answered when it is so."""
        assert call.endpoint is not None  # noqa: S101  set by admit
        key, loading = (call.endpoint.workspace, call.endpoint.name), call.action == "load"

        def done() -> bool:
            endpoint = self.table.endpoints.get(key)
            if endpoint is None:
                return not loading
            return describe.not_answering(endpoint) is None if loading else endpoint.stopped

        try:
            problem = check_load(request.body)
            if problem is None and not done():
                verb = "start" if loading else "stop"
                problem = await self._control.ask(key[1], verb, request.headers.get(b"authorization", b""))
                if problem is None and not await settled(done):
                    problem = not_settled(key[1])
        except Exception:
            logger.exception("%s of %s failed.", call.action, key[1])
            problem = FAILED
        if problem is not None:
            connection.refuse(request, problem)
        else:
            connection.respond(request, 200, b"{}")

    def refused(self, request: Request, problem: Problem) -> None:
        """Count an answer other than 200 against its endpoint; unknown addresses and keys are not kept per name."""
        call: _Call | None = request.target
        if call is None:
            strangers = self.counters.strangers
            strangers[problem.status] = strangers.get(problem.status, 0) + 1
            return
        if call.endpoint is None or not call.counted or call.action not in _ASKS_MODEL:
            return
        revision = call.exchange.revision if call.exchange is not None else 0
        series = self.counters.of((call.endpoint.workspace, call.endpoint.name, revision))
        series.observe(problem.status, 0.0, 0, NO_COST, problem.code)

    # --- answers without a model ---

    def _describe(self, request: Request, call: _Call) -> dict[str, Any] | list[dict[str, str]] | Problem:
        if call.action == "/v2":
            return describe.server()
        if call.action == "/v2/health/live":
            return {"live": True}
        if call.action == "/v2/health/ready":
            if self.loaded:
                return {"ready": True}
            return NOT_LOADED
        if call.endpoint is None:
            return self._list(request, call)
        # The endpoint as it is now, not as it was when the headers came.
        endpoint = self.table.endpoints.get((call.endpoint.workspace, call.endpoint.name), call.endpoint)
        if call.action == "ready":
            return describe.not_answering(endpoint, call.pinned) or {"name": endpoint.name, "ready": True}
        if call.action == "openapi":
            return describe.openapi(endpoint)
        if call.action == "model":
            return describe.model(endpoint) or describe.not_answering(endpoint) or _no_endpoint(endpoint.name)
        return describe.metadata(endpoint, call.pinned)

    def _list(self, request: Request, call: _Call) -> dict[str, Any] | list[dict[str, str]] | Problem:
        own = [endpoint for (owner, _), endpoint in sorted(self.table.endpoints.items()) if owner == call.workspace]
        if call.action == "models":
            return {"object": "list", "data": [m for endpoint in own if (m := describe.model(endpoint)) is not None]}
        try:
            wish = json_object(request.body, 'Send {"ready": true} or nothing.') if request.body else {}
            if not isinstance(wish.get("ready", False), bool):
                raise invalid("ready", "ready is true or false.", "Leave it out to list all.")
        except Refused as refused:
            return refused.problem
        return describe.index(own, only_ready=wish.get("ready", False))


def _no_endpoint(name: str) -> Problem:
    return Problem(404, "endpoint_not_found", f"This workspace has no endpoint {name[:100]!r}.", "Check its name.")


def _is_local(request: Request, connection: Connection) -> bool:
    """Whether the peer is this machine itself and not a proxy on it that speaks for somebody else."""
    peer = connection.transport.get_extra_info("peername")
    direct = b"x-forwarded-for" not in request.headers and b"forwarded" not in request.headers
    return direct and bool(peer) and peer[0] in ("127.0.0.1", "::1")
