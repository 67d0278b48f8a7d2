"""What the tabs of traffic, shadow and timeline show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from apps.core.errors import AppError, Invalid
from apps.deployments import selectors
from apps.deployments.canaries import missing_requests, numbers_of, step_ends_at
from apps.deployments.models import Canary, CanaryStatus, Endpoint
from apps.deployments.presenting import moment_of, timeline_rows
from apps.deployments.schemas import AnsweredOut
from apps.deployments.traffic_forms import CanaryForm, ShadowForm

PER_PAGE = 25


def traffic_tab(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    endpoint: Endpoint = context["endpoint"]
    refusal: AppError | None = context["refusal"]
    posted = request.POST if refusal is not None and request.POST else None
    canary = selectors.canaries_of(endpoint).first()
    shadow = selectors.shadow_of(endpoint)
    moved: Mapping[str, Any] = posted if posted and "sticky" in posted else {}
    by, _colon, header = endpoint.sticky.partition(":")
    canary_form = CanaryForm(endpoint, posted if posted and "steps" in posted else None)
    shadow_form = ShadowForm(endpoint, posted if posted and "percent" in posted else None)
    named = {path.rsplit(".", 1)[-1] for path in refusal.fields} if refusal is not None else set()
    for form in (canary_form, shadow_form):
        # What no field is to blame for stands above the page's parts.
        if refusal is not None and form.is_bound and named & set(form.fields):
            form.refuse(refusal)
    return {
        "canary": canary_card(canary) if canary is not None else None,
        "canary_form": canary_form,
        "shadow": shadow,
        "shadow_form": shadow_form,
        "fields": _traffic_fields(endpoint) | {name: str(value) for name, value in moved.items()},
        "sticky": {"by": moved.get("sticky", by or "none"), "header": moved.get("sticky-header", header)},
    }


def _traffic_fields(endpoint: Endpoint) -> dict[str, str]:
    """Share and name of each revision, as the form's fields are called."""
    revisions = endpoint.revisions.all()
    shares = {f"weight-{revision.number}": str(revision.weight) for revision in revisions}
    return shares | {f"name-{revision.number}": revision.name for revision in revisions}


def canary_card(canary: Canary) -> dict[str, Any]:
    """A canary in words: its steps, what it waits for, and each bound."""
    stable, own = numbers_of(canary)
    lacking = missing_requests(canary)
    ends_at = step_ends_at(canary)
    waits = ""
    if canary.finished_at is None:
        if canary.status == CanaryStatus.PAUSED:
            # Neither requests nor the end of the step let it rise: only a person does.
            waits, ends_at = _("Held at its share; a broken bound takes the traffic back all the same."), None
        elif ends_at is None:
            waits = _("Waits until the traffic has come to its share.")
        elif lacking:
            waits = _("Waits for %(count)s more requests.") % {"count": lacking}
        else:
            waits = _("Waits for the end of the step.")
    return {
        "row": canary,
        "open": canary.finished_at is None,
        "paused": canary.status == CanaryStatus.PAUSED,
        "label": CanaryStatus(canary.status).label,
        "tone": {"promoted": "live", "rolled_back": "failed", "aborted": "stopped"}.get(canary.status, "running"),
        "steps": [{"share": share, "state": _step_state(canary, i)} for i, share in enumerate(canary.steps)],
        "waits": waits,
        "ends_at": ends_at,
        "stable": stable,
        "own": own,
        "checks": [_check(check) for check in canary.verdict],
    }


def _step_state(canary: Canary, index: int) -> str:
    if index < canary.step or canary.status == CanaryStatus.PROMOTED:
        return "done"
    return "next" if index == canary.step and canary.finished_at is None else ""


def _check(check: dict[str, Any]) -> dict[str, Any]:
    titles = {
        "crashes": _("Deaths of its process"),
        "errors": _("Failed requests"),
        "p95": _("95th percentile"),
        "distance": _("Distance of its labels"),
    }
    formats = {"crashes": "{:.0f}", "errors": "{:.1f} %", "p95": "{:.1f} ms", "distance": "{:.2f}"}
    scale = 100 if check["bound"] == "errors" else 1

    def shown(value: float | None) -> str:
        return "–" if value is None else formats[check["bound"]].format(value * scale)

    # Noise is a difference, and shares differ by percentage points.
    points = check["bound"] == "errors" and check["noise"] is not None
    return {
        "title": titles[check["bound"]],
        "broken": check["broken"],
        "judged": check["canary"] is not None,
        **{name: shown(check[name]) for name in ("stable", "canary", "limit")},
        "noise": _("%(value)s pp") % {"value": f"{check['noise'] * 100:.1f}"} if points else shown(check["noise"]),
    }


def shadow_tab(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    endpoint: Endpoint = context["endpoint"]
    summaries = selectors.shadow_summaries(endpoint)
    chosen = request.GET.get("pair", "")
    summary = next(
        (s for s in summaries if f"{s.champion}-{s.challenger}" == chosen), summaries[0] if summaries else None
    )
    if summary is None:
        return {"shadow": selectors.shadow_of(endpoint), "summary": None}
    label = request.GET.get("label", "")
    rows = selectors.shadow_differences(endpoint, champion=summary.champion, challenger=summary.challenger, label=label)
    classes = selectors.shadow_classes(summary)
    return {
        "shadow": selectors.shadow_of(endpoint),
        "summaries": summaries[:8],
        "summary": summary,
        "differed": summary.compared - summary.agreed,
        "classes": [found for found in classes if found.agreed < found.compared][:30],
        "label": label,
        "page": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
    }


def timeline_tab(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    endpoint: Endpoint = context["endpoint"]
    asked = request.GET.get("at", "")
    shown: dict[str, Any] = {"at": asked}
    entries = selectors.timeline_of(endpoint)
    if asked:
        try:
            moment = _moment(asked)
            shown["answered"] = AnsweredOut.of(endpoint, moment)
            entries = entries.filter(at__lte=moment)
        except Invalid as refusal:
            shown["at_error"] = refusal
    page = Paginator(entries, PER_PAGE).get_page(request.GET.get("page"))
    return {**shown, "page": page, "events": timeline_rows(page, endpoint)}


def _moment(asked: str) -> datetime:
    """Raises Invalid."""
    try:
        parsed = parse_datetime(asked)
    except ValueError:
        parsed = None
    if parsed is None:
        message = _("This is no date and time.")
        raise Invalid(message, fields={"at": message}, hint=_("An example is 2026-11-17T14:05."))
    return moment_of(parsed)
