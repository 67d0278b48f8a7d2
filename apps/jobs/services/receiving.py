"""Takes a file whose rows are to be predicted: looked into first, so that what is wrong is said at once, then kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.core import storage
from apps.core.errors import Invalid
from apps.core.ids import new_id
from apps.core.wording import told
from apps.datasets.services import UploadedPart, mapping_parse, options_parse
from apps.jobs.models import Job
from apps.jobs.plans import plan_of
from apps.jobs.schemas import PredictFileRequest, PredictRequest, StoredFile
from apps.jobs.selectors import inputs
from apps.jobs.services.creating import job_create
from modelkit import catalog
from modelkit.data.options import ReadOptions
from modelkit.errors import UserError
from modelkit.prediction.columns import map_file


def job_create_for_file(
    *,
    by: Identity,
    request: PredictRequest,
    files: Sequence[UploadedPart],
    mapping: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    key: str = "",
) -> Job:
    """Keep the file and make the job. Raises Invalid naming the field, for the request as for the file."""
    by.require(Role.DEVELOPER)
    if len(files) != 1 or files[0].part != "all":
        message = _("Send one file, as the field file.")
        raise Invalid(message, fields={"file": message}, hint=_("Join several files, or start a job for each."))
    if request.dataset is not None or request.split != "all":
        message = _("A file has no splits, and goes without a dataset.")
        raise Invalid(message, fields={"dataset": message}, hint=_("Send a file or name a dataset, not both."))
    file = files[0]
    source = inputs.source_version_get(workspace=by.workspace, reference=request.model)
    declared = options_parse(options or {})
    wanted = mapping_parse(mapping or {}, source.model.task)
    try:
        columns = map_file(
            file.path,
            file.name,
            task=catalog.tasks()[source.model.task],
            options=ReadOptions.model_validate(declared),
            declared=wanted,
        )
    except UserError as error:
        message = told(error.message)
        raise Invalid(
            message, code=error.code, hint=told(error.hint), fields={error.field or "file": message}
        ) from None
    stored = StoredFile("", file.name, file.size_bytes, file.sha256, columns, declared)
    # Refused before the file is kept, if it has to be.
    plan_of(workspace=by.workspace, request=_request(request, stored)).raise_problems()
    stored = replace(stored, key=f"predictions/{by.workspace.public_id}/{new_id()}/file")
    storage.put_file(file.path, stored.key)
    job = None
    try:
        job = job_create(by=by, request=_request(request, stored), key=key)
    finally:
        # Refused after all, or the second click of two, whose job has the file of the first.
        if job is None or job.spec["file"]["key"] != stored.key:
            storage.delete_prefix(stored.key.rpartition("/")[0])
    return job


def _request(request: PredictRequest, file: StoredFile) -> PredictFileRequest:
    return PredictFileRequest(**request.model_dump(), file=file)
