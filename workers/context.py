"""Makes a job's folder ready: the frozen spec with the paths that its dataset, model and bundle have on this host."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.core import storage
from apps.jobs.models import Job, JobKind
from apps.registry.bundles import bundle_ensure_local
from modelkit.errors import UserError
from modelkit.jobfolder import JobFolder

logger = logging.getLogger(__name__)


def folder_of(job: Job) -> JobFolder:
    return JobFolder(Path(settings.JOBS_DIR) / job.public_id)


def prepare(job: Job) -> JobFolder:
    """The job's folder, emptied first if the job begins anew; raises UserError for inputs that are gone."""
    folder = folder_of(job)
    if job.progress_detail.get("fresh"):
        shutil.rmtree(folder.path, ignore_errors=True)
    folder.create(_resolved(job))
    return folder


def _resolved(job: Job) -> dict[str, Any]:
    spec = dict(job.spec)
    if spec.get("dataset"):
        dataset = dict(spec["dataset"])
        path = storage.local_dir(dataset.pop("prefix"))
        if not (path / "rows.parquet").is_file():
            raise UserError(
                "dataset_gone",
                "The rows of {ref} are no longer in storage.",
                "Upload the dataset again and clone the job onto the new version.",
                ref=dataset["ref"],
            )
        spec["dataset"] = dataset | {"path": str(path)}
    if job.kind == JobKind.TRAIN and not Path(spec["base_model"]["path"]).is_dir():
        raise UserError(
            "base_model_gone",
            "The folder of the base model {model} is not on this host.",
            "Import the base model again, or choose another one.",
            model=spec["base_model"]["id"],
        )
    if job.kind in (JobKind.COMPRESS, JobKind.PREDICT):
        assert job.source_version is not None  # noqa: S101 - rows of these kinds always have one
        spec["source"] = spec["source"] | {"bundle": str(bundle_ensure_local(job.source_version))}
    if spec.get("file"):
        spec["file"] = spec["file"] | {"path": str(_file(spec["file"]))}
    return spec


def _file(file: dict[str, Any]) -> Path:
    """The uploaded file on this host: where it lies, or a copy of a remote store's."""
    prefix, _slash, name = file["key"].rpartition("/")
    path: Path = storage.local_dir(prefix) / name
    if not path.is_file():
        raise UserError(
            "file_gone",
            "The uploaded file {name} is no longer in storage.",
            "Upload it again.",
            name=file["name"],
        )
    return path
