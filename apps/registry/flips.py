"""Row by row, where two versions of a model answer otherwise: DuckDB joins what each left in its bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from django.conf import settings

from apps.core.errors import AppError
from apps.datasets.row_browser import rows_path
from apps.registry.models import ModelVersion
from modelkit import bundle
from modelkit.data import store

MEMORY_MB = 192
Kind = Literal["broken", "mended", "changed"]
#: Which rows each kind holds, in SQL over the joined rows: from right to wrong, back, and from one mistake to another.
_CONDITIONS: dict[Kind, str] = {
    "broken": "was = truth AND now <> truth",
    "mended": "was <> truth AND now = truth",
    "changed": "was <> truth AND now <> truth AND was <> now",
}


KINDS = tuple(_CONDITIONS)


@dataclass(frozen=True)
class Flip:
    """One row that two versions answer otherwise. `text` is None where the dataset version is gone."""

    row_id: str
    text: str | None
    truth: str
    was: str
    was_score: float
    now: str
    now_score: float


@dataclass(frozen=True)
class Comparison:
    """A version against another one over the rows that both were measured on.

    `unknown` names the versions that left no answers by row; nothing can be compared then.
    """

    rows: int = 0
    only_own: int = 0
    only_other: int = 0
    counts: dict[Kind, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    flips: list[Flip] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def agreed(self) -> int:
        """Rows that both answer alike."""
        return self.rows - sum(self.counts.values())


def compare(
    version: ModelVersion, other: ModelVersion, *, kind: Kind = "broken", label: str = "", limit: int = 50
) -> Comparison:
    """What changes when `version` takes the place of `other`: the counts, and the surest of `kind` first.

    `label` keeps rows of one true class only. The truth is the one that `version` was measured against.
    """
    paths = {row.ref: _evaluated(row) for row in (version, other)}
    unknown = [ref for ref, path in paths.items() if not path.is_file()]
    if unknown:
        return Comparison(unknown=unknown)
    own, theirs = (store.parquet(path) for path in paths.values())
    texts, has_text = _texts(version)
    with store.connect(memory_mb=MEMORY_MB, threads=1) as connection:
        connection.execute(
            "CREATE TEMP TABLE joined AS SELECT a.row_id, a.truth, b.predicted AS was, b.score AS was_score,"
            f" a.predicted AS now, a.score AS now_score FROM {own} a JOIN {theirs} b USING (row_id)"
        )
        sizes = connection.execute(
            f"SELECT (SELECT count(*) FROM joined), (SELECT count(*) FROM {own}), (SELECT count(*) FROM {theirs})"
        ).fetchall()[0]
        counts = {
            name: int(connection.execute(f"SELECT count(*) FROM joined WHERE {condition}").fetchall()[0][0])
            for name, condition in _CONDITIONS.items()
        }
        labels = connection.execute(
            f"SELECT DISTINCT truth FROM joined WHERE {_CONDITIONS[kind]} ORDER BY truth"
        ).fetchall()
        found = connection.execute(
            f"SELECT row_id, {'r.text' if has_text else 'NULL'}, truth, was, was_score, now, now_score"
            f" FROM joined {texts} WHERE {_CONDITIONS[kind]} AND (? = '' OR truth = ?)"
            " ORDER BY now_score DESC, row_id LIMIT ?",
            [label, label, limit],
        ).fetchall()
    return Comparison(
        rows=int(sizes[0]),
        only_own=int(sizes[1] - sizes[0]),
        only_other=int(sizes[2] - sizes[0]),
        counts=counts,
        labels=[row[0] for row in labels],
        flips=[_flip(row) for row in found],
    )


def _flip(row: tuple[Any, ...]) -> Flip:
    row_id, text, truth, was, was_score, now, now_score = row
    return Flip(row_id, text, truth, was, float(was_score), now, float(now_score))


def _evaluated(version: ModelVersion) -> Path:
    return Path(settings.BUNDLES_DIR) / version.bundle_digest / bundle.EVALUATED


def _texts(version: ModelVersion) -> tuple[str, bool]:
    """The join that brings the rows' texts, where the dataset version still has them."""
    dataset = version.dataset_version
    if dataset is None or "text" not in dataset.mapping:
        return "", False
    try:
        path = rows_path(dataset)
    except AppError:
        return "", False
    if not path.is_file():
        return "", False
    return f"LEFT JOIN (SELECT row_id, text FROM {store.parquet(path)}) r USING (row_id)", True
