"""One prediction on its way: body to inputs, inputs to a runner, its reply to the answer.

A request is sent again, to whatever the table then points at, when its runner is lost before it replied: predictions
have no side effects.
"""

from __future__ import annotations

import re
import sys
import time
from random import random
from typing import TYPE_CHECKING, Any

from modelkit.serving.asked import pack_inputs
from modelkit.serving.front.dialects import Dialect
from modelkit.serving.front.http import Connection
from modelkit.serving.front.keys import Credential
from modelkit.serving.front.problem import FAILED, Problem, Refused, invalid, unavailable
from modelkit.serving.front.request import Request
from modelkit.serving.front.table import Endpoint, Target
from modelkit.serving.wire import Cost, Reply, Status

if TYPE_CHECKING:
    from modelkit.serving.front.app import Front
    from modelkit.serving.front.contenders import Contender
    from modelkit.serving.front.links import Link

_MAX_TRIES = 4
#: How a runner's sentence about one input begins.
_PLACE = re.compile(r"inputs\[\d+\]")

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
_TYPE_NAMES = {
    "string": "a text",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}
_JSON_NAMES = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class Exchange:
    """See the module. `dialect`: how the caller speaks; `pinned`: only this revision may answer."""

    __slots__ = (
        "_blamed",
        "_connection",
        "_counted",
        "_dialect",
        "_endpoint",
        "_front",
        "_inputs",
        "_key",
        "_link",
        "_payload",
        "_pinned",
        "_refusing",
        "_request",
        "_target",
        "_tries",
        "deadline",
    )

    def __init__(
        self,
        front: Front,
        connection: Connection,
        request: Request,
        endpoint: Endpoint,
        dialect: Dialect,
        *,
        pinned: int | None,
        counted: bool,
        key: Credential | None,
    ) -> None:
        self._front = front
        self._connection = connection
        self._request = request
        self._endpoint = endpoint
        self._dialect = dialect
        self._pinned = pinned
        self._counted = counted
        self._key = key
        self._payload = b""
        self._inputs = 0
        self._target: Target | None = None
        self._link: Link | None = None
        self._tries = 0
        self._refusing: set[Link] = set()
        #: Revisions that this request counts against; tried twice, it counts once.
        self._blamed: tuple[Contender, ...] = ()
        self.deadline = 0.0

    @property
    def _drawn(self) -> bool:
        """Whether the revision was chosen by its share, not named by the caller or by the agent."""
        return self._pinned is None and self._counted

    @property
    def revision(self) -> int:
        return self._target.revision.number if self._target is not None else 0

    def start(self) -> None:
        """Read the body and send the inputs; raises Refused."""
        target = self._choose()
        if target is None:
            raise Refused(self._why_nobody())
        # The agent's golden set is not bound by what callers may send at once.
        limit = self._endpoint.limits.max_batch if self._counted else sys.maxsize
        inputs = self._dialect.read(self._request, target, limit)
        self._check(inputs, target.revision.input_kind, limit)
        if self._key is not None and (problem := self._key.spend(len(inputs))) is not None:
            raise Refused(problem)
        self._inputs = len(inputs)
        self._payload = pack_inputs(inputs, self._endpoint.limits.max_tokens or 0 if self._counted else 0)
        self.deadline = time.monotonic() + self._endpoint.limits.timeout_s
        self._send(target)

    def _check(self, inputs: list[Any], kind: str, limit: int) -> None:
        place = self._dialect.place
        if not inputs:
            raise invalid(place, "There is no input.", "Send at least one.")
        if len(inputs) > limit:
            message = f"{len(inputs)} inputs are more than the {limit} that one request may carry."
            raise invalid(place, message, "Split them over several requests.")
        types = _TYPES[kind]
        for i, value in enumerate(inputs):
            if type(value) not in types:
                given = _JSON_NAMES.get(type(value), "null")
                message = f"{place}[{i}] is {given}; this model takes {_TYPE_NAMES[kind]}."
                raise invalid(f"{place}[{i}]", message, f"Send {_TYPE_NAMES[kind]} for each input.")

    # --- the way there ---

    def _choose(self) -> Target | None:
        # Looked up afresh on each try: the pointer may have moved since.
        endpoint = self._front.table.endpoints.get((self._endpoint.workspace, self._endpoint.name))
        if endpoint is None or endpoint.stopped:
            return None
        if self._pinned is not None:
            target = endpoint.by_number.get(self._pinned)
            return target if target is not None and target.link(self._refusing) is not None else None
        return endpoint.pick(self._refusing, self._request.headers)

    def _why_nobody(self) -> Problem:
        endpoint = self._front.table.endpoints.get((self._endpoint.workspace, self._endpoint.name))
        if endpoint is None or endpoint.stopped:
            return unavailable(
                "endpoint_stopped", f"{self._endpoint.name} is stopped.", "Start it on its page or by the API."
            )
        if not endpoint.weighted:
            return unavailable(
                "endpoint_not_ready", f"{self._endpoint.name} has no revision that answers yet.", "Try again soon.",
                retry_after_s=1,
            )  # fmt: skip
        return unavailable(
            "runner_down",
            f"The model behind {self._endpoint.name} is being restarted.",
            "Try again soon.",
            retry_after_s=1,
        )

    def _send(self, target: Target) -> None:
        self._tries += 1
        self._target = target
        self._link = target.link(self._refusing)
        assert self._link is not None  # noqa: S101  `_choose` gives no target without one
        self._link.send(self._dialect.ask, self._payload, self)

    def lost(self, *, connected: bool) -> None:
        """The runner went away before it replied."""
        self._failed()
        if not connected and self._link is not None:
            self._refusing.add(self._link)
        target = self._choose() if self._tries < _MAX_TRIES and not self._connection.closing else None
        if target is None:
            self._refuse(self._why_nobody())
        else:
            self._send(target)

    # --- the way back ---

    def replied(self, reply: Reply) -> None:
        if reply.status is Status.OK:
            self._answer(reply)
        elif reply.status is Status.INVALID:
            message = reply.body.decode(errors="replace")[:500]
            place = _PLACE.match(message)
            self._refuse(invalid(place[0] if place else self._dialect.place, message, "Mend the input.").problem)
        elif reply.status is Status.BUSY:
            self._failed()
            self._refuse(
                Problem(429, "queue_full", f"{self._endpoint.name} has more to do than it can queue.",
                        "Try again soon, or send fewer requests at once.", headers=(("retry-after", "1"),))
            )  # fmt: skip
        else:
            self._failed()
            self._refuse(
                Problem(
                    500,
                    "model_failed",
                    "The model failed on this input.",
                    "See the endpoint's log; the request id finds it.",
                )
            )
            self._sample(500, reply)

    def timed_out(self) -> None:
        self._failed()
        self._refuse(Problem(504, "model_timeout", "The model did not answer in time.", "Send fewer inputs at once."))
        self._sample(504, Reply(Status.ERROR, b"TimeoutError"))

    def failed(self) -> None:
        self._refuse(FAILED)

    def _answer(self, reply: Reply) -> None:
        assert self._target is not None  # noqa: S101  a reply has a target
        request = self._request
        timing = b"server-timing: queue;dur=%.2f, preprocess;dur=%.2f, model;dur=%.2f\r\n" % reply.cost[:3]
        headers = timing
        if self._key is not None:
            headers += self._key.headers(self._endpoint.name, self._endpoint.limits.rate_per_minute)
        answer = self._dialect.write(reply, request, self._endpoint, self._target)
        self._connection.respond(request, 200, answer.body, answer.content_type, answer.headers + headers)
        self._count(200, reply.cost)
        sampler = self._endpoint.sampler
        if sampler is not None and random() < sampler.rate:  # noqa: S311  a share, not a secret
            self._sample(200, reply)
        contender = self._target.contender
        if contender is not None and self._drawn and contender not in self._blamed:
            contender.answered((time.perf_counter() - request.complete_at) * 1000, reply.picks)
        if self._endpoint.shadow is not None and self._drawn:
            self._front.mirror.offer(self._endpoint, self._target, self._payload, reply.picks, request.request_id)

    def _failed(self) -> None:
        contender = self._target.contender if self._target is not None else None
        if contender is not None and self._drawn and contender not in self._blamed:
            self._blamed += (contender,)
            contender.failed()

    def _refuse(self, problem: Problem) -> None:
        if self._key is not None:
            self._key.give_back(self._inputs)
        self._connection.refuse(self._request, problem)

    def _sample(self, status: int, reply: Reply) -> None:
        if self._counted and self._target is not None:
            self._front.samples.take(
                self._endpoint, self._target.revision, self._request, status, self._inputs, self._payload, reply
            )

    def _count(self, status: int, cost: Cost) -> None:
        if not self._counted:
            return
        latency_ms = (time.perf_counter() - self._request.complete_at) * 1000
        key = (self._endpoint.workspace, self._endpoint.name, self.revision)
        self._front.counters.of(key).observe(status, latency_ms, self._inputs, cost)
