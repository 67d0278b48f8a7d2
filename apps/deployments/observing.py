"""What the serving agent reports, written into the rows: states, reasons, and the fallback after a failed deployment.

Idempotent: the same report twice changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.deployments.changing import desired_changed, revision_move, timeline_note
from apps.deployments.models import Endpoint, EndpointStatus, Revision, RevisionStatus
from modelkit.serving.plan import EndpointKey, ObservedEndpoint, ObservedRevision, ObservedSet

_RUNNING = (
    RevisionStatus.PENDING,
    RevisionStatus.STARTING,
    RevisionStatus.LIVE,
    RevisionStatus.ASLEEP,
    RevisionStatus.DRAINING,
)


def deployment_sync(observed: ObservedSet, *, current: bool) -> None:
    """Bring the rows up to a report. Only a `current` one, on the very set that the rows desire, tells by absence."""
    # Looked at before a transaction is opened: most reports say what is known, and writers wait for each other.
    for endpoint, seen in _differing(observed, current):
        with transaction.atomic():
            _sync_endpoint(endpoint, seen, current)


def deployment_outdated(observed: ObservedSet) -> bool:
    """Whether a report tells what the rows do not say yet."""
    return any(_differing(observed, current=True))


def _differing(observed: ObservedSet, current: bool) -> Iterator[tuple[Endpoint, ObservedEndpoint | None]]:
    reported: Mapping[EndpointKey, ObservedEndpoint] = {endpoint.key: endpoint for endpoint in observed.endpoints}
    for endpoint in Endpoint.objects.select_related("workspace").prefetch_related("revisions__model_version__model"):
        seen = reported.get((endpoint.workspace.public_id, endpoint.name))
        if _differs(endpoint, seen, current):
            yield endpoint, seen


def _differs(endpoint: Endpoint, seen: ObservedEndpoint | None, current: bool) -> bool:
    if current and (endpoint.status != _status(endpoint, seen) or _fallback_shares(endpoint, seen)):
        return True
    if seen is not None and endpoint.answering != _answering(seen):
        return True
    numbers = {revision.number: revision for revision in seen.revisions} if seen is not None else {}
    return any(_next_status(revision, numbers.get(revision.number), current) for revision in endpoint.revisions.all())


def _sync_endpoint(endpoint: Endpoint, seen: ObservedEndpoint | None, current: bool) -> None:
    numbers = {revision.number: revision for revision in seen.revisions} if seen is not None else {}
    # The traffic had moved before this was heard, so that comes first in the list.
    if seen is not None:
        _note_moved(endpoint, seen)
    for revision in endpoint.revisions.all():
        observed = numbers.get(revision.number)
        status = _next_status(revision, observed, current)
        if status is not None:
            _move(endpoint, revision, status, observed)
    if not current:
        return
    shares = _fallback_shares(endpoint, seen)
    if shares:
        _fall_back(endpoint, shares)
    new = _status(endpoint, seen)
    Endpoint.objects.filter(pk=endpoint.pk).exclude(status=new).update(status=new)


def _status(endpoint: Endpoint, seen: ObservedEndpoint | None) -> EndpointStatus:
    if seen is not None:
        return EndpointStatus(seen.status)
    return EndpointStatus.PENDING if endpoint.running else EndpointStatus.STOPPED


def _next_status(revision: Revision, seen: ObservedRevision | None, current: bool) -> RevisionStatus | None:
    """The state that a revision's row should move to; None to stay."""
    if seen is None:
        gone = current and not revision.wanted and revision.status in _RUNNING
        stopped = current and not revision.endpoint.running and revision.status in _RUNNING
        return RevisionStatus.STOPPED if gone or stopped else None
    status = RevisionStatus(seen.status)
    if status == revision.status:
        return None
    # Failed is final unless somebody asks for it again, or it answers after all: a new agent tries once more.
    if revision.status == RevisionStatus.FAILED and status != RevisionStatus.LIVE:
        return None
    # Desired again while its old runner still drains: it will start anew.
    if status == RevisionStatus.DRAINING and revision.wanted and revision.endpoint.running:
        return None
    # A failure seen before a restart was asked for is not the answer to it.
    if status == RevisionStatus.FAILED and not current:
        return None
    return status


