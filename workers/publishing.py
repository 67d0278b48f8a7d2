"""The last phase of a job: its bundle becomes a version in MLflow, then in the registry. Repeated until MLflow has it.

Every step may be repeated after a crash: the run and the version are found by the job's key, the bundle by its digest,
the row by its number.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.jobs import services
from apps.jobs.models import Job, JobKind
from apps.registry.models import ModelVersion
from apps.registry.services import model_version_publish
from modelkit import bundle, catalog
from modelkit.jobfolder import JobFolder
from modelkit.tracking.sink import SinkUnavailable
from modelkit.wording import say
from workers import mirror, stopping
from workers.reporter import Lease

logger = logging.getLogger(__name__)

BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class Interrupted(Exception):
    """A cancel was asked for, or the worker is to stop, before MLflow could be reached."""


def publish(*, job: Job, folder: JobFolder, result: dict[str, Any], lease: Lease, copy: mirror.Mirror) -> ModelVersion:
    """Publish the bundle of a finished child. Raises Interrupted, LeaseLost, UserError (damage), SinkRefused."""
    services.job_phase(job=job, owner=lease.owner, name="publishing")
    manifest = bundle.verify(folder.path / result["bundle"])
    waited = 0
    while True:
        lease.check()
        if services.job_cancel_requested(job=job, owner=lease.owner) or stopping.asked():
            raise Interrupted
        try:
            number = _publish_to_mlflow(job, folder, result, manifest, copy)
            break
        except SinkUnavailable as error:
            pause = BACKOFF_S[min(waited, len(BACKOFF_S) - 1)]
            waited += 1
            logger.warning("Job %s: MLflow does not answer, next try in %.0f s: %s", job.public_id, pause, error)
            services.job_notice(
                job=job,
                owner=lease.owner,
                code="mlflow_down",
                message=say("The model is ready. MLflow does not answer at present; publishing goes on when it does."),
            )
            _wait(job, lease, pause)
    services.job_notice_withdraw(job=job, owner=lease.owner, code="mlflow_down")
    _cache_bundle(folder.path / result["bundle"], manifest.digest)
    lease.check()
    return _register(job, result, manifest, number, copy.run_id)


def _wait(job: Job, lease: Lease, seconds: float) -> None:
    while seconds > 0 and not stopping.asked() and not lease.lost:
        if services.job_cancel_requested(job=job, owner=lease.owner):
            return
        stopping.sleep(min(seconds, 0.5))
        seconds -= 0.5


def _publish_to_mlflow(
    job: Job, folder: JobFolder, result: dict[str, Any], manifest: bundle.Manifest, copy: mirror.Mirror
) -> int:
    run_id = copy.flush()
    task = catalog.tasks()[job.task]
    number = mirror.sink().version_publish(
        run_id=run_id,
        key=mirror.run_key(job),
        name=f"{job.workspace.name}.{job.model_name}",
        bundle=folder.path / result["bundle"],
        inputs=[column.role for column in task.columns if column.kind != "category"],
        tags=mirror.run_tags(job) | {"tuneyard.bundle_digest": manifest.digest},
    )
    mirror.sink().run_close(run_id, "finished")
    return number


def _cache_bundle(source: Path, digest: str) -> None:
    """Put the bundle where serving looks for it; hard links where the disk allows, so that no byte is doubled."""
    target = Path(settings.BUNDLES_DIR) / digest
    if target.is_dir():
        return
    partial = target.with_name(f".{digest}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial, copy_function=_link_or_copy)
    try:
        partial.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(partial, ignore_errors=True)  # another worker was faster


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _register(job: Job, result: dict[str, Any], manifest: bundle.Manifest, number: int, run_id: str) -> ModelVersion:
    return model_version_publish(
        workspace=job.workspace,
        name=job.model_name,
        number=number,
        job_public_id=job.public_id,
        bundle_digest=manifest.digest,
        manifest=json.loads(manifest.model_dump_json()),
        metrics=result["metrics"],
        metrics_split=result["metrics_split"],
        dataset_version=job.dataset_version,
        base_model=job.base_model,
        parent=job.source_version if job.kind == JobKind.COMPRESS else None,
        recipe=list(manifest.recipe),
        mlflow_run_id=run_id,
        mlflow_version=number,
        size_bytes=manifest.size_bytes,
        created_by=job.created_by,
    )
