"""What people say of answers: taken and counted. What is learnt from it is made by `corrections`."""

from __future__ import annotations

from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _

from apps.accounts.auth import Identity
from apps.accounts.models import Role, Workspace
from apps.core.errors import Invalid, NotFound
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


_JUDGED = Count("pk", filter=Q(agrees__isnull=False))
_AGREED = Count("pk", filter=Q(agrees=True))
_WAITING = Count("pk", filter=Q(agrees=None))


class Accuracy(NamedTuple):
    """How often people agreed: `agreed` of `judged`; `waiting` is feedback whose request was not sampled so far."""

    judged: int
    agreed: int
    waiting: int

    @property
    def share(self) -> float | None:
        return self.agreed / self.judged if self.judged else None


def accuracy_of(endpoint: Endpoint) -> Accuracy:
    """By all feedback."""
    rows = Feedback.objects.filter(endpoint=endpoint)
    return Accuracy(**rows.aggregate(judged=_JUDGED, agreed=_AGREED, waiting=_WAITING))


def accuracy_by_revision(endpoint: Endpoint) -> dict[int, Accuracy]:
    """Newest revision first; only those that somebody judged."""
    known = Feedback.objects.filter(endpoint=endpoint).exclude(revision=None).order_by("-revision")
    rows = known.values_list("revision").annotate(judged=_JUDGED, agreed=_AGREED, waiting=_WAITING)
    return {number: Accuracy(*counts) for number, *counts in rows.filter(judged__gt=0) if number is not None}


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
