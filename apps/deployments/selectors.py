"""Reads of endpoints, revisions and what happened to them, always within one workspace."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.core.errors import NotFound
from apps.deployments.backend import serving_backend
from apps.deployments.models import Endpoint, Revision, RevisionStatus, TimelineEntry
from apps.registry.models import ModelVersion
from modelkit.serving.plan import EndpointCounters, ObservedSet, Runtime, Tuning


def endpoints_of(workspace: Workspace) -> QuerySet[Endpoint]:
    """The workspace's endpoints with their revisions, newest first."""
    revisions = Revision.objects.select_related("model_version__model").order_by("-number")
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


def timeline_of(endpoint: Endpoint) -> QuerySet[TimelineEntry]:
    """What happened at an endpoint, newest first."""
    return endpoint.timeline.select_related("actor").order_by("-pk")


def main_revision(endpoint: Endpoint) -> Revision | None:
    """The revision with the largest share of the traffic; of equals, the newest."""
    weighted = [revision for revision in endpoint.revisions.all() if revision.weight > 0]
    return max(weighted, key=lambda revision: (revision.weight, revision.number), default=None)


def rollback_target(endpoint: Endpoint) -> Revision | None:
    """The newest revision before the main one that was ever live; None where there is none."""
    main = main_revision(endpoint)
    if main is None:
        return None
    before = [r for r in endpoint.revisions.all() if r.number < main.number and r.live_at is not None]
    return max(before, key=lambda revision: revision.number, default=None)


def revisions_in_traffic(endpoint: Endpoint) -> Mapping[int, int]:
    """Desired shares in percent by revision."""
    return {revision.number: revision.weight for revision in endpoint.revisions.all() if revision.weight > 0}


def effective_runtime(revision: Revision) -> Runtime | None:
    """As the user fixed it, else as it was measured to be best; None where neither was asked for or is known yet."""
    if revision.runtime is not None:
        return Runtime.model_validate(revision.runtime)
    return Tuning.model_validate(revision.tuning).runtime if revision.tuning is not None else None


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
