"""Makes a dataset version of what a batch prediction answered: texts with the answers as their classes.

Repeatable: the same file with the same mapping answers the version that it made before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from django.conf import settings

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.core.errors import AppError
from apps.datasets.models import Dataset
from apps.datasets.services import UploadedPart, dataset_create, version_upload
from apps.jobs import services
from apps.jobs.models import Job
from modelkit import catalog
from modelkit.jobfolder import JobFolder
from modelkit.prediction.columns import input_role, label_role
from modelkit.wording import say
from workers.reporter import Lease


def dataset_make(*, job: Job, folder: JobFolder, lease: Lease) -> None:
    """Note the version in `progress_detail["dataset"]`; what stands in the way becomes a notice, the files stay."""
    if job.created_by is None:
        return
    # Whether they may was asked when the job was made.
    by = Identity(job.created_by, job.workspace, Role.DEVELOPER)
    name = job.spec["save_as"]
    task = catalog.tasks()[job.task]
    copy = _copy_of(folder.artifacts_path / "predictions.csv", job)
    try:
        dataset = Dataset.objects.filter(workspace=job.workspace, name=name).first()
        if dataset is None:
            dataset = dataset_create(by=by, name=name, task=job.task)
        version, _new = version_upload(
            by=by,
            dataset=dataset,
            files=[copy],
            mapping={input_role(task): "text", label_role(task): "label"},
        )
    except AppError as error:
        message = say("No dataset was made of the answers: {reason}", reason=error.reason)
        services.job_notice(job=job, owner=lease.owner, code="dataset_refused", message=message)
        return
    finally:
        # What was refused, or is there already, is not moved away.
        copy.path.unlink(missing_ok=True)
    job.progress_detail["dataset"] = version.ref


def _copy_of(path: Path, job: Job) -> UploadedPart:
    """The file as if it had been uploaded: storing moves it, and the job keeps its own."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    # By its name the sweep of uploads knows what a killed process left.
    copy = folder / f"predictions-{job.public_id}.{os.getpid()}.upload.csv"
    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return UploadedPart("all", f"predictions-{job.number}.csv", copy, copy.stat().st_size, digest)