def _move(endpoint: Endpoint, revision: Revision, status: RevisionStatus, seen: ObservedRevision | None) -> None:
    before = revision.status
    values: dict[str, Any] = {}
    if seen is not None and seen.golden is not None:
        values["golden"] = seen.golden.model_dump()
    if seen is not None and seen.tuning is not None:
        values["tuning"] = seen.tuning.model_dump(mode="json")
    if status == RevisionStatus.LIVE and revision.live_at is None:
        values["live_at"] = timezone.now()
    reason = seen.reason if seen is not None else ""
    if not revision_move(revision, status, reason=reason, **values):
        return
    # A crash and its restart are transitions of the revision; the timeline has what people did and what came of it.
    if status == RevisionStatus.LIVE and ("live_at" in values or before == RevisionStatus.PENDING):
        details = {"golden": values.get("golden"), "started_s": seen.started_s if seen is not None else None}
        timeline_note(endpoint, "live", None, revision, details=details)
    elif status == RevisionStatus.FAILED:
        timeline_note(endpoint, "failed", None, revision, details={"reason": reason})
        if revision.shadow:
            # Copies that reach nobody are of no use, and the endpoint would stay degraded for them.
            Revision.objects.filter(pk=revision.pk).update(shadow=0)
            desired_changed()


def _answering(seen: ObservedEndpoint) -> dict[str, Any]:
    """Where traffic points, as the row keeps it; what was noted before stays while no agent has moved it."""
    weights = {str(number): weight for number, weight in sorted(seen.weights.items())}
    return {"weights": weights, "since": seen.weights_since}


def _note_moved(endpoint: Endpoint, seen: ObservedEndpoint) -> None:
    """Write down where traffic went, and when, once for each move."""
    kept = Endpoint.objects.select_for_update().filter(pk=endpoint.pk).values_list("answering", flat=True).first()
    now = _answering(seen)
    if kept is None or kept == now:
        return
    Endpoint.objects.filter(pk=endpoint.pk).update(answering=now)
    if seen.weights == {int(number): weight for number, weight in kept.get("weights", {}).items()}:
        return
    models = {str(revision.number): revision.model_version.ref for revision in endpoint.revisions.all()}
    at = datetime.fromtimestamp(seen.weights_since, UTC) if seen.weights_since else timezone.now()
    details = {"models": {number: models.get(number, "") for number in now["weights"]}}
    timeline_note(endpoint, "moved", None, weights=seen.weights, details=details, at=at)


def _fallback_shares(endpoint: Endpoint, seen: ObservedEndpoint | None) -> dict[int, int]:
    """What to desire in place of a failed revision: what answers now. Empty where nothing failed or nobody answers."""
    revisions = list(endpoint.revisions.all())
    failed = {revision.number for revision in revisions if revision.status == RevisionStatus.FAILED}
    if seen is None or not any(revision.weight > 0 and revision.number in failed for revision in revisions):
        return {}
    known = {revision.number for revision in revisions} - failed
    answering = {number: weight for number, weight in seen.weights.items() if number in known and weight > 0}
    total = sum(answering.values())
    shares = {number: weight * 100 // total for number, weight in answering.items()}
    if shares:
        shares[max(shares)] += 100 - sum(shares.values())
    return shares


def _fall_back(endpoint: Endpoint, shares: dict[int, int]) -> None:
    """Without this the endpoint would stay degraded for a revision that will never come."""
    moved = 0
    for revision in endpoint.revisions.all():
        share = shares.get(revision.number, 0)
        # Not where somebody has set another share since it was read.
        same = Revision.objects.filter(pk=revision.pk, weight=revision.weight)
        moved += same.exclude(weight=share).update(weight=share)
    if moved:
        timeline_note(endpoint, "traffic", None, weights=shares, details={"why": "fallback"})
        desired_changed()
