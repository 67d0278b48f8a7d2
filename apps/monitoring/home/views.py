"""Home and search. Parts of the page are fragments that refresh while the page is watched."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.auth import Identity, identity_of, require
from apps.accounts.models import Role
from apps.core.pages import page_or_fragment
from apps.jobs import presenting
from apps.jobs.selectors import records
from apps.jobs.selectors.choices import slots_now
from apps.monitoring.health import health
from apps.monitoring.home.attention import attention_of
from apps.monitoring.home.happenings import happenings_of
from apps.monitoring.home.overview import address, endpoint_rows, endpoints_shown, stages_of, start_of
from apps.monitoring.home.search import search
from apps.monitoring.traffic import last_hour

_ACTIVE_SHOWN = 6
_HIDE_FOR_S = 365 * 24 * 3600
_PARTS = {
    "database": _("Database"),
    "redis": _("Redis"),
    "mlflow": _("MLflow"),
    "workers": _("Workers"),
    "serving": _("Serving"),
}


@require_GET
@require(Role.VIEWER)
def home(request: HttpRequest) -> HttpResponse:
    by = identity_of(request)
    start = start_of(by.workspace)
    context = {
        "start": start,
        "start_hidden": start.complete or _hidden_cookie(by) in request.COOKIES,
        "empty": not start.steps[1].done,
        "may_work": by.role.allows(Role.DEVELOPER),
        "now": timezone.localtime(),
        "attention": attention_of(by.workspace),
        "happenings": happenings_of(by.workspace),
        **_live(by),
    }
    return render(request, "home/home.html", context)


@require_GET
@require(Role.VIEWER)
def live(request: HttpRequest) -> HttpResponse:
    """The parts that change by themselves: pipeline, running jobs, endpoints."""
    return render(request, "home/_live_answer.html", _live(identity_of(request)))


@require_GET
@require(Role.VIEWER)
def health_line(request: HttpRequest) -> HttpResponse:
    """Asked for after the page is there: a part that is down takes its time to say so."""
    found = health()
    down = [_PARTS[name] for name, state in found.components.items() if state != "ok"]
    return render(request, "home/_health.html", {"down": down, "about": address("settings_about")})


@require_POST
@require(Role.VIEWER)
def hide_start(request: HttpRequest) -> HttpResponse:
    """Hide the first steps in this browser, for this workspace."""
    response = redirect("home")
    response.set_cookie(_hidden_cookie(identity_of(request)), "1", max_age=_HIDE_FOR_S, samesite="Lax", httponly=True)
    return response


@require_GET
@require(Role.VIEWER)
def search_page(request: HttpRequest) -> HttpResponse:
    """All hits on a page, or under the search box while one types."""
    text = request.GET.get("q", "").strip()
    context = {"query": text, "hits": search(identity_of(request).workspace, text)}
    return page_or_fragment(request, "home/search.html", "home/_hits.html", context)


def _live(by: Identity) -> dict[str, Any]:
    active = list(records.job_list(workspace=by.workspace, status="active").order_by("-status", "pk")[:_ACTIVE_SHOWN])
    endpoints = endpoints_shown(by.workspace)
    hour = last_hour(by.workspace, endpoints)
    return {
        "stages": stages_of(by.workspace, hour),
        "rows": presenting.rows_of(active),
        "slots": slots_now(),
        "endpoints": endpoint_rows(endpoints, hour),
    }


def _hidden_cookie(by: Identity) -> str:
    return f"tuneyard_started_{by.workspace.public_id}"
