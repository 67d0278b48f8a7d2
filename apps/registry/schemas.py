"""Bodies and answers of the registry's API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import ConfigDict, Field

from apps.core.wording import told
from apps.registry import flips, mlflow_gateway
from apps.registry.models import AliasChange, BaseModel, BaseModelStatus, ModelVersion, RegisteredModel


class Body(Schema):
    """A request body: an unknown key is refused, since ignoring it would hide a mistake."""

    model_config = ConfigDict(extra="forbid")


class ImportErrorOut(Schema):
    code: str
    message: str
    hint: str
    retry: bool = Field(description="Whether trying again may end otherwise.")


class BaseModelOut(Schema):
    name: str
    title: str
    tasks: list[str]
    source: str
    bundled: bool = Field(description="Comes with the installation; others belong to the workspace.")
    status: str = Field(description="importing, ready or failed.")
    progress: float = Field(description="Part of the import that is done.")
    error: ImportErrorOut | None = Field(description="Why an import failed.")
    origin: dict[str, Any] = Field(description="Repository, revision and commit; file name and checksum; or version.")
    revision: str = Field(description="The hub's commit, or a digest of all files.")
    architecture: str
    parameters: int
    size_bytes: int
    licence: str
    languages: list[str]
    created_at: datetime
    created_by: str | None

    @classmethod
    def of(cls, row: BaseModel) -> BaseModelOut:
        return cls(**_base_model(row))


class ModelUserOut(Schema):
    kind: str
    name: str


class BaseModelDetail(BaseModelOut):
    used_by: list[ModelUserOut] = Field(description="What keeps it from being deleted.")

    @classmethod
    def detail_of(cls, row: BaseModel, users: list[ModelUserOut]) -> BaseModelDetail:
        return cls(**_base_model(row), used_by=users)


def _base_model(row: BaseModel) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "tasks": row.tasks,
        "source": row.source,
        "bundled": row.workspace_id is None,
        "status": row.status,
        "progress": 1.0 if row.status == BaseModelStatus.READY else row.progress,
        "error": ImportErrorOut(**row.problem) if row.problem else None,
        "origin": {key: value for key, value in row.origin.items() if key not in {"key", "labels"}},
        "revision": row.revision,
        "architecture": row.architecture,
        "parameters": row.parameters,
        "size_bytes": row.size_bytes,
        "licence": row.licence,
        "languages": row.languages,
        "created_at": row.created_at,
        "created_by": row.created_by.username if row.created_by else None,
    }


class FolderSource(Body):
    kind: Literal["folder"]
    path: str = Field(
        min_length=1, max_length=1000, description="Absolute path of a Hugging Face folder on the server."
    )


class HubSource(Body):
    kind: Literal["hub"]
    repo: str = Field(min_length=1, max_length=200, description="organisation/name.")
    revision: str = Field("", max_length=100, description="Branch, tag or commit; the branch main if left out.")


class VersionSource(Body):
    kind: Literal["model_version"]
    model: str = Field(min_length=1, max_length=200, description="A version to go on from: name@2 or name@champion.")


class BaseModelIn(Body):
    source: Annotated[FolderSource | HubSource | VersionSource, Field(discriminator="kind")]
    name: str = Field("", max_length=63, description="A slug; made from the source's name if left out.")
    title: str = Field("", max_length=200)


class ModelOut(Schema):
    name: str
    title: str
    task: str
    versions: int = Field(description="How many.")
    aliases: dict[str, int] = Field(description="Version numbers by alias.")
    created_at: datetime

    @classmethod
    def of(cls, row: RegisteredModel) -> ModelOut:
        return cls(
            name=row.name,
            title=row.title,
            task=row.task,
            versions=getattr(row, "version_count", row.versions.count()),
            aliases={alias.name: alias.version.number for alias in row.aliases.all()},
            created_at=row.created_at,
        )


class ModelVersionSummary(Schema):
    ref: str
    version: int
    aliases: list[str]
    metrics: dict[str, float]
    metrics_split: str
    parent: str | None
    dataset: str | None
    size_bytes: int
    created_at: datetime

    @classmethod
    def of(cls, row: ModelVersion) -> ModelVersionSummary:
        return cls(**_summary(row))


class AliasChangeOut(Schema):
    at: datetime
    actor: str | None
    alias: str
    from_version: int | None
    to_version: int | None
    reason: str

    @classmethod
    def of(cls, row: AliasChange) -> AliasChangeOut:
        return cls(
            at=row.at,
            actor=row.actor.username if row.actor else None,
            alias=row.alias,
            from_version=int(row.from_status) if row.from_status else None,
            to_version=int(row.to_status) if row.to_status else None,
            reason=told(row.reason),
        )


class ModelDetail(ModelOut):
    items: list[ModelVersionSummary] = Field(description="The newest 200 versions.")
    alias_changes: list[AliasChangeOut] = Field(description="The newest 50 moves of an alias.")


class BundleFileOut(Schema):
    path: str
    size_bytes: int
    sha256: str


class MlflowOut(Schema):
    name: str
    version: int
    run_id: str
    uri: str = Field(description="Opens with mlflow.pyfunc.load_model where Tuneyard is not installed.")


class ModelVersionOut(ModelVersionSummary):
    model: str
    task: str
    labels: list[str]
    base_model: str | None
    job: str | None = Field(description="Id of the job that made it.")
    recipe: list[dict[str, Any]] = Field(description="Compression steps from the parent.")
    precision: str
    bundle_digest: str
    files: list[BundleFileOut]
    request_example: dict[str, Any]
    lineage: dict[str, Any]
    report: dict[str, Any] = Field(description="per_class, confusion, parity, score: those that the job left.")
    mlflow: MlflowOut
    used_by: list[ModelUserOut]
    created_by: str | None

    @classmethod
    def detail_of(cls, row: ModelVersion, users: list[ModelUserOut]) -> ModelVersionOut:
        manifest = row.manifest
        name = mlflow_gateway.registered_name(row.model.workspace.name, row.model.name)
        return cls(
            **_summary(row),
            model=row.model.name,
            task=row.model.task,
            labels=manifest.get("labels", []),
            base_model=row.base_model.name if row.base_model else None,
            job=row.job_public_id or None,
            recipe=row.recipe,
            precision=manifest.get("precision", ""),
            bundle_digest=row.bundle_digest,
            files=[BundleFileOut(**file) for file in manifest.get("files", [])],
            request_example=manifest.get("request_example", {}),
            lineage=manifest.get("lineage", {}),
            report=row.report,
            mlflow=MlflowOut(
                name=name, version=row.number, run_id=row.mlflow_run_id, uri=f"models:/{name}/{row.number}"
            ),
            used_by=users,
            created_by=row.created_by.username if row.created_by else None,
        )


class AliasIn(Body):
    version: int = Field(ge=1, le=2**31 - 1)
    reason: str = Field("", max_length=500)


class AliasOut(Schema):
    alias: str
    version: int
    ref: str


def _summary(row: ModelVersion) -> dict[str, Any]:
    return {
        "ref": row.ref,
        "version": row.number,
        "aliases": sorted(alias.name for alias in row.aliases.all()),
        "metrics": row.metrics,
        "metrics_split": row.metrics_split,
        "parent": row.parent.ref if row.parent else None,
        "dataset": row.dataset_version.ref if row.dataset_version else None,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at,
    }


class VersionDiffQuery(Schema):
    """What a version is compared with, and which rows are wanted."""

    against: int = Field(ge=1, le=2**31 - 1, description="Number of the version that stands for before.")
    rows: flips.Kind = Field("broken", description="broken: right to wrong; mended: the reverse; changed: wrong twice.")
    label: str = Field("", max_length=500, description="Only rows of this true class.")
    limit: int = Field(50, ge=1, le=1000)


class FlipOut(Schema):
    row_id: str
    text: str | None
    truth: str
    was: str
    was_score: float
    now: str
    now_score: float


class VersionDiffOut(Schema):
    """Where a version answers otherwise than `against`, over the rows that both were measured on."""

    version: str
    against: str
    rows: int = Field(description="Rows that both were measured on.")
    only_version: int
    only_against: int
    broken: int
    mended: int
    changed: int
    unknown: list[str] = Field(description="Versions that keep no answers by row; then there is nothing to compare.")
    items: list[FlipOut] = Field(description="The rows asked for, the surest answers first.")

    @classmethod
    def of(cls, version: ModelVersion, other: ModelVersion, found: flips.Comparison) -> VersionDiffOut:
        return cls(
            version=version.ref,
            against=other.ref,
            rows=found.rows,
            only_version=found.only_own,
            only_against=found.only_other,
            broken=found.counts.get("broken", 0),
            mended=found.counts.get("mended", 0),
            changed=found.counts.get("changed", 0),
            unknown=found.unknown,
            items=[FlipOut(**vars(row)) for row in found.flips],
        )
