"""Versions for tests, made through the real publishing service over a real sealed bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from apps.accounts.models import Workspace
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
from apps.registry.models import ModelVersion
from apps.registry.services import model_version_publish
from modelkit import bundle

LABELS = ["refund", "card_lost", "top_up"]


def bundle_make(folder: Path, *, content: str = "weights") -> bundle.Manifest:
    """A sealed folder that looks like a bundle; its graph answers nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_text(content)
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    manifest = bundle.Manifest(
        task="text_classification",
        name="intents",
        created_at="2026-11-22T00:00:00Z",
        labels=LABELS,
        request_example={"inputs": ["Where is my card?"]},
    )
    return bundle.seal(folder, manifest)


def dataset_make(workspace: Workspace, name: str = "tickets") -> DatasetVersion:
    """A ready dataset version."""
    dataset, _created = Dataset.objects.get_or_create(workspace=workspace, name=name, task="text_classification")
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=dataset.versions.count() + 1,
        status=VersionStatus.READY,
        prefix=f"datasets/{workspace.public_id}/{name}/1",
        digest="d" * 64,
        rows=600,
        splits={"train": 480, "validation": 60, "test": 60},
        labels=LABELS,
    )


def version_make(
    workspace: Workspace,
    *,
    name: str = "intents",
    number: int = 1,
    parent: ModelVersion | None = None,
    accuracy: float = 0.92,
    content: str = "",
    **values: Any,
) -> ModelVersion:
    """A published version whose bundle lies in the local cache."""
    staging = settings.BUNDLES_DIR / f"staging-{workspace.public_id}-{name}-{number}"
    manifest = bundle_make(staging, content=content or f"{workspace.name}/{name}/{number}")
    target = settings.BUNDLES_DIR / manifest.digest
    if not target.exists():
        staging.rename(target)
    values.setdefault("dataset_version", None)
    values.setdefault("report", report_make(accuracy, variant=parent is not None))
    return model_version_publish(
        workspace=workspace,
        name=name,
        number=number,
        job_public_id="j" * 12,
        bundle_digest=manifest.digest,
        manifest=manifest.model_dump(mode="json"),
        metrics={"accuracy": accuracy, "f1_macro": accuracy - 0.01},
        metrics_split="test",
        base_model=None,
        parent=parent,
        recipe=[{"method": "dynamic_int8"}] if parent else [],
        mlflow_run_id="r" * 32,
        mlflow_version=number,
        size_bytes=manifest.size_bytes,
        **values,
    )


def report_make(accuracy: float, *, variant: bool) -> dict[str, Any]:
    """The artifacts that a job leaves."""
    rows = [
        {"label": label, "precision": accuracy, "recall": accuracy, "f1": accuracy - 0.1 * index, "support": 20 - index}
        for index, label in enumerate(LABELS)
    ]
    report: dict[str, Any] = {"per_class": {"rows": rows, "split": "test"}}
    if variant:
        base = {"accuracy": 0.92, "agreement": 1.0, "p95_ms": 8.0, "size_bytes": 88_000_000}
        small = {"accuracy": accuracy, "agreement": 0.99, "p95_ms": 3.0, "size_bytes": 22_000_000}
        report["score"] = {"baseline": base, "variant": small}
    return report
