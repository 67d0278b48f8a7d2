"""What a worker does to a base model that is imported: claim it, keep the claim alive, write the outcome.

The claim is (`attempt`, `heartbeat_at`), as for dataset versions: an outcome counts only while its attempt is the
present one, so that a worker that was thought dead and comes back changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core import storage
from apps.registry.folders import FIELD, FolderFacts
from apps.registry.messages import import_send
from apps.registry.models import BaseModel, BaseModelStatus, BaseModelTransition
from modelkit import catalog
from modelkit.errors import UserError
from modelkit.wording import pack

LEASE = timedelta(seconds=settings.JOB_LEASE_S)
#: How often a worker may die over one import. What was fetched until then is kept, so each attempt starts further on.
MAX_ATTEMPTS = 5
#: Of these the cause lies in what was sent: the same again would end the same.
_FINAL_SOURCES = {BaseModel.Source.ARCHIVE}


def base_model_claim(base_model_id: int) -> BaseModel | None:
    """Take a base model to import, or None when it is done, gone or in other hands."""
    now = timezone.now()
    claimed = (
        BaseModel.objects.filter(pk=base_model_id, status=BaseModelStatus.IMPORTING, attempt__lt=MAX_ATTEMPTS)
        .filter(Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - LEASE))
        .update(attempt=F("attempt") + 1, heartbeat_at=now)
    )
    if not claimed:
        return None
    return BaseModel.objects.select_related("workspace", "source_version__model__workspace", "source_version").get(
        pk=base_model_id
    )


def base_model_heartbeat(row: BaseModel, *, progress: float, size_bytes: int) -> bool:
    """Keep the claim; False when it was lost or the row was deleted."""
    return bool(_mine(row).update(heartbeat_at=timezone.now(), progress=progress, size_bytes=size_bytes))


def base_model_release(row: BaseModel, *, handed_over: bool = False) -> None:
    """Give the claim up, so that the sweep need not wait; one handed over by a worker that stops does not count."""
    changes: dict[str, Any] = {"heartbeat_at": None}
    if handed_over:
        changes["attempt"] = F("attempt") - 1
    _mine(row).update(**changes)


def base_model_pin(row: BaseModel, *, commit: str, licence: str, languages: Iterable[str]) -> None:
    """Keep what a hub said of the model, so that the next attempt fetches the same commit."""
    row.origin = {**row.origin, "commit": commit}
    row.licence, row.languages = licence[:100], list(languages)
    _mine(row).update(origin=row.origin, licence=row.licence, languages=row.languages)


def base_model_finish(row: BaseModel, facts: FolderFacts) -> bool:
    """Offer the imported folder; False when the claim was lost. Raises UserError where no task can use the model."""
    values = {
        "status": BaseModelStatus.READY,
        "error": None,
        "progress": 1.0,
        "heartbeat_at": None,
        "tasks": tasks_for(facts),
        "path": str(facts.path),
        "revision": row.origin.get("commit") or facts.revision,
        "architecture": facts.architecture[:100],
        "parameters": facts.parameters,
        "size_bytes": facts.size_bytes,
        "licence": facts.licence or row.licence,
    }
    with transaction.atomic():
        if not _mine(row).update(**values):
            return False
        _record(row, BaseModelStatus.READY, "")
    archive_forget(row)
    return True


def base_model_fail(row: BaseModel, error: UserError, *, retry: bool | None = None) -> bool:
    """End an import with its reason; False when the claim was lost."""
    may_retry = row.source not in _FINAL_SOURCES if retry is None else retry
    card = pack(error.card() | {"retry": may_retry})
    with transaction.atomic():
        changed = _mine(row).update(status=BaseModelStatus.FAILED, heartbeat_at=None, error=card)
        if changed:
            _record(row, BaseModelStatus.FAILED, error.message)
    if changed and not may_retry:
        archive_forget(row)
    return bool(changed)


def base_models_sweep() -> int:
    """Send again what lost its message or its worker, and end what breaks off each time; returns how many were sent."""
    stale = timezone.now() - LEASE
    waiting = BaseModel.objects.filter(status=BaseModelStatus.IMPORTING).filter(
        Q(heartbeat_at=None) | Q(heartbeat_at__lt=stale)
    )
    for row in waiting.filter(attempt__gte=MAX_ATTEMPTS):
        broken = UserError(
            "import_broke_off",
            "The import broke off {attempts} times; the fault is ours, or the worker ran out of memory.",
            "See the worker's log, then try again.",
            attempts=MAX_ATTEMPTS,
        )
        base_model_fail(row, broken, retry=True)
    sent = 0
    for base_model_id in waiting.filter(attempt__lt=MAX_ATTEMPTS).order_by("pk").values_list("pk", flat=True):
        import_send(base_model_id)
        sent += 1
    return sent


def tasks_for(facts: FolderFacts) -> list[str]:
    """The tasks that can start from such a model; raises UserError `task_unsupported` if there is none."""
    tasks = sorted(task for task, spec in catalog.tasks().items() if spec.modality == facts.modality)
    if not tasks:
        raise UserError(
            "task_unsupported",
            _("No task here starts from a model like this one (%(type)s).") % {"type": facts.model_type},
            _("Import a text encoder."),
            field=FIELD,
        )
    return tasks


def folder_of(row: BaseModel) -> Path:
    """Where the imported files of a base model lie."""
    return Path(settings.BASE_MODELS_DIR) / row.public_id


def staging_of(row: BaseModel) -> Path:
    """Where they lie while they come in; renamed when they are whole."""
    return Path(settings.BASE_MODELS_DIR) / f"{row.public_id}.partial"


def archive_forget(row: BaseModel) -> None:
    """Delete an uploaded archive that is not needed any more."""
    if row.source == BaseModel.Source.ARCHIVE:
        storage.delete_prefix(row.origin["key"])


def _mine(row: BaseModel) -> Any:
    return BaseModel.objects.filter(pk=row.pk, status=BaseModelStatus.IMPORTING, attempt=row.attempt)


def _record(row: BaseModel, status: str, reason: str) -> None:
    BaseModelTransition.objects.create(
        base_model=row, from_status=BaseModelStatus.IMPORTING, to_status=status, reason=reason
    )
