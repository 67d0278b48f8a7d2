"""The timeline of a workspace: what jobs, data, models and endpoints did, told from their transitions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.accounts.models import User, Workspace
from apps.core.wording import told
from apps.datasets.models import DatasetVersionTransition, VersionStatus
from apps.deployments.models import TimelineEntry
from apps.jobs.models import JobKind, JobStatus, JobTransition
from apps.jobs.presenting import best_figure
from apps.registry.models import AliasChange


@dataclass(frozen=True)
class Happening:
    """One line of the timeline; `text` is a sentence in which names are set apart."""

    at: datetime
    tone: str
    icon: str
    text: SafeString
    detail: str
    href: str


def happenings_of(workspace: Workspace, *, limit: int = 8) -> list[Happening]:
    """The newest first."""
    found = [
        *_jobs(workspace, limit),
        *_datasets(workspace, limit),
        *_aliases(workspace, limit),
        *_endpoints(workspace, limit),
    ]
    return sorted(found, key=lambda happening: happening.at, reverse=True)[:limit]


def _who(actor: User | None) -> str:
    return (actor.get_full_name() or actor.get_username()) if actor is not None else ""


def _jobs(workspace: Workspace, limit: int) -> list[Happening]:
    final = [status for status in JobStatus if status.is_final]
    rows = JobTransition.objects.filter(job__workspace=workspace, to_status__in=final).order_by("-pk")
    rows = rows.select_related("actor", "job__published__model", "job__created_by")[:limit]
    found = []
    for row in rows:
        job = row.job
        number = f"#{job.number}"
        published = job.published.ref if job.published else job.spec.get("source", {}).get("ref") or job.model_name
        if row.to_status == JobStatus.SUCCEEDED:
            sentence = {
                JobKind.COMPRESS: _("Job {job} made {version} smaller"),
                JobKind.PREDICT: _("Job {job} asked {version} about many rows"),
            }.get(JobKind(job.kind), _("Job {job} trained {version}"))
            figure = best_figure(job)
            detail = f"{figure.title} {figure.value}" if figure else ""
            tone, icon = "good", "check"
        elif row.to_status == JobStatus.CANCELLED:
            sentence, detail, tone, icon = _("Job {job} was cancelled"), _who(row.actor), "", "stop"
        else:
            sentence, tone, icon = _("Job {job} failed"), "failed", "x"
            detail = str((job.problem or {}).get("message", "")) or told(row.reason)
        text = format_html(sentence, job=number, version=format_html("<b>{}</b>", published))
        found.append(Happening(row.at, tone, icon, text, detail, job.get_absolute_url()))
    return found


def _datasets(workspace: Workspace, limit: int) -> list[Happening]:
    sentences = {
        VersionStatus.READY: ("good", "database", _("{version} is ready")),
        VersionStatus.REJECTED: ("failed", "database", _("{version} was rejected")),
        VersionStatus.NEEDS_MAPPING: ("warning", "database", _("{version} needs its columns mapped")),
    }
    rows = DatasetVersionTransition.objects.filter(version__dataset__workspace=workspace, to_status__in=sentences)
    rows = rows.select_related("version__dataset", "version__created_by").order_by("-pk")[:limit]
    found = []
    for row in rows:
        version = row.version
        tone, icon, sentence = sentences[VersionStatus(row.to_status)]
        detail = _who(version.created_by)
        if row.to_status == VersionStatus.READY and version.rows:
            counted = _("%(n)s rows") % {"n": f"{version.rows:,}"}
            detail = f"{counted} · {detail}" if detail else counted
        text = format_html(sentence, version=format_html("<b>{}</b>", version.ref))
        href = version.get_absolute_url()
        found.append(Happening(row.at, tone, icon, text, detail, href))
    return found


def _aliases(workspace: Workspace, limit: int) -> list[Happening]:
    rows = AliasChange.objects.filter(model__workspace=workspace).select_related("model", "actor").order_by("-pk")
    found = []
    for row in rows[:limit]:
        sentence = _("{version} is now {alias}") if row.to_status else _("{model} has no {alias} any more")
        text = format_html(
            sentence,
            version=format_html("<b>{}@{}</b>", row.model.name, row.to_status),
            model=format_html("<b>{}</b>", row.model.name),
            alias=row.alias,
        )
        found.append(Happening(row.at, "", "trophy", text, _who(row.actor), row.model.get_absolute_url()))
    return found


def _endpoints(workspace: Workspace, limit: int) -> list[Happening]:
    sentences = {
        "deploy": ("", "rocket", _("{model} goes to {endpoint} as revision {revision}")),
        "live": ("good", "check", _("{model} is live on {endpoint}")),
        "failed": ("failed", "x", _("Revision {revision} of {endpoint} failed")),
        "traffic": ("", "branch", _("The traffic of {endpoint} was shared anew")),
        "rollback": ("warning", "undo", _("{endpoint} was rolled back to {model}")),
        "canary": ("", "branch", _("{model} goes to {endpoint} as a canary")),
        "canary_end": ("", "branch", _("The canary {model} on {endpoint} has ended")),
        "stop": ("", "stop", _("{endpoint} was stopped")),
        "start": ("", "play", _("{endpoint} was started")),
    }
    rows = TimelineEntry.objects.filter(endpoint__workspace=workspace, kind__in=sentences)
    found = []
    for row in rows.select_related("endpoint", "actor").order_by("-pk")[:limit]:
        tone, icon, sentence = sentences[row.kind]
        text = format_html(
            sentence,
            model=format_html("<b>{}</b>", row.model_ref),
            endpoint=format_html("<b>{}</b>", row.endpoint.name),
            revision=row.revision or "",
        )
        weights = row.details.get("weights", {})
        shares = ", ".join(f"{number}: {weight} %" for number, weight in weights.items())
        reason = str(told(row.details.get("reason", "")))
        detail = " · ".join(part for part in (reason, shares, _who(row.actor)) if part)
        found.append(Happening(row.at, tone, icon, text, detail, row.endpoint.get_absolute_url()))
    return found
