"""Finds datasets, jobs, models and endpoints of a workspace by their names."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext as _

from apps.accounts.models import Workspace
from apps.datasets.models import Dataset
from apps.deployments.models import Endpoint
from apps.jobs.models import Job
from apps.registry.models import RegisteredModel


@dataclass(frozen=True)
class Hit:
    icon: str
    title: str
    detail: str
    href: str


def search(workspace: Workspace, text: str, *, each: int = 5) -> list[Hit]:
    """At most `each` hits of every kind, the newest first; `#48` finds a job by its number. Nothing for no text."""
    text = text.strip()[:100]
    if not text:
        return []
    named = Q(name__icontains=text) | Q(title__icontains=text)
    number = text.removeprefix("#")
    jobs = Q(title__icontains=text) | Q(model_name__icontains=text)
    if number.isdigit() and len(number) < 10:
        jobs |= Q(number=int(number))
    hits = [
        Hit("database", row.name, row.title or _("Dataset"), row.get_absolute_url())
        for row in Dataset.objects.filter(named, workspace=workspace).order_by("-pk")[:each]
    ]
    hits += [
        Hit("play", f"#{row.number} {row.title}", str(row.get_status_display()), row.get_absolute_url())
        for row in Job.objects.filter(jobs, workspace=workspace).order_by("-pk")[:each]
    ]
    hits += [
        Hit("models", row.name, row.title or _("Model"), row.get_absolute_url())
        for row in RegisteredModel.objects.filter(named, workspace=workspace).order_by("-pk")[:each]
    ]
    hits += [
        Hit("rocket", row.name, row.title or _("Endpoint"), row.get_absolute_url())
        for row in Endpoint.objects.filter(named, workspace=workspace).order_by("-pk")[:each]
    ]
    return hits
