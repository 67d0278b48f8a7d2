"""The routing table as the front looks it up: by workspace and name, by weight."""

from __future__ import annotations

import random

from modelkit.serving.front.links import Link
from modelkit.serving.plan import Limits, Route, RouteRevision, RoutingTable


class Target:
    """A revision with the links to its runners."""

    __slots__ = ("answer_tail", "links", "revision")

    def __init__(self, revision: RouteRevision, links: list[Link]) -> None:
        self.revision = revision
        self.links = links
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
    """One endpoint. `pick` draws a revision by weight."""

    def __init__(self, route: Route, targets: list[Target]) -> None:
        self.workspace = route.workspace
        self.name = route.name
        self.stopped = route.state == "stopped"
        self.limits: Limits = route.limits
        self.by_number = {target.revision.number: target for target in targets}
        self.weighted = [target for target in targets if target.revision.weight > 0]

    def pick(self, without: set[Link]) -> Target | None:
        """A revision with traffic and a link that is not in `without`; None when there is none."""
        choices = [t for t in self.weighted if t.link(without) is not None] if without else self.weighted
        if len(choices) < 2:
            return choices[0] if choices else None
        return random.choices(choices, [t.revision.weight for t in choices])[0]  # noqa: S311  a share, not a secret


class Table:
    """An immutable view of one `routing.json`; `links` are shared with the tables before and after it."""

    def __init__(self, routing: RoutingTable, links: dict[str, Link]) -> None:
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
        for endpoint in self.endpoints.values():
            for target in endpoint.weighted:
                target.open()

    def max_bytes_of(self, workspace: str) -> int:
        """The largest body that any endpoint of the workspace takes."""
        return self._max_bytes.get(workspace, 0)
