"""What waits for a person: data to be mapped or mended, failed jobs, endpoints in trouble, a queue without a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import Workspace
from apps.core.wording import told
from apps.datasets.models import VersionStatus
from apps.datasets.presentation import check_view
from apps.deployments import selectors as deployments
from apps.deployments.models import EndpointStatus, RevisionStatus
from apps.jobs.models import Job, JobStatus
from apps.jobs.selectors.choices import slots_now
from apps.monitoring.home.overview import address, newest_versions, problems_of

#: A failure that nobody looked at for so long is no news.
_RECENT = timedelta(days=7)


@dataclass(frozen=True)
class Attention:
    """One thing to do: what is the matter, what it is about, and where to mend it."""

    tone: str
    icon: str
    title: str
    detail: str
    href: str
    action: str


def attention_of(workspace: Workspace, *, limit: int = 6) -> list[Attention]:
    """The most urgent first."""
    found = [*_endpoints(workspace), *_queue(workspace), *_jobs(workspace), *_datasets(workspace)]
    return found[:limit]


def _endpoints(workspace: Workspace) -> list[Attention]:
    troubled = deployments.endpoints_of(workspace).filter(status__in=[EndpointStatus.FAILED, EndpointStatus.DEGRADED])
    found = []
    for endpoint in troubled:
        failed = next((r for r in endpoint.revisions.all() if r.status == RevisionStatus.FAILED), None)
        if endpoint.status == EndpointStatus.FAILED:
            title = _("%(name)s does not answer") % {"name": endpoint.name}
        else:
            title = _("%(name)s runs on its last good revision") % {"name": endpoint.name}
        tone = "failed" if endpoint.status == EndpointStatus.FAILED else "warning"
        detail = told(failed.reason) if failed else ""
        found.append(Attention(tone, "alert", title, detail, endpoint.get_absolute_url(), _("Open")))
    return found


def _queue(workspace: Workspace) -> list[Attention]:
    waiting = Job.objects.filter(workspace=workspace, status=JobStatus.QUEUED).count()
    if not waiting or slots_now().total:
        return []
    title = ngettext("%(n)d job waits for a worker", "%(n)d jobs wait for a worker", waiting) % {"n": waiting}
    detail = _("No worker with a device reports in; they start when one does.")
    return [Attention("warning", "server", title, detail, address("worker_list"), _("Workers"))]


def _jobs(workspace: Workspace) -> list[Attention]:
    since = timezone.now() - _RECENT
    # One that was cloned since has been seen to.
    failed = Job.objects.filter(
        workspace=workspace, status__in=[JobStatus.FAILED, JobStatus.ERRORED], finished_at__gte=since, clones=None
    )
    return [
        Attention(
            "failed",
            "alert",
            _("Job #%(number)s failed") % {"number": job.number},
            str((job.problem or {}).get("message", "")) or job.title,
            job.get_absolute_url(),
            _("Open"),
        )
        for job in failed.order_by(F("finished_at").desc())[:3]
    ]


def _datasets(workspace: Workspace) -> list[Attention]:
    """What cannot be used at all comes before what could be better."""
    unusable, mendable = [], []
    for version in newest_versions(workspace):
        href = version.get_absolute_url()
        if version.status == VersionStatus.NEEDS_MAPPING:
            detail = _("Say which columns hold the text and the label.")
            title = _("%(ref)s needs its columns mapped") % {"ref": version.ref}
            unusable.append(Attention("warning", "adjustments", title, detail, href, _("Map")))
        elif version.status == VersionStatus.REJECTED:
            detail = str((version.problem or {}).get("message", ""))
            title = _("%(ref)s was rejected") % {"ref": version.ref}
            unusable.append(Attention("failed", "alert", title, detail, href, _("Open")))
        elif version.status == VersionStatus.READY:
            fixable = [check for check in problems_of(version) if check.get("fix")]
            if fixable:
                title = ngettext("%(ref)s has %(n)d problem", "%(ref)s has %(n)d problems", len(fixable))
                detail = " ".join(check_view(dict(check)).message for check in fixable[:2])
                href = f"{href}?tab=checks" if href else ""
                known = {"ref": version.ref, "n": len(fixable)}
                mendable.append(Attention("warning", "alert", title % known, detail, href, _("Fix")))
    return [*unusable, *mendable]
