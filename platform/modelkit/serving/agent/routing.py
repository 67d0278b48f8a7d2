"""The routing table that follows from what is desired and what runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelkit.serving.plan import DesiredSet, EndpointKey, InputKind, Route, RouteRevision, RoutingTable

if TYPE_CHECKING:
    from modelkit.serving.agent.revision import Revision
    from modelkit.serving.agent.supervise import EndpointState

_KINDS: dict[type, InputKind] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    dict: "object",
    list: "array",
}


def routing_table(
    desired: DesiredSet, endpoints: Mapping[EndpointKey, EndpointState], *, internal: str
) -> RoutingTable:
    """Every desired endpoint; revisions whose runner answers, with traffic only for those that have been checked."""
    routes = []
    for wanted in desired.endpoints:
        have = endpoints.get(wanted.key)
        revisions: list[RouteRevision] = []
        if have is not None and wanted.state == "running":
            for number, revision in sorted(have.revisions.items()):
                weight = have.weights.get(number, 0) if revision.phase == "checked" else 0
                if revision.manifest is not None and (weight or (revision.ready and revision.phase == "checking")):
                    revisions.append(_route_revision(revision, weight))
        routes.append(
            Route(
                workspace=wanted.workspace,
                name=wanted.name,
                state=wanted.state,
                limits=wanted.limits,
                revisions=tuple(revisions),
            )
        )
    return RoutingTable(routes=tuple(routes), internal=internal)


def _route_revision(revision: Revision, weight: int) -> RouteRevision:
    assert revision.manifest is not None  # noqa: S101  the caller has looked
    return RouteRevision(
        number=revision.spec.number,
        model=revision.spec.model,
        sockets=revision.sockets,
        asleep=revision.asleep,
        weight=weight,
        input_kind=input_kind(revision.manifest.request_example),
        labels=tuple(revision.manifest.labels),
        request_example=revision.manifest.request_example,
        embedding_width=revision.manifest.embedding_width,
        created_at=revision.manifest.created_at,
    )


def input_kind(example: Mapping[str, Any]) -> InputKind:
    """The JSON type of one input, taken from the model's own example; texts where it says nothing."""
    inputs = example.get("inputs")
    return _KINDS.get(type(inputs[0]), "string") if isinstance(inputs, list) and inputs else "string"
