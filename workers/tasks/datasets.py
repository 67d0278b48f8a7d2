"""Checking of uploaded versions: thin tasks over `apps.datasets.validation` and `modelkit.data`."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import shared_task

from apps.core import storage
from apps.core.errors import NO_SPACE
from apps.datasets.models import DatasetVersion, VersionStatus
from apps.datasets.selectors import fixes_of, origin_of
from apps.datasets.validation import (
    LEASE,
    version_claim,
    version_finish,
    version_heartbeat,
    version_release,
    versions_sweep,
)
from apps.jobs.queue import DATASET_SWEEP, DATASET_VALIDATE
from modelkit import catalog
from modelkit.data.options import ReadOptions
from modelkit.data.prepare import Prepared, SourceFile, prepare
from modelkit.wording import say
from workers.heartbeat import Pulse, beating

logger = logging.getLogger(__name__)
BEAT_S = min(2.0, LEASE.total_seconds() / 4)


@shared_task(name=DATASET_VALIDATE, acks_late=False)
def validate(version_id: int) -> None:
    """Check a version. Sent twice, or for a version that is done, it does nothing."""
    version = version_claim(version_id)
    if version is None:
        return
    try:
        _validate(version)
    except OSError as error:
        if error.errno not in NO_SPACE:
            version_release(version)
            raise
        logger.exception("No space left while checking %s.", version.ref)
        version_finish(version, VersionStatus.REJECTED, {"error": _DISK_FULL})
    except Exception:
        version_release(version)
        raise


@shared_task(name=DATASET_SWEEP)
def sweep() -> None:
    """Find versions whose message or worker was lost."""
    sent = versions_sweep()
    if sent:
        logger.info("Sent %d dataset versions to be checked again.", sent)


_DISK_FULL = {
    "code": "disk_full",
    "message": say("The server's disk is full."),
    "hint": say("Free some space, then upload the file again."),
    "field": "",
}


@dataclass
class _Pulse(Pulse):
    """How far the check is; a thread tells the database, since DuckDB may be busy for long."""

    progress: float = 0.0


@contextmanager
def _heartbeat(version: DatasetVersion) -> Iterator[_Pulse]:
    pulse = _Pulse()
    with beating(pulse, lambda: version_heartbeat(version, pulse.progress), of=version.ref, every_s=BEAT_S):
        yield pulse


def _validate(version: DatasetVersion) -> None:
    root = storage.checking_dir()
    root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{version.public_id}-{version.attempt}-", dir=root))
    try:
        with _heartbeat(version) as pulse:

            def progress(fraction: float) -> None:
                pulse.progress = fraction

            origin = origin_of(version)
            prepared = prepare(
                _local_files(origin, scratch),
                scratch,
                task=version.dataset.task,
                columns=catalog.tasks()[version.dataset.task].columns,
                options=ReadOptions.model_validate(version.options),
                mapping=version.mapping,
                fixes=fixes_of(version),
                progress=progress,
            )
            if pulse.lost:
                logger.warning("Another worker has taken %s over; this result is dropped.", version.ref)
                return
            if prepared.status == "ready":
                for name in ("rows.parquet", "dataset.json"):
                    storage.put_file(scratch / name, f"{version.prefix}/{name}")
        version_finish(version, VersionStatus(prepared.status), _outcome(version, prepared))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _local_files(origin: DatasetVersion, scratch: Path) -> list[SourceFile]:
    """The original files on this machine: where they lie, or copied from a remote store."""
    files = []
    for number, part in enumerate(origin.parts):
        if storage.is_local():
            path = storage.local_dir(part["key"])
        else:
            path = scratch / f"source-{number}"
            storage.fetch(part["key"], path)
        files.append(SourceFile(path, part["file_name"], part["part"]))
    return files


def _outcome(version: DatasetVersion, prepared: Prepared) -> dict[str, object]:
    declared = version.detected.get("mapping_declared", False)
    return {
        "detected": {**prepared.detected, "mapping_declared": declared},
        "mapping": prepared.mapping or version.mapping,
        "digest": prepared.digest if prepared.status == "ready" else "",
        "rows": prepared.rows if prepared.status == "ready" else None,
        "splits": prepared.splits,
        "labels": prepared.labels,
        "checks": prepared.checks,
        "stats": prepared.stats,
        "error": prepared.error,
    }
