"""What a worker does to a version: claim it, keep the claim alive, write the outcome. The reading is `modelkit.data`'s.

The claim is (`attempt`, `heartbeat_at`): who finds a stale heartbeat may claim anew, and an outcome counts only while
its attempt is the present one. So a worker that was thought dead and comes back changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from apps.core import storage
from apps.datasets.messages import validation_send
from apps.datasets.models import DatasetVersion, DatasetVersionTransition, VersionStatus
from apps.datasets.selectors import ready_with_digest
from modelkit.wording import Said, pack, say

LEASE = timedelta(seconds=settings.JOB_LEASE_S)
MAX_ATTEMPTS = 3
#: An upload's row lives this long in `uploading`: its files are on the disk already when the row is made.
UPLOAD_LEASE = timedelta(hours=1)
#: Temporary files of uploads that broke off.
INCOMING_KEPT = timedelta(days=1)


def version_claim(version_id: int) -> DatasetVersion | None:
    """Take a version to check, or None when it is done, gone or in other hands."""
    now = timezone.now()
    claimed = (
        DatasetVersion.objects.filter(pk=version_id, status=VersionStatus.VALIDATING, attempt__lt=MAX_ATTEMPTS)
        .filter(Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - LEASE))
        .update(attempt=F("attempt") + 1, heartbeat_at=now, progress=0)
    )
    if not claimed:
        return None
    return DatasetVersion.objects.select_related("dataset__workspace", "parent").get(pk=version_id)


def version_heartbeat(version: DatasetVersion, progress: float) -> bool:
    """Keep the claim; False when it was lost."""
    mine = DatasetVersion.objects.filter(pk=version.pk, status=VersionStatus.VALIDATING, attempt=version.attempt)
    return bool(mine.update(heartbeat_at=timezone.now(), progress=progress))


def version_release(version: DatasetVersion) -> None:
    """Give the claim up after a crash of ours, so that the sweep need not wait; the attempt stays counted."""
    mine = DatasetVersion.objects.filter(pk=version.pk, status=VersionStatus.VALIDATING, attempt=version.attempt)
    mine.update(heartbeat_at=None)


def version_finish(version: DatasetVersion, status: VersionStatus, outcome: Mapping[str, Any]) -> bool:
    """Write the outcome of a check (fields of the row); False when the claim was lost.

    A version whose rows are those of an earlier one is rejected with a pointer to it: one digest, one version.
    """
    values: dict[str, Any] = dict(outcome)
    with transaction.atomic():
        same = ready_with_digest(version, values["digest"]) if status == VersionStatus.READY else None
        if same is not None:
            status = VersionStatus.REJECTED
            values["error"] = {
                "code": "same_rows",
                "message": say("The rows are the same as those of {ref}.", ref=same.ref),
                "hint": say("Use {ref}.", ref=same.ref),
                "field": "",
                "same_as": same.ref,
            }
            values["digest"] = ""
        mine = DatasetVersion.objects.filter(pk=version.pk, status=VersionStatus.VALIDATING, attempt=version.attempt)
        if not mine.update(status=status, heartbeat_at=None, progress=1.0, **_storable(values)):
            return False
        reason = (values.get("error") or {}).get("message", "")
        DatasetVersionTransition.objects.create(
            version=version, from_status=VersionStatus.VALIDATING, to_status=status, reason=reason
        )
    return True


def versions_sweep() -> int:
    """Send again what lost its message or its worker, and end what cannot be finished; returns how many were sent."""
    now = timezone.now()
    waiting = DatasetVersion.objects.filter(status=VersionStatus.VALIDATING).filter(
        Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - LEASE)
    )
    for version in waiting.filter(attempt__gte=MAX_ATTEMPTS):
        _reject(
            version,
            "checking_failed",
            say(
                "Checking broke off {attempts} times; the fault is ours, or the worker ran out of memory.",
                attempts=MAX_ATTEMPTS,
            ),
            say("See the worker's log, then upload the file again."),
        )
    for version in DatasetVersion.objects.filter(status=VersionStatus.UPLOADING, created_at__lt=now - UPLOAD_LEASE):
        _reject(version, "upload_interrupted", say("The upload broke off."), say("Upload the file again."))
    sent = 0
    for version_id in waiting.filter(attempt__lt=MAX_ATTEMPTS).values_list("pk", flat=True):
        validation_send(version_id)
        sent += 1
    _incoming_clean()
    return sent


def _reject(version: DatasetVersion, code: str, message: str, hint: str) -> None:
    with transaction.atomic():
        error = pack({"code": code, "message": message, "hint": hint, "field": ""})
        mine = DatasetVersion.objects.filter(pk=version.pk, status=version.status, attempt=version.attempt)
        if mine.update(status=VersionStatus.REJECTED, heartbeat_at=None, error=error):
            DatasetVersionTransition.objects.create(
                version=version, from_status=version.status, to_status=VersionStatus.REJECTED, reason=message
            )


def _incoming_clean() -> None:
    """Delete what uploads and checks left that broke off with their process."""
    storage.scratch_clean(older_than=INCOMING_KEPT)
    if not storage.is_local() and not settings.FILE_UPLOAD_TEMP_DIR.exists():
        return
    oldest = (timezone.now() - INCOMING_KEPT).timestamp()
    for path in settings.FILE_UPLOAD_TEMP_DIR.glob("*.upload*"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
        except FileNotFoundError:
            continue


def _storable(value: Any) -> Any:
    """As JSON without what PostgreSQL refuses in it: NUL and halves of surrogate pairs."""
    if isinstance(value, Said):
        return _storable(pack(value))
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
