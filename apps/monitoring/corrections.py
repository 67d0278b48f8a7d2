"""Answers that somebody gave another label for, as data to train on: a file, or the next version of a dataset."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.core.errors import Conflict
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.services import UploadedPart, dataset_create, version_upload
from apps.deployments.models import Endpoint
from apps.monitoring.models import Feedback, RequestSample

#: Rows of feedback whose samples are fetched together.
_CHUNK = 500


class Correction(NamedTuple):
    text: str
    label: str
    predicted: str
    request_id: str
    input_index: int
    revision: int
    comment: str


def corrections_of(endpoint: Endpoint) -> Iterator[Correction]:
    """Every answer that somebody gave a label for and whose text is still in the log, oldest first."""
    given = Feedback.objects.filter(endpoint=endpoint).exclude(label="").exclude(revision=None)
    rows = given.order_by("pk").iterator()
    while chunk := list(itertools.islice(rows, _CHUNK)):
        found = RequestSample.objects.filter(endpoint=endpoint, request_id__in={row.request_id for row in chunk})
        # Of a name that was used twice the newest is meant, as everywhere.
        samples = {sample.request_id: sample for sample in found.order_by("pk")}
        for row in chunk:
            sample = samples.get(row.request_id)
            if sample is None or row.index >= len(sample.inputs):
                continue
            text = sample.inputs[row.index]
            if isinstance(text, str) and text.strip():
                yield Correction(
                    text, row.label, row.predicted, row.request_id, row.index, sample.revision, row.comment
                )


def corrections_csv(endpoint: Endpoint) -> str:
    """With a header; UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(Correction._fields)
    writer.writerows(corrections_of(endpoint))
    return out.getvalue()


def corrections_publish(*, by: Identity, endpoint: Endpoint, dataset: str = "") -> tuple[DatasetVersion, bool]:
    """Make the corrections the next version of a dataset, by default `<endpoint>-feedback`, which is made if need be.

    Returns the version and whether it is new: the same corrections make one version. Raises Conflict where there is
    nothing to make it of, or for a dataset of another task.
    """
    by.require(Role.DEVELOPER)
    rows = {correction.text: correction.label for correction in corrections_of(endpoint)}
    if not rows:
        message = _("No correction of %(name)s has its text in the log.") % {"name": endpoint.name}
        hint = _(
            "Give the right labels of some sampled requests; without the input kept, there is nothing to learn from."
        )
        raise Conflict(message, code="no_corrections", hint=hint)
    target = _dataset(by, endpoint, dataset or f"{endpoint.name[:54]}-feedback")
    path = _written(rows)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        part = UploadedPart("all", f"corrections-{endpoint.name}.csv", path, path.stat().st_size, sha256)
        return version_upload(by=by, dataset=target, files=[part], mapping={"text": "text", "label": "label"})
    finally:
        path.unlink(missing_ok=True)


def _written(rows: dict[str, str]) -> Path:
    """Text and label as a file where uploads wait."""
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=settings.FILE_UPLOAD_TEMP_DIR, suffix=".upload.csv", encoding="utf-8", newline="", delete=False
    ) as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows.items())
    return Path(file.name)


def _dataset(by: Identity, endpoint: Endpoint, name: str) -> Dataset:
    found = Dataset.objects.filter(workspace=by.workspace, name=name).first()
    if found is None:
        title = _("Corrections of %(name)s") % {"name": str(endpoint)[:150]}
        return dataset_create(by=by, name=name, task=endpoint.task, title=title)
    if found.task != endpoint.task:
        message = _("The dataset %(name)s is for another task.") % {"name": name}
        raise Conflict(message, code="wrong_task", fields={"dataset": message}, hint=_("Name another dataset."))
    return found
