"""The tab Requests of an endpoint, and the forms by which people say whether an answer was right."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe
from pydantic import ValidationError

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, Conflict, Invalid
from apps.core.pages import is_fragment
from apps.core.pagination import page_of
from apps.deployments.models import Endpoint
from apps.deployments.pages import endpoint_context
from apps.deployments.presenting import latency_split
from apps.deployments.selectors import endpoint_by_name
from apps.monitoring import corrections
from apps.monitoring import feedback as services
from apps.monitoring.models import Feedback, RequestSample
from apps.monitoring.request_schemas import RequestQuery
from apps.monitoring.request_selectors import feedback_by_request, requests_of
from modelkit.serving.plan import Sampling

PER_PAGE = 25
#: Inputs of one request that the page shows; the API has all that are kept.
_SHOWN_ITEMS = 20
_TOP = 5
_FILTERS = ("text", "label", "revision", "below", "request_id", "after", "before", "feedback", "failed")
_SAID = {
    "any": gettext_lazy("With feedback"),
    "none": gettext_lazy("Without feedback"),
    "up": gettext_lazy("Called right"),
    "down": gettext_lazy("Called wrong"),
    "corrected": gettext_lazy("Corrected"),
}


@require_safe
@require(Role.VIEWER)
def endpoint_requests(request: HttpRequest, name: str) -> HttpResponse:
    """The log with its filters; to HTMX, the list alone."""
    endpoint = endpoint_by_name(identity_of(request).workspace, name)
    context = _list(request, endpoint)
    if is_fragment(request):
        response = render(request, "monitoring/_requests.html", context | {"endpoint": endpoint})
    else:
        response = _page(request, endpoint, context)
    response["Vary"] = "HX-Request"
    return response


@require_POST
@require(Role.VIEWER)
def endpoint_feedback(request: HttpRequest, name: str) -> HttpResponse:
    """What somebody says of one answer: to HTMX the form with its effect, else the request in the log."""
    identity = identity_of(request)
    endpoint = endpoint_by_name(identity.workspace, name)
    posted = request.POST
    index, rating = posted.get("index", "0"), posted.get("rating", "")
    context: dict[str, Any] = {
        "endpoint": endpoint,
        "request_id": posted.get("request_id", "")[:64],
        "index": int(index) if index.isdigit() and len(index) < 6 else -1,
        "labels": services.labels_of(endpoint),
    }
    try:
        context["said"], _created = services.feedback_give(
            by=identity,
            request_id=context["request_id"],
            rating=rating,
            # The form holds both: who calls the answer right takes an earlier correction back.
            label="" if rating == "up" else posted.get("label", ""),
            comment=posted.get("comment", ""),
            index=context["index"],
            endpoint=endpoint.name,
        )
    except Invalid as refusal:
        context["refused"] = " ".join([*refusal.fields.values()] or [refusal.message])
    if is_fragment(request):
        return render(request, "monitoring/_feedback.html", context)
    if "refused" in context:
        messages.error(request, context["refused"])
    query = urlencode({"request_id": context["request_id"]})
    return redirect(f"{reverse('endpoint_requests', args=[name])}?{query}")


@require_safe
@require(Role.VIEWER)
def endpoint_corrections(request: HttpRequest, name: str) -> HttpResponse:
    """The corrections as a file: CSV, or JSON lines with `?format=jsonl`."""
    endpoint = endpoint_by_name(identity_of(request).workspace, name)
    if request.GET.get("format") == "jsonl":
        lines = (orjson.dumps(row._asdict()) + b"\n" for row in corrections.corrections_of(endpoint))
        response = HttpResponse(b"".join(lines), content_type="application/jsonl")
        response["Content-Disposition"] = f'attachment; filename="{name}-corrections.jsonl"'
        return response
    response = HttpResponse(corrections.corrections_csv(endpoint), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-corrections.csv"'
    return response


@require_POST
@require(Role.DEVELOPER)
def endpoint_corrections_publish(request: HttpRequest, name: str) -> HttpResponse:
    """One click: the corrections as a dataset version."""
    identity = identity_of(request)
    endpoint = endpoint_by_name(identity.workspace, name)
    try:
        version, created = corrections.corrections_publish(by=identity, endpoint=endpoint)
    except (Invalid, Conflict) as refusal:
        return _page(request, endpoint, _list(request, endpoint), refusal)
    said = _("%(ref)s is made of the corrections; it is being checked.")
    messages.success(
        request, (said if created else _("%(ref)s holds these corrections already.")) % {"ref": version.ref}
    )
    return redirect("dataset_version", version.dataset.name, version.number)


# --- inside -----------------------------------------------------------------------------------------------------------


def _page(
    request: HttpRequest, endpoint: Endpoint, listed: dict[str, Any], refusal: AppError | None = None
) -> HttpResponse:
    context = endpoint_context(request, endpoint, "requests", refusal)
    classes = corrections.correction_classes(endpoint)
    alone = bool(classes.alone)
    context |= listed | {
        "tab_template": "monitoring/requests.html",
        "sampling": Sampling.model_validate(endpoint.sampling),
        "accuracy": services.accuracy_of(endpoint),
        "accuracies": services.accuracy_by_revision(endpoint),
        "corrections": Feedback.objects.filter(endpoint=endpoint).exclude(label="").count(),
        "classes": classes,
        "one_class": corrections.one_class_text(classes) if alone else "",
        "one_class_hint": corrections.one_class_hint(classes) if alone else "",
        "feedback_choices": _SAID.items(),
    }
    return render(request, "deployments/detail.html", context, status=refusal.status if refusal else 200)


def _list(request: HttpRequest, endpoint: Endpoint) -> dict[str, Any]:
    given = {name: request.GET[name] for name in _FILTERS if request.GET.get(name)}
    refused = ""
    try:
        query = RequestQuery.model_validate(given | {"cursor": request.GET.get("cursor") or None, "limit": PER_PAGE})
        rows, following = page_of(requests_of(endpoint, query), query)
    except (ValidationError, Invalid):
        refused = _("These filters cannot be read: a score lies between 0 and 1, a revision is a whole number.")
        rows, following = [], None
    said = feedback_by_request(endpoint, rows)
    return {
        "rows": [_row(row, said[row.request_id]) for row in rows],
        "labels": services.labels_of(endpoint),
        "filters": given,
        "filters_refused": refused,
        "is_first": not request.GET.get("cursor"),
        "older": urlencode(given | {"cursor": following}) if following else "",
        "newest": urlencode(given),
    }


def _row(sample: RequestSample, feedback: list[Feedback]) -> dict[str, Any]:
    """One request as the list shows it, its parts side by side."""
    said = {row.index: row for row in feedback}
    kept = max(len(sample.inputs), len(sample.outputs))
    items = [_item(sample, index, said.get(index)) for index in range(min(kept, _SHOWN_ITEMS))]
    return {
        "sample": sample,
        "items": items,
        "first": items[0] if items else None,
        "more": sample.items - len(items),
        "said": feedback,
        "stages": latency_split(
            sample.total_ms, queue=sample.queue_ms, preprocess=sample.preprocess_ms, model=sample.model_ms
        ),
    }


def _item(sample: RequestSample, index: int, said: Feedback | None) -> dict[str, Any]:
    value = sample.inputs[index] if index < len(sample.inputs) else None
    output = sample.outputs[index] if index < len(sample.outputs) else {}
    scores = output.get("scores") or {}
    text = (
        value if isinstance(value, str) or value is None else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    )
    return {
        "index": index,
        "text": text,
        "label": output.get("label"),
        "score": output.get("score"),
        "top": sorted(scores.items(), key=lambda pair: pair[1], reverse=True)[:_TOP],
        "other": {name: shown for name, shown in output.items() if name not in ("label", "score", "scores")},
        "said": said,
    }
