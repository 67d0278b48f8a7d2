"""Which methods apply to a version, and how its variants compare with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from pydantic import ValidationError

from apps.accounts.models import Workspace
from apps.jobs import figures, presenting
from apps.jobs.models import Job
from apps.jobs.selectors import folders
from apps.registry.models import ModelVersion
from modelkit import bundle, catalog
from modelkit.contracts import CompressionSpec


@dataclass(frozen=True)
class Offer:
    """A method and whether it applies to the version; a refusal says why."""

    spec: CompressionSpec
    applies: bool
    reason: str = ""

    @property
    def title(self) -> str:
        return _(self.spec.title)

    @property
    def summary(self) -> str:
        return _(self.spec.summary)


@dataclass(frozen=True)
class Variant:
    """A compressed version beside its parent. `lines` are empty while no score is at hand."""

    version: ModelVersion
    method: str
    job: Job | None
    score: Mapping[str, Any] | None
    lines: Mapping[str, presenting.ScoreLine]
    remarks: list[str]


@dataclass(frozen=True)
class Comparison:
    """A parent with its variants, newest first."""

    parent: ModelVersion
    variants: list[Variant]

    @property
    def baseline(self) -> Mapping[str, presenting.ScoreLine]:
        """The parent as measured beside its newest scored variant."""
        return next((variant.lines for variant in self.variants if variant.lines), {})


def versions_offered(*, workspace: Workspace) -> QuerySet[ModelVersion]:
    """Versions of the workspace that a job may start from, newest first."""
    rows = ModelVersion.objects.select_related("model", "dataset_version__dataset", "base_model", "parent__model")
    return rows.filter(model__workspace=workspace).order_by("-created_at", "-pk")[:200]


def method_offers(version: ModelVersion, *, device: str = "cpu") -> list[Offer]:
    """Every method with its answer to whether it applies."""
    try:
        manifest = bundle.Manifest.model_validate(version.manifest)
    except ValidationError:
        reason = _("The manifest of this version cannot be read; publish it again.")
        return [Offer(spec, False, reason) for spec in catalog.methods().values()]
    answers = [(spec, spec.applies(manifest, device)) for spec in catalog.methods().values()]
    return [Offer(spec, answer.yes, _(answer.reason) if answer.reason else "") for spec, answer in answers]


def comparison_of(version: ModelVersion) -> Comparison:
    """The version's family: its parent (else itself) and everything made from that."""
    parent = version.parent or version
    found = list(parent.variants.select_related("model").order_by("-number"))
    jobs = Job.objects.filter(public_id__in=[item.job_public_id for item in found]).in_bulk(field_name="public_id")
    return Comparison(parent, [_variant(item, jobs.get(item.job_public_id)) for item in found])


def comparison_figure(comparison: Comparison) -> dict[str, Any]:
    """Speed and quality of the whole family, the parent starred."""
    task = comparison.parent.model.task
    points: list[figures.Point] = []
    for variant in comparison.variants:
        if variant.score is None:
            continue
        before, after = [
            *figures.score_points(
                task, variant.score, baseline=comparison.parent.ref, variant=f"{variant.version.ref} {variant.method}"
            )
        ] or (None, None)
        if before and not points:
            points.append(before)
        if after:
            points.append(after)
    return figures.scatter_figure(task, points)


def _variant(version: ModelVersion, job: Job | None) -> Variant:
    score = version.report.get("score") or (folders.artifact(job, "score") if job else None)
    names = [str(step.get("method", "")) for step in version.recipe]
    specs = catalog.methods()
    method = " + ".join(_(specs[name].title) if name in specs else name for name in names)
    lines = {line.name: line for line in presenting.score_of(version.model.task, score)}
    return Variant(version, method, job, score, lines, presenting.score_verdict(score))
