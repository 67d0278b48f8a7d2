"""Reads of endpoints, revisions and what happened to them, always within one workspace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db.models import Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core.errors import NotFound
from apps.deployments.backend import serving_backend
from apps.deployments.models import (
    Canary,
    Endpoint,
    EndpointKey,
    Revision,
    RevisionStatus,
    ShadowCount,
    ShadowDifference,
    ShadowSummary,
    TimelineEntry,
)
from apps.registry.models import ModelVersion
from modelkit.serving.plan import EndpointCounters, ObservedSet, Runtime, Tuning


def endpoints_of(workspace: Workspace) -> QuerySet[Endpoint]:
    """The workspace's endpoints with their revisions, newest first."""
    revisions = Revision.objects.select_related(
        "model_version__model", "model_version__dataset_version__dataset"
    ).order_by("-number")
    return (
        Endpoint.objects.filter(workspace=workspace)
        .select_related("workspace", "created_by")
        .prefetch_related(Prefetch("revisions", queryset=revisions))
        .order_by("-pk")
    )


def endpoint_by_name(workspace: Workspace, name: str) -> Endpoint:
    """Raises NotFound."""
    endpoint = endpoints_of(workspace).filter(name=name).first()
    if endpoint is None:
        message = _("There is no endpoint named %(name)s.") % {"name": name}
        raise NotFound(message, hint=_("See the list of endpoints."))
    return endpoint


def revision_by_number(endpoint: Endpoint, number: int) -> Revision:
    """Raises NotFound."""
    found = next((revision for revision in endpoint.revisions.all() if revision.number == number), None)
    if found is None:
        raise NotFound(
            _("There is no revision %(number)s.") % {"number": number}, hint=_("See the revisions of the endpoint.")
        )
    return found


def timeline_of(endpoint: Endpoint) -> QuerySet[TimelineEntry]:
    """What happened at an endpoint, newest first."""
    return endpoint.timeline.select_related("actor").order_by("-pk")


def keys_of(endpoint: Endpoint) -> QuerySet[EndpointKey]:
    """The keys of an endpoint, those that still open it first."""
    return endpoint.keys.select_related("created_by", "endpoint__workspace").order_by("revoked_at", "-pk")


def key_by_public_id(endpoint: Endpoint, public_id: str) -> EndpointKey:
    """Raises NotFound."""
    key = keys_of(endpoint).filter(public_id=public_id).first()
    if key is None:
        raise NotFound(_("This endpoint has no such key."), hint=_("See the list of its keys."))
    return key


def main_revision(endpoint: Endpoint) -> Revision | None:
    """The revision with the largest share of the traffic; of equals, the newest."""
    weighted = [revision for revision in endpoint.revisions.all() if revision.weight > 0]
    return max(weighted, key=lambda revision: (revision.weight, revision.number), default=None)


def rollback_target(endpoint: Endpoint) -> Revision | None:
    """What to go back to: a canary's stable revision, else the newest before the main one that was ever live."""
    canary = canary_open(endpoint)
    if canary is not None:
        return canary.stable
    main = main_revision(endpoint)
    if main is None:
        return None
    before = [r for r in endpoint.revisions.all() if r.number < main.number and r.live_at is not None]
    tried = _only_tried(endpoint)
    before = [revision for revision in before if revision.number not in tried]
    return max(before, key=lambda revision: revision.number, default=None)


def _only_tried(endpoint: Endpoint) -> set[int | None]:
    """Revisions that were a canary or a shadow and never got all the traffic: nothing to go back to."""
    tried: set[int | None] = set()
    led: set[int | None] = set()
    kinds = ("canary", "shadow", "create", "deploy", "canary_end", "traffic")
    for kind, number, details in endpoint.timeline.filter(kind__in=kinds).values_list("kind", "revision", "details"):
        if kind in ("canary", "shadow"):
            tried.add(number)
        elif kind in ("create", "deploy") or details.get("outcome") == "promoted":
            led.add(number)
        elif kind == "traffic":
            led |= {int(other) for other, weight in details.get("weights", {}).items() if weight == 100}
    return tried - led


def canary_open(endpoint: Endpoint) -> Canary | None:
    """The canary that is under way; None where there is none."""
    return canaries_of(endpoint).filter(finished_at=None).first()


def canaries_open(endpoints: Collection[Endpoint]) -> dict[int, Canary]:
    """The canaries under way on these endpoints, by the endpoint's primary key."""
    rows = Canary.objects.filter(endpoint__in=endpoints, finished_at=None).order_by("pk")
    return {canary.endpoint_id: canary for canary in rows}


def canaries_of(endpoint: Endpoint) -> QuerySet[Canary]:
    """All canaries of an endpoint, newest first."""
    rows = endpoint.canaries.select_related(
        "revision__model_version__model", "stable__model_version__model", "created_by", "finished_by"
    )
    return rows.order_by("-pk")


def shadow_of(endpoint: Endpoint) -> Revision | None:
    """The revision to which traffic is copied; None where there is none."""
    return next((revision for revision in endpoint.revisions.all() if revision.shadow > 0), None)


