"""The routing table as the front looks it up: by key, by workspace and name, by weight."""

from __future__ import annotations

import random
import time
from hashlib import sha256

from modelkit.serving.front.links import Link
from modelkit.serving.front.samples import Sampler
from modelkit.serving.plan import Limits, Route, RouteRevision, RoutingTable, request_tag

#: The workspace of the agent's own key.
ANY_WORKSPACE = "*"


class Target:
    """A revision with the link to its runner."""

    __slots__ = ("answer_tail", "link", "revision")

    def __init__(self, revision: RouteRevision, link: Link) -> None:
        self.revision = revision
        self.link = link
        # What follows the outputs in every answer of this revision; only the request id is missing.
        self.answer_tail = f',"model":"{revision.model}","revision":{revision.number},"request_id":"'.encode()


class Endpoint:
    """One endpoint. `pick` draws a revision by weight."""

    def __init__(self, route: Route, targets: list[Target]) -> None:
        self.workspace = route.workspace
        self.name = route.name
        self.stopped = route.state == "stopped"
        self.limits: Limits = route.limits
        self.sampler = Sampler(route) if route.sampling.rate else None
        self.tag = request_tag(route.workspace, route.name)
        self.by_number = {target.revision.number: target for target in targets}
        self.weighted = [target for target in targets if target.revision.weight > 0]

    def pick(self, without: set[Link]) -> Target | None:
        """A revision with traffic whose link is not in `without`; None when there is none."""
        choices = [t for t in self.weighted if t.link not in without] if without else self.weighted
        if len(choices) < 2:
            return choices[0] if choices else None
        return random.choices(choices, [t.revision.weight for t in choices])[0]  # noqa: S311  a share, not a secret


class Table:
    """An immutable view of one `routing.json`; `links` are shared with the tables before and after it."""

    def __init__(self, routing: RoutingTable, links: dict[str, Link]) -> None:
        self.generation = routing.generation
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        self._keys = {key.sha256: (key.workspace, key.expires_at) for key in routing.keys}
        self._internal = routing.internal
        used: set[str] = set()
        for route in routing.routes:
            targets = []
            for revision in route.revisions:
                link = links.get(revision.socket)
                if link is None:
                    link = links[revision.socket] = Link(revision.socket)
                link.unretire()
                used.add(revision.socket)
                targets.append(Target(revision, link))
            self.endpoints[(route.workspace, route.name)] = Endpoint(route, targets)
        for path in links.keys() - used:
            links.pop(path).retire()
        for endpoint in self.endpoints.values():
            for target in endpoint.weighted:
                target.link.open()

    def workspace_of(self, authorization: bytes | None) -> str | None:
        """The workspace whose key this header carries; None for no key, an unknown or an expired one."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        digest = sha256(authorization[7:].strip()).hexdigest()
        if self._internal and digest == self._internal:
            return ANY_WORKSPACE
        found = self._keys.get(digest)
        if found is None or (found[1] is not None and found[1] <= time.time()):
            return None
        return found[0]
