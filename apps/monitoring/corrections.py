"""Answers that somebody gave another label for, as data to train on: a file, or the next version of a dataset."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.core.errors import Conflict
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.services import UploadedPart, dataset_create, version_upload
from apps.deployments.models import Endpoint
from apps.monitoring.feedback import labels_of
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
    """Every answer that somebody gave a label for and whose text is still in the log, in the order of the labels.

    A correction that was corrected is as young as its last label.
    """
    given = Feedback.objects.filter(endpoint=endpoint).exclude(label="").exclude(revision=None)
    rows = given.order_by("at", "pk").iterator()
    while chunk := list(itertools.islice(rows, _CHUNK)):
        found = RequestSample.objects.filter(endpoint=endpoint, request_id__in={row.request_id for row in chunk})
        found = found.only("request_id", "inputs", "revision")
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


class Classes(NamedTuple):
    """What a version made of the corrections would teach: rows by class, and the model's classes that have none.

    `source` is the version that the model learnt from, where other rows are to be had.
    """

    rows: dict[str, int]
    missing: list[str]
    source: DatasetVersion | None

    @property
    def alone(self) -> str:
        """The class that all corrections are of; a model cannot learn from one."""
        return next(iter(self.rows)) if len(self.rows) == 1 else ""


def correction_classes(endpoint: Endpoint) -> Classes:
    """Of what a version would hold now: a text that was corrected twice counts once, one whose input is hidden not."""
    return _classes(endpoint, _learnable(endpoint))


def _learnable(endpoint: Endpoint) -> dict[str, str]:
    """The label that each text was given last."""
    return {correction.text: correction.label for correction in corrections_of(endpoint)}


def _classes(endpoint: Endpoint, learnable: dict[str, str]) -> Classes:
    rows = dict(sorted(Counter(learnable.values()).items(), key=lambda item: (-item[1], item[0])))
    missing = [label for label in labels_of(endpoint) if label not in rows]
    return Classes(rows, missing, _learnt_from(endpoint))


def _learnt_from(endpoint: Endpoint) -> DatasetVersion | None:
    """The dataset version behind the revision with most of the traffic; a variant has its ancestor's."""
    revision = endpoint.revisions.order_by("-weight", "-number").first()
    version = revision.model_version if revision is not None else None
    while version is not None and version.dataset_version is None:
        version = version.parent
    return version.dataset_version if version is not None else None


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
    nothing to make it of, where all is of one class, or for a dataset of another task; nothing is made then.
    """
    by.require(Role.DEVELOPER)
    rows = _learnable(endpoint)
    if not rows:
        message = _("No correction of %(name)s has its text in the log.") % {"name": endpoint.name}
        hint = _(
            "Give the right labels of some sampled requests; without the input kept, there is nothing to learn from."
        )
        raise Conflict(message, code="no_corrections", hint=hint)
    classes = _classes(endpoint, rows)
    if classes.alone:
        raise Conflict(one_class_text(classes), code="one_class", hint=one_class_hint(classes))
    target = _dataset(by, endpoint, dataset or f"{endpoint.name[:54]}-feedback")
    path = _written(rows)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        part = UploadedPart("all", f"corrections-{endpoint.name}.csv", path, path.stat().st_size, sha256)
        return version_upload(by=by, dataset=target, files=[part], mapping={"text": "text", "label": "label"})
    finally:
        path.unlink(missing_ok=True)


def one_class_text(classes: Classes) -> str:
    message = ngettext(
        "The only correction is of the class %(label)s; data to train on needs two classes.",
        "All %(rows)d corrections are of the class %(label)s; data to train on needs two classes.",
        classes.rows[classes.alone],
    )
    return message % {"rows": classes.rows[classes.alone], "label": classes.alone}


def one_class_hint(classes: Classes) -> str:
    if classes.source is None:
        return _(
            "Correct an answer of another class too, or download the corrections as CSV, add rows of other classes "
            "and upload them as a dataset."
        )
    hint = _(
        "Correct an answer of another class too, or download the corrections as CSV, add them to the rows of %(ref)s "
        "and upload both as its next version."
    )
    return hint % {"ref": classes.source.ref}


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