def shadow_summaries(endpoint: Endpoint) -> list[ShadowSummary]:
    """What came of the copies, by pair of revisions, the newest pair first."""
    return list(endpoint.shadow_summaries.all())


def shadow_differences(
    endpoint: Endpoint, *, champion: int | None = None, challenger: int | None = None, label: str = ""
) -> QuerySet[ShadowDifference]:
    """Inputs to which champion and challenger answered otherwise, newest first; `label` is what either said."""
    rows = ShadowDifference.objects.filter(summary__endpoint=endpoint).select_related("summary").order_by("-pk")
    if champion is not None:
        rows = rows.filter(summary__champion=champion)
    if challenger is not None:
        rows = rows.filter(summary__challenger=challenger)
    return rows.filter(Q(champion_label=label) | Q(challenger_label=label)) if label else rows


class ClassAgreement(NamedTuple):
    """Inputs that the champion gave this label, and how many of them the challenger gave it too."""

    label: str
    compared: int
    agreed: int
    instead: list[tuple[str, int]]

    @property
    def agreement(self) -> float:
        return self.agreed / self.compared


def shadow_classes(summary: ShadowSummary) -> list[ClassAgreement]:
    """Agreement by the champion's label, most differences first, with what the challenger says instead."""
    by_label: dict[str, list[ShadowCount]] = {}
    for row in summary.counts.filter(count__gt=0).order_by("-count", "pk"):
        by_label.setdefault(row.champion_label, []).append(row)
    classes = [
        ClassAgreement(
            label,
            sum(row.count for row in rows),
            sum(row.count for row in rows if row.challenger_label == label),
            [(row.challenger_label, row.count) for row in rows if row.challenger_label != label][:3],
        )
        for label, rows in by_label.items()
    ]
    return sorted(classes, key=lambda found: (found.agreed - found.compared, found.label))


def version_of_entry(entry: TimelineEntry, endpoint: Endpoint) -> ModelVersion | None:
    """The version that an entry is about; `endpoint` is one of `endpoints_of`."""
    return next((r.model_version for r in endpoint.revisions.all() if r.number == entry.revision), None)


def answered_at(endpoint: Endpoint, at: datetime) -> tuple[TimelineEntry | None, TimelineEntry | None]:
    """The move of the traffic that held at a moment, and the next one; None where there is none."""
    moves = endpoint.timeline.filter(kind="moved")
    held = moves.filter(at__lte=at).order_by("-at", "-pk").first()
    return held, moves.filter(at__gt=at).order_by("at", "pk").first()


def revisions_in_traffic(endpoint: Endpoint) -> Mapping[int, int]:
    """Desired shares in percent by revision."""
    return {revision.number: revision.weight for revision in endpoint.revisions.all() if revision.weight > 0}


def effective_runtime(revision: Revision) -> Runtime | None:
    """As the user fixed it, else as it was measured to be best; None where neither was asked for or is known yet."""
    if revision.runtime is not None:
        return Runtime.model_validate(revision.runtime)
    return Tuning.model_validate(revision.tuning).runtime if revision.tuning is not None else None


def newest_for(workspace: Workspace, name: str) -> str:
    """The newest version of the model that answers at an endpoint; empty where nothing does."""
    endpoint = Endpoint.objects.filter(workspace=workspace, name=name).first()
    main = main_revision(endpoint) if endpoint is not None else None
    newest = main.model_version.model.versions.order_by("-number").first() if main is not None else None
    return newest.ref if newest is not None else ""


def measured_for(revision: Revision) -> Revision | None:
    """Where this version's runtimes were measured: by itself, or by the one before whose choice a person changed."""
    if revision.tuning is not None:
        return revision
    same = revision.endpoint.revisions.filter(model_version=revision.model_version, number__lt=revision.number)
    return same.filter(tuning__isnull=False).order_by("-number").first() if revision.runtime is not None else None


def counters_of(endpoint: Endpoint, observed: ObservedSet | None = None) -> EndpointCounters | None:
    """What the front counted for an endpoint since it started; None before the first report."""
    observed = observed or serving_backend().observe()
    key = (endpoint.workspace.public_id, endpoint.name)
    counters = observed.counters if observed is not None else ()
    return next((found for found in counters if (found.workspace, found.name) == key), None)


def endpoints_of_version(version: ModelVersion) -> list[Endpoint]:
    """Endpoints on which this version gets traffic."""
    shares = Revision.objects.filter(model_version=version, weight__gt=0)
    return list(Endpoint.objects.filter(revisions__in=shares, running=True).distinct().order_by("name"))


def logs_of(endpoint: Endpoint, number: int, *, lines: int = 200) -> list[str]:
    """The last log lines of a revision's process."""
    return serving_backend().logs(endpoint.workspace.public_id, endpoint.name, number, lines=lines)


def settling(endpoint: Endpoint) -> bool:
    """Whether something is still on its way, so that a page should look again soon."""
    under_way = {RevisionStatus.PENDING, RevisionStatus.STARTING, RevisionStatus.DRAINING}
    return any(r.status in under_way for r in endpoint.revisions.all()) or endpoint.running == (
        endpoint.status == "stopped"
    )
