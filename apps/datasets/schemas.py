"""What the API of datasets takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from ninja import Schema
from pydantic import ConfigDict, Field

from apps.core.uses import Use
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.presentation import check_view
from apps.datasets.row_browser import VersionDiff


class DatasetIn(Schema):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Lower-case letters, digits and hyphens; unique in the workspace.", max_length=63)
    task: str = Field("text_classification", max_length=63, description="A task's name, see /tasks.")
    title: str = Field("", max_length=200, description="Free text, in any language.")
    sample: str | None = Field(
        None, max_length=63, description="Import this bundled sample as version 1, e.g. tickets."
    )


class DatasetOut(Schema):
    name: str
    title: str
    task: str
    versions: int
    latest: int | None = Field(description="Number of the newest version.")
    latest_status: str | None
    created_at: datetime
    created_by: str | None

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetOut:
        """From a row of `selectors.datasets_of`."""
        return cls(
            name=dataset.name,
            title=dataset.title,
            task=dataset.task,
            versions=getattr(dataset, "version_count", 0),
            latest=getattr(dataset, "latest_number", None),
            latest_status=getattr(dataset, "latest_status", None),
            created_at=dataset.created_at,
            created_by=dataset.created_by.username if dataset.created_by else None,
        )


class CheckOut(Schema):
    code: str
    severity: Literal["pass", "warn", "fail"]
    message: str
    count: int
    fix: str | None = Field(description="Send as one of `fixes` to make a new version.")
    hint: str = ""

    @classmethod
    def of(cls, check: dict[str, Any]) -> Self:
        """A stored check, in the reader's language."""
        shown = check_view(check)
        values = {key: check[key] for key in cls.model_fields}
        return cls(**values | {"message": shown.message, "hint": shown.hint})


class CheckDetailOut(CheckOut):
    examples: list[dict[str, Any]]


class ChecksOut(Schema):
    items: list[CheckDetailOut]


class VersionError(Schema):
    code: str
    message: str
    hint: str = ""
    field: str = ""
    same_as: str | None = None


class FileOut(Schema):
    part: str
    name: str
    size_bytes: int
    sha256: str


class VersionOut(Schema):
    dataset: str
    version: int
    ref: str
    task: str
    status: Literal["uploading", "validating", "needs_mapping", "ready", "rejected"]
    progress: float
    rows: int | None
    splits: dict[str, int]
    labels: list[str]
    mapping: dict[str, str]
    detected: dict[str, Any] = Field(description="Encoding, dialect and columns of each file; suggested mappings.")
    options: dict[str, Any] = Field(description="What was declared at the upload.")
    checks: list[CheckOut]
    digest: str
    parent: str | None
    fixes: list[str]
    files: list[FileOut]
    error: VersionError | None
    created_at: datetime
    created_by: str | None

    @classmethod
    def of(cls, version: DatasetVersion) -> VersionOut:
        detected = {key: value for key, value in version.detected.items() if key != "mapping_declared"}
        return cls(
            dataset=version.dataset.name,
            version=version.number,
            ref=version.ref,
            task=version.dataset.task,
            status=version.status,  # type: ignore[arg-type]  # the choices of the column
            progress=version.progress,
            rows=version.rows,
            splits=version.splits,
            labels=version.labels,
            mapping=version.mapping,
            detected=detected,
            options=version.options,
            checks=[CheckOut.of(check) for check in version.checks],
            digest=version.digest,
            parent=version.parent.ref if version.parent else None,
            fixes=version.fixes,
            files=[FileOut(name=part["file_name"], **_without_name(part)) for part in version.parts],
            error=VersionError(**version.problem) if version.problem else None,
            created_at=version.created_at,
            created_by=version.created_by.username if version.created_by else None,
        )


def _without_name(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ("part", "size_bytes", "sha256")}


class MappingIn(Schema):
    """Which column plays which role, and how the files are read; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid")

    mapping: dict[str, str] = Field(description='Role to column, e.g. {"text": "v2", "label": "v1"}.')
    encoding: str | None = Field(None, max_length=40)
    delimiter: str | None = Field(None, max_length=12)
    header: bool | None = None
    labels: list[str] | dict[str, str] | None = Field(None, description="Names of classes written as numbers or codes.")


class FixIn(Schema):
    """A new version made of another one by fixes."""

    model_config = ConfigDict(extra="forbid")

    from_: int = Field(alias="from", ge=1, description="Number of the version to fix.")
    fixes: list[str] = Field(min_length=1, max_length=20, description="Codes given as `fix` by the checks.")


class RowQuery(Schema):
    """Which rows to show."""

    split: Literal["train", "validation", "test"] | None = None
    label: str | None = Field(None, max_length=1000)
    search: str | None = Field(None, max_length=200, description="Anywhere in the text, whatever its case.")
    sort: Literal["position", "length", "label"] = "position"
    order: Literal["asc", "desc"] = "asc"
    cursor: str | None = Field(None, max_length=500, description="`next` of the page before; absent for the first.")
    limit: int = Field(50, ge=1, le=200)


class RowsOut(Schema):
    items: list[dict[str, Any]] = Field(
        description="row_id, position, source and split, and a value per role of the task, such as text and label."
    )
    next: str | None
    total: int = Field(description="Rows that match, on all pages.")


class DiffOut(Schema):
    base: str
    version: str
    added: int
    removed: int
    relabelled: int
    examples: list[dict[str, Any]]

    @classmethod
    def of(cls, base: DatasetVersion, version: DatasetVersion, diff: VersionDiff) -> DiffOut:
        return cls(
            base=base.ref,
            version=version.ref,
            added=diff.added,
            removed=diff.removed,
            relabelled=diff.relabelled,
            examples=diff.examples,
        )


class UserOut(Schema):
    kind: str
    name: str

    @classmethod
    def of(cls, user: Use) -> UserOut:
        return cls(kind=user.kind, name=user.name)
