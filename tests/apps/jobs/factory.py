"""A ready dataset with real rows, a base model and jobs on them, for the tests of jobs."""

from __future__ import annotations

from typing import Any

import duckdb
from django.utils import timezone

from apps.core import storage
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
from apps.jobs.models import Device, Job
from apps.jobs.schemas import TrainRequest
from apps.jobs.services import job_create
from apps.registry.models import BaseModel


def dataset_make(
    workspace: Any, name: str = "tickets", *, status: str = VersionStatus.READY, **values: Any
) -> DatasetVersion:
    """A version with ten rows in storage."""
    dataset, _created = Dataset.objects.get_or_create(workspace=workspace, name=name, task="text_classification")
    number = dataset.versions.count() + 1
    prefix = f"datasets/{workspace.public_id}/{name}/{number}"
    folder = storage.local_dir(prefix)
    folder.mkdir(parents=True, exist_ok=True)
    duckdb.sql(
        "SELECT i::varchar AS row_id, i AS position, 'a.csv' AS source, "
        "CASE WHEN i < 8 THEN 'train' ELSE 'test' END AS split, "
        "CASE WHEN i = 0 THEN '退款还没有到账' ELSE 'where is my card ' || i END AS text, "
        "CASE WHEN i % 2 = 0 THEN 'card' ELSE 'refund' END AS label FROM range(10) t(i)"
    ).write_parquet(str(folder / "rows.parquet"))
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        status=status,
        prefix=prefix,
        digest=f"{prefix}-digest"[:64],
        rows=10,
        splits={"train": 8, "validation": 0, "test": 2},
        labels=["card", "refund"],
        **values,
    )


def base_model_make(name: str = "tiny", workspace: Any = None, **values: Any) -> BaseModel:
    """A base model, bundled unless a workspace is given; `minilm-l6` itself comes with the installation."""
    values = {"tasks": ["text_classification"], "parameters": 22_000_000, "size_bytes": 90_000_000} | values
    return BaseModel.objects.create(
        workspace=workspace, name=name, title=name, source="bundled", path="/nowhere", revision="1", **values
    )


def body(**changes: Any) -> dict[str, Any]:
    """A valid request for a fine-tuning; a change to None removes the key."""
    request = {
        "kind": "train",
        "task": "text_classification",
        "dataset": "tickets@1",
        "base_model": "tiny",
        "model_name": "intents",
        "preset": "instant",
    }
    return {name: value for name, value in (request | changes).items() if value is not None}


def job_make(person: Any, **changes: Any) -> Job:
    return job_create(by=person.identity, request=TrainRequest(**body(**changes)))


def device_make(host: str = "here", name: str = "cpu:0") -> Device:
    return Device.objects.create(host=host, name=name, title=name, memory_bytes=16 << 30, seen_at=timezone.now())
