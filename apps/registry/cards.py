"""The model card: what a version is, made of recorded facts only; and how versions differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext

from apps.core.templatetags.ui import difference, improved
from apps.registry.measures import SCORES
from apps.registry.models import ModelVersion
from modelkit import catalog

#: Below this F1 a class is named among the limits of a model.
_WEAK_F1 = 0.8
_FEW_ROWS = 20


@dataclass(frozen=True)
class Delta:
    """A number of a version beside the same number of another one. `better` is None where no difference is shown."""

    name: str
    title: str
    unit: str
    value: float | None
    reference: float | None = None
    higher_is_better: bool = True

    @property
    def delta(self) -> float | None:
        if self.value is None or self.reference is None:
            return None
        return self.value - self.reference

    @property
    def difference(self) -> str:
        return difference(self.value, self.reference, self.unit)

    @property
    def better(self) -> bool | None:
        return improved(self.value, self.reference, self.unit, higher_is_better=self.higher_is_better)


@dataclass(frozen=True)
class ClassRow:
    """One class of a version, as evaluated."""

    label: str
    f1: float
    precision: float
    recall: float
    support: int
    reference_f1: float | None = None

    @property
    def delta(self) -> float | None:
        return None if self.reference_f1 is None else self.f1 - self.reference_f1

    @property
    def difference(self) -> str:
        return difference(self.f1, self.reference_f1, "fraction")

    @property
    def better(self) -> bool | None:
        return improved(self.f1, self.reference_f1, "fraction")


@dataclass(frozen=True)
class Card:
    """Facts for the first tab of a version's page."""

    task_title: str
    labels: list[str]
    metrics: list[Delta]
    weak_classes: list[ClassRow] = field(default_factory=list)
    rare_classes: list[ClassRow] = field(default_factory=list)
    parity: Mapping[str, Any] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def example_json(self) -> str:
        return json.dumps(self.example, ensure_ascii=False, indent=2)


@dataclass(frozen=True)
class Variant:
    """A version of a family with its score beside its parent's. `score` may be empty: not all were measured."""

    version: ModelVersion
    score: Mapping[str, float]
    columns: list[Delta]


#: What variants are compared by: name in the score, title, unit, higher is better.
SCORE_COLUMNS = (
    ("accuracy", "Accuracy", "fraction", True),
    ("agreement", "Agreement", "fraction", True),
    ("p95_ms", "p95", "ms", False),
    ("size_bytes", "Size", "bytes", False),
)


def card_of(version: ModelVersion) -> Card:
    """The card of a version."""
    rows = class_rows(version)
    spec = catalog.tasks().get(version.model.task)
    return Card(
        task_title=gettext(spec.title) if spec else version.model.task,
        labels=list(version.manifest.get("labels", [])),
        metrics=metric_deltas(version, version.parent),
        weak_classes=sorted((row for row in rows if row.f1 < _WEAK_F1), key=lambda row: row.f1)[:10],
        rare_classes=sorted((row for row in rows if row.support < _FEW_ROWS), key=lambda row: row.support)[:10],
        parity=version.report.get("parity"),
        example=version.manifest.get("request_example", {}),
    )


def metric_deltas(version: ModelVersion, reference: ModelVersion | None) -> list[Delta]:
    """The metrics of a version, those that the task knows first, beside those of `reference` over the same split."""
    spec = catalog.tasks().get(version.model.task)
    known = {metric.name: metric for metric in (*(spec.metrics if spec else ()), *SCORES)}
    comparable = reference is not None and reference.metrics_split == version.metrics_split
    other = reference.metrics if reference is not None and comparable else {}
    order = [name for name in known if name in version.metrics]
    order += sorted(name for name in version.metrics if name not in known)
    deltas = []
    for name in order:
        metric = known.get(name)
        deltas.append(
            Delta(
                name=name,
                title=metric.title if metric else name,
                unit=metric.unit if metric else "",
                value=version.metrics[name],
                reference=other.get(name),
                higher_is_better=metric.higher_is_better if metric else True,
            )
        )
    return deltas


def class_rows(version: ModelVersion, reference: ModelVersion | None = None) -> list[ClassRow]:
    """Precision, recall and F1 by class, beside the F1 of `reference` where it knows the class."""
    other = {row["label"]: row["f1"] for row in _per_class(reference)} if reference else {}
    return [
        ClassRow(
            label=row["label"],
            f1=row["f1"],
            precision=row["precision"],
            recall=row["recall"],
            support=int(row["support"]),
            reference_f1=other.get(row["label"]),
        )
        for row in _per_class(version)
    ]


def score_of(version: ModelVersion, family: list[ModelVersion]) -> Mapping[str, float]:
    """The measured score of a version: its own job's, else the baseline that a variant of it was measured against."""
    own = version.report.get("score", {}).get("variant")
    if own:
        return dict(own)
    for other in family:
        if other.parent_id == version.pk and (baseline := other.report.get("score", {}).get("baseline")):
            return dict(baseline)
    return {}


def variants_of(family: list[ModelVersion]) -> list[Variant]:
    """The family with scores; each variant beside the baseline of its own job, measured on the same machine."""
    found = []
    for version in family:
        score = score_of(version, family)
        baseline = version.report.get("score", {}).get("baseline", {})
        columns = [
            Delta(name, title, unit, _number(score.get(name)), _number(baseline.get(name)), higher)
            for name, title, unit, higher in SCORE_COLUMNS
        ]
        found.append(Variant(version, score, columns))
    return found


def _per_class(version: ModelVersion) -> list[dict[str, Any]]:
    rows = version.report.get("per_class", {}).get("rows", [])
    wanted = {"label", "precision", "recall", "f1", "support"}
    return [row for row in rows if isinstance(row, dict) and wanted <= row.keys()]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Confused:
    """Rows of class `label` that were taken for `predicted`."""

    label: str
    predicted: str
    count: int


def confused_pairs(confusion: Mapping[str, Any], *, limit: int = 15) -> list[Confused]:
    """The commonest mistakes of a confusion matrix whose rows are the true classes."""
    labels, matrix = confusion.get("labels", []), confusion.get("matrix", [])
    pairs = [
        Confused(str(label), str(predicted), int(count))
        for label, row in zip(labels, matrix, strict=False)
        for predicted, count in zip(labels, row, strict=False)
        if label != predicted and count
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:limit]
