"""Reads of the request log and of feedback, always of one endpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from apps.deployments.models import Endpoint
from apps.monitoring.models import Feedback, RequestSample
from apps.monitoring.request_schemas import RequestQuery


def requests_of(endpoint: Endpoint, query: RequestQuery) -> QuerySet[RequestSample]:
    """The samples that fit the filters, newest first."""
    rows = RequestSample.objects.filter(endpoint=endpoint).order_by("-pk")
    if query.text:
        rows = rows.filter(text__icontains=query.text)
    if query.label:
        rows = rows.filter(labels__contains=f"\n{query.label}\n")
    if query.revision is not None:
        rows = rows.filter(revision=query.revision)
    if query.below is not None:
        rows = rows.filter(min_score__lt=query.below)
    if query.request_id:
        rows = rows.filter(request_id=query.request_id)
    if query.after is not None:
        rows = rows.filter(at__gte=_aware(query.after))
    if query.before is not None:
        rows = rows.filter(at__lt=_aware(query.before))
    if query.failed is not None:
        rows = rows.exclude(status=200) if query.failed else rows.filter(status=200)
    return _by_feedback(rows, query.feedback)


def feedback_of(endpoint: Endpoint) -> QuerySet[Feedback]:
    return Feedback.objects.filter(endpoint=endpoint).select_related("endpoint", "author")


def feedback_by_request(endpoint: Endpoint, samples: Iterable[RequestSample]) -> dict[str, list[Feedback]]:
    """What was said of these requests, by request id, in the order of their inputs."""
    found: dict[str, list[Feedback]] = defaultdict(list)
    ids = {sample.request_id for sample in samples}
    for row in feedback_of(endpoint).filter(request_id__in=ids).order_by("index"):
        found[row.request_id].append(row)
    return found


def _by_feedback(rows: QuerySet[RequestSample], wanted: str | None) -> QuerySet[RequestSample]:
    said = Feedback.objects.filter(endpoint=OuterRef("endpoint"), request_id=OuterRef("request_id"))
    if wanted is None:
        return rows
    if wanted == "none":
        return rows.exclude(Exists(said))
    if wanted == "corrected":
        return rows.filter(Exists(said.exclude(label="")))
    return rows.filter(Exists(said if wanted == "any" else said.filter(rating=wanted)))


def _aware(moment: datetime) -> datetime:
    """A time without a zone is of the installation's."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
