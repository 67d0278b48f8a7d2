"""The pure difference between what should be served and what is. Light.

`plan` is level-triggered: called again with the same arguments it asks for the same actions, and with everything in
place it asks for none. Does not start, stop or write anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelkit.serving.plan import DesiredEndpoint, EndpointKey

#: `checked` has answered its golden set and may get traffic, also while it restarts after a crash.
Phase = Literal["new", "checking", "checked", "failed", "draining"]


@dataclass(frozen=True)
class Actual:
    """An endpoint as the agent has it: the phase of each revision that it knows, and where traffic goes now."""

    phases: Mapping[int, Phase] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Bring up a revision and check it."""

    endpoint: EndpointKey
    number: int


@dataclass(frozen=True)
class Point:
    """Move the traffic of an endpoint, atomically, to these weights (none: it answers 503)."""

    endpoint: EndpointKey
    weights: Mapping[int, int]


@dataclass(frozen=True)
class Drain:
    """Let a revision finish what it has, then end it."""

    endpoint: EndpointKey
    number: int


@dataclass(frozen=True)
class Forget:
    """Drop an endpoint that is no longer desired (its requests answer 404)."""

    endpoint: EndpointKey


Action = Start | Point | Drain | Forget

_RUNNING: frozenset[Phase] = frozenset(("new", "checking", "checked"))


def plan(desired: Iterable[DesiredEndpoint], actual: Mapping[EndpointKey, Actual]) -> list[Action]:
    """The actions that bring `actual` nearer to `desired`; points come before drains, so that no traffic is cut.

    Traffic moves when every desired revision has been checked or has failed; where all failed it stays with the last
    good ones, which then keep running although nobody desires them any more.
    """
    actions: list[Action] = []
    wanted = {endpoint.key: endpoint for endpoint in desired}
    for key, endpoint in wanted.items():
        actions.extend(_plan_endpoint(key, endpoint, actual.get(key, Actual())))
    for key, have in actual.items():
        if key not in wanted:
            actions.append(Forget(key))
            actions.extend(Drain(key, n) for n, phase in have.phases.items() if phase in _RUNNING)
    return actions


def _plan_endpoint(key: EndpointKey, endpoint: DesiredEndpoint, have: Actual) -> list[Action]:
    if endpoint.state == "stopped":
        point: list[Action] = [Point(key, {})] if have.weights else []
        return point + [Drain(key, n) for n, phase in have.phases.items() if phase in _RUNNING]

    listed = {revision.number: revision.weight for revision in endpoint.revisions}
    weights = _next_weights({n: w for n, w in listed.items() if w > 0}, have)
    keep = listed.keys() | weights.keys()
    actions: list[Action] = [Start(key, n) for n in sorted(keep) if n not in have.phases]
    if weights != have.weights:
        actions.append(Point(key, weights))
    actions.extend(Drain(key, n) for n, phase in have.phases.items() if n not in keep and phase in _RUNNING)
    return actions


def _next_weights(targets: Mapping[int, int], have: Actual) -> Mapping[int, int]:
    checked = {n: w for n, w in targets.items() if have.phases.get(n) == "checked"}
    waiting = any(have.phases.get(n) not in ("checked", "failed") for n in targets)
    answering = any(have.phases.get(n) == "checked" for n in have.weights)
    if not targets or not checked or (waiting and answering):
        return dict(have.weights)
    return checked
