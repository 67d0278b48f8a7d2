"""The routing table as the front looks it up: by workspace and name, by weight."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import accumulate

from modelkit.serving.front.contenders import Contender, Contenders
from modelkit.serving.front.links import Link
from modelkit.serving.front.samples import Sampler
from modelkit.serving.plan import Limits, Route, RouteRevision, RoutingTable, request_tag
from modelkit.serving.slots import SLOTS, slot_of


class Target:
    """A revision with the links to its runners, and what it counts while it is compared with others."""

    __slots__ = ("answer_tail", "contender", "links", "revision")

    def __init__(self, revision: RouteRevision, links: list[Link]) -> None:
        self.revision = revision
        self.links = links
        self.contender: Contender | None = None
        # What follows the outputs in every answer of this revision; only the request id is missing.
        self.answer_tail = f',"model":"{revision.model}","revision":{revision.number},"request_id":"'.encode()

    @property
    def answers(self) -> bool:
        """Whether a request would be answered, if only after its runner has been woken."""
        return any(link.is_open or link.asleep for link in self.links)

    def link(self, without: set[Link]) -> Link | None:
        """The link with the least to do that is not in `without`."""
        if len(self.links) == 1:
            return None if self.links[0] in without else self.links[0]
        usable = [link for link in self.links if link not in without]
        return min(usable, key=lambda link: (not link.is_open, link.load), default=None)

    def open(self) -> None:
        for link in self.links:
            if not link.asleep:
                link.open()


class Endpoint:
    """One endpoint. `pick` draws a revision by weight, or by the slot of the caller where callers stay with theirs."""

    def __init__(self, route: Route, targets: list[Target]) -> None:
        self.workspace = route.workspace
        self.name = route.name
        self.stopped = route.state == "stopped"
        self.limits: Limits = route.limits
        self.sampler = Sampler(route) if route.sampling.rate else None
        self.tag = request_tag(route.workspace, route.name)
        self.by_number = {target.revision.number: target for target in targets}
        self.weighted = [target for target in targets if target.revision.weight > 0]
        self._until = _until(self.weighted)
        self.shadow = next((target for target in targets if target.revision.shadow > 0), None)
        self.shadow_inputs = route.shadow_inputs
        self._named_by = _naming_header(route.sticky)
        self._slots = [self.by_number.get(number) for number in route.slots]
        self._salt = f"{route.workspace}/{route.name}".encode()[-64:]

    def pick(self, without: set[Link], headers: Mapping[bytes, bytes]) -> Target | None:
        """A revision with traffic and a link that is not in `without`; None when there is none."""
        choices = [t for t in self.weighted if t.link(without) is not None] if without else self.weighted
        if len(choices) < 2:
            return choices[0] if choices else None
        if self._named_by and self._slots:
            caller = headers.get(self._named_by)
            if caller:
                return self._of_slot(slot_of(caller, self._salt), choices)
        until = self._until if choices is self.weighted else _until(choices)
        return random.choices(choices, cum_weights=until)[0]  # noqa: S311  a share, not a secret

    def _of_slot(self, slot: int, choices: list[Target]) -> Target:
        """Who has the slot; while that one is down, whoever has the next."""
        for step in range(SLOTS):
            target = self._slots[(slot + step) % SLOTS]
            if target in choices:
                return target
        return choices[0]


def _until(targets: list[Target]) -> list[int]:
    """Where the share of each ends, laid one behind the other."""
    return list(accumulate(target.revision.weight for target in targets))


def _naming_header(sticky: str) -> bytes:
    """The header whose value names the caller; empty where callers are not told apart."""
    return b"authorization" if sticky == "key" else sticky.removeprefix("header:").encode()


class Table:
    """An immutable view of one `routing.json`; links and contenders are shared with the tables before and after it."""

    def __init__(self, routing: RoutingTable, links: dict[str, Link], contenders: Contenders) -> None:
        self.generation = routing.generation
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        self._max_bytes: dict[str, int] = {}
        #: The hash of the agent's own key.
        self.internal = routing.internal
        used: set[str] = set()
        for route in routing.routes:
            targets = []
            for revision in route.revisions:
                mine = []
                for socket in revision.sockets:
                    link = links.get(socket)
                    if link is None:
                        link = links[socket] = Link(socket)
                    link.unretire()
                    link.asleep = revision.asleep
                    mine.append(link)
                used.update(revision.sockets)
                targets.append(Target(revision, mine))
            self.endpoints[(route.workspace, route.name)] = Endpoint(route, targets)
            self._max_bytes[route.workspace] = max(route.limits.max_bytes, self.max_bytes_of(route.workspace))
        for path in links.keys() - used:
            links.pop(path).retire()
        compared = set()
        for endpoint in self.endpoints.values():
            for target in endpoint.weighted:
                target.open()
                if len(endpoint.weighted) > 1:
                    key = (endpoint.workspace, endpoint.name, target.revision.number)
                    target.contender = contenders.of(key, target.revision.labels)
                    compared.add(key)
        contenders.keep(compared)

    def max_bytes_of(self, workspace: str) -> int:
        """The largest body that any endpoint of the workspace takes."""
        return self._max_bytes.get(workspace, 0)
