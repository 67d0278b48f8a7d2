"""What can be compressed and how: methods with their verdict on a version, and how its variants compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from apps.accounts.models import Workspace
from apps.jobs.models import Job, JobKind, JobStatus
from apps.registry import cards
from apps.registry.models import ModelVersion
from apps.registry.selectors import family_of
from modelkit import catalog
from modelkit.bundle import Manifest
from modelkit.contracts import CompressionSpec


@dataclass(frozen=True)
class Verdict:
    """A method and whether it applies to a version; `reason` says why not."""

    spec: CompressionSpec
    applies: bool
    reason: str


def sources(*, workspace: Workspace) -> QuerySet[ModelVersion]:
    """Versions that a compression may start from, newest first. Variants count: methods can be chained."""
    rows = ModelVersion.objects.filter(model__workspace=workspace).select_related("model", "parent__model")
    return rows.order_by("-created_at", "-pk")


def verdicts(version: ModelVersion, *, device: str = "cpu") -> list[Verdict]:
    """Every method with its verdict on the version, those that apply first."""
    manifest = Manifest.model_validate(version.manifest)
    found = []
    for spec in catalog.methods().values():
        answer = spec.applies(manifest, device)
        found.append(Verdict(spec, answer.yes, answer.reason))
    return sorted(found, key=lambda verdict: not verdict.applies)


@dataclass(frozen=True)
class Comparison:
    """A version beside all that descends from the same training; scores were measured by the jobs that made them."""

    variants: list[cards.Variant]

    @property
    def measured(self) -> bool:
        """Whether there is anything to compare."""
        return sum(bool(variant.score) for variant in self.variants) > 1


def comparison(version: ModelVersion) -> Comparison:
    return Comparison(cards.variants_of(family_of(version)))


def comparison_state(version: ModelVersion) -> list[dict[str, Any]]:
    """The comparison as `schemas.VariantOut`."""
    rows = []
    for variant in comparison(version).variants:
        report = variant.version.report.get("score", {})
        rows.append(
            {
                "model": variant.version.ref,
                "parent": variant.version.parent.ref if variant.version.parent is not None else None,
                "recipe": [str(step.get("method", "")) for step in variant.version.recipe],
                "score": dict(variant.score),
                "baseline": report.get("baseline"),
                "worse": list(report.get("worse", [])),
            }
        )
    return rows


def jobs_of(version: ModelVersion) -> QuerySet[Job]:
    """Compressions of the version that have not published (yet), newest first."""
    return (
        Job.objects.filter(source_version=version, kind=JobKind.COMPRESS)
        .exclude(Q(status=JobStatus.SUCCEEDED) | Q(status=JobStatus.CANCELLED))
        .order_by("-number")
    )
