"""What people say of answers: taken, counted, and made into data to train on."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role, Workspace
from apps.core.errors import Conflict, Invalid, NotFound
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.services import UploadedPart, dataset_create, version_upload
from apps.deployments.models import Endpoint
from apps.deployments.selectors import endpoint_by_name, endpoints_of
from apps.monitoring.judging import feedback_judge, sample_of
from apps.monitoring.models import Feedback, Rating, RequestSample
from modelkit.serving.plan import request_tag

MAX_COMMENT = 2000
MAX_INDEX = 4095
_SHOWN_LABELS = 200


def feedback_give(
    *,
    by: Identity,
    request_id: str,
    rating: str = "",
    label: str = "",
    comment: str = "",
    index: int = 0,
    endpoint: str = "",
) -> tuple[Feedback, bool]:
    """Keep what the caller says of an answer; returns it and whether it is the first word on it.

    Whoever may predict may say so, hence any role. `endpoint` is needed only for a request id of the caller's own
    making that was not sampled. Raises NotFound where no endpoint of this workspace can have answered it, Invalid
    naming what is wrong.
    """
    by.require(Role.VIEWER)
    fields: dict[str, str] = {}
    if not rating and not label:
        fields["rating"] = _("Say up or down, or give the label that would have been right.")
    elif rating and rating not in Rating.values:
        fields["rating"] = _("A rating is up or down.")
    if len(comment) > MAX_COMMENT:
        fields["comment"] = _("Use at most %(count)s characters.") % {"count": MAX_COMMENT}
    if not 0 <= index <= MAX_INDEX:
        fields["index"] = _("The inputs of a request are counted from 0.")
    if fields:
        raise _refused(fields)
    found = _endpoint_of(by.workspace, request_id, endpoint)
    # The sample is read where the feedback is written, so that an import in between cannot miss it on SQLite.
    with transaction.atomic():
        sample = sample_of(found.pk, request_id)
        if sample is not None and index >= sample.items:
            text = _("This request had %(count)s inputs; they are counted from 0.") % {"count": sample.items}
            raise _refused({"index": text})
        _check_label(found, sample, label)
        feedback = Feedback(rating=rating, label=label, comment=comment.strip())
        feedback.index = index
        feedback_judge(feedback, sample)
        values = {
            name: getattr(feedback, name) for name in ("rating", "label", "comment", "predicted", "revision", "agrees")
        }
        return Feedback.objects.update_or_create(
            endpoint=found, request_id=request_id, index=index, defaults=values | {"author": by.user}
        )


def labels_of(endpoint: Endpoint, revision: int | None = None) -> list[str]:
    """The labels that a revision can answer; of all revisions where it is not known which."""
    rows = [row for row in endpoint.revisions.all() if revision in (None, row.number)]
    found = {str(label) for row in rows for label in row.model_version.manifest.get("labels", ())}
    return sorted(found)


class Accuracy(NamedTuple):
    """How often people agreed: `agreed` of `judged`; `waiting` is feedback whose request was not sampled so far."""

    judged: int
    agreed: int
    waiting: int

    @property
    def share(self) -> float | None:
        return self.agreed / self.judged if self.judged else None


def accuracy_of(endpoint: Endpoint, revision: int | None = None) -> Accuracy:
    """By all feedback, or by that on one revision."""
    rows = Feedback.objects.filter(endpoint=endpoint)
    if revision is not None:
        rows = rows.filter(revision=revision)
    counts = rows.aggregate(
        judged=Count("pk", filter=Q(agrees__isnull=False)),
        agreed=Count("pk", filter=Q(agrees=True)),
        waiting=Count("pk", filter=Q(agrees=None)),
    )
    return Accuracy(**counts)


def accuracy_by_revision(endpoint: Endpoint) -> dict[int, Accuracy]:
    """Newest revision first; only those that somebody judged."""
    numbers = Feedback.objects.filter(endpoint=endpoint, agrees__isnull=False).exclude(revision=None)
    listed = sorted(set(numbers.values_list("revision", flat=True)), key=lambda number: -(number or 0))
    return {number: accuracy_of(endpoint, number) for number in listed if number is not None}


# --- corrections ------------------------------------------------------------------------------------------------------


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
    for feedback in given.order_by("pk").iterator():
        sample = sample_of(endpoint.pk, feedback.request_id)
        if sample is None or feedback.index >= len(sample.inputs):
            continue
        text = sample.inputs[feedback.index]
        if isinstance(text, str) and text.strip():
            yield Correction(
                text, feedback.label, feedback.predicted, feedback.request_id, feedback.index, sample.revision,
                feedback.comment,
            )  # fmt: skip


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
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, suffix=".csv", delete=False) as file:
        out = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(out)
        writer.writerow(("text", "label"))
        writer.writerows(rows.items())
        out.flush()
        path = Path(file.name)
    try:
        content = path.read_bytes()
        part = UploadedPart(
            part="all",
            name=f"corrections-{endpoint.name}.csv",
            path=path,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        return version_upload(by=by, dataset=target, files=[part], mapping={"text": "text", "label": "label"})
    finally:
        path.unlink(missing_ok=True)


def _dataset(by: Identity, endpoint: Endpoint, name: str) -> Dataset:
    found = Dataset.objects.filter(workspace=by.workspace, name=name).first()
    if found is None:
        title = _("Corrections of %(name)s") % {"name": str(endpoint)[:150]}
        return dataset_create(by=by, name=name, task=endpoint.task, title=title)
    if found.task != endpoint.task:
        message = _("The dataset %(name)s is for another task.") % {"name": name}
        raise Conflict(message, code="wrong_task", fields={"dataset": message}, hint=_("Name another dataset."))
    return found


# --- inside -----------------------------------------------------------------------------------------------------------


def _refused(fields: dict[str, str]) -> Invalid:
    return Invalid(_("The feedback cannot be kept."), fields=fields, hint=_("Correct the named fields."))


def _endpoint_of(workspace: Workspace, request_id: str, name: str) -> Endpoint:
    """Who answered: named by the caller, told by the id that the front made, or by the sample."""
    if name:
        return endpoint_by_name(workspace, name)
    rows = endpoints_of(workspace)
    tag = request_id.removeprefix("req_").partition("-")[0] if request_id.startswith("req_") else ""
    for row in rows if tag else ():
        if request_tag(workspace.public_id, row.name) == tag:
            return row
    known = RequestSample.objects.filter(endpoint__workspace=workspace, request_id=request_id).order_by("-pk").first()
    if known is not None:
        return rows.get(pk=known.endpoint_id)
    message = _("No endpoint of this workspace is known to have answered that request.")
    hint = _("Check the request id. If your client makes its own ids, name the endpoint as well.")
    raise NotFound(message, fields={"request_id": message}, hint=hint)


def _check_label(endpoint: Endpoint, sample: RequestSample | None, label: str) -> None:
    known = labels_of(endpoint, sample.revision if sample is not None else None) or labels_of(endpoint)
    if not label or label in known or (not known and len(label) <= 500):
        return
    shown = ", ".join(known[:_SHOWN_LABELS])
    raise _refused({"label": _("The model knows no such label; it knows: %(labels)s.") % {"labels": shown}})
