"""The Monitor tab of an endpoint, and the figures of its charts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.pages import is_fragment, page_or_fragment
from apps.deployments.models import Endpoint
from apps.deployments.pages import endpoint_context
from apps.deployments.selectors import endpoint_by_name
from apps.deployments.snippets import snippet
from apps.monitoring.figures import revision_title, traffic_figures, zone_text
from apps.monitoring.traffic import RANGES, Traffic, traffic_of, was_ever_asked

#: These are looked at while they change; charts of a day need not be drawn anew every few seconds.
_WATCHED = ("live", "hour")
DEFAULT_RANGE = "hour"
CHARTS = ("requests", "latency", "stages", "failures", "batch", "tokens")
REVISION_CHARTS = ("revision_requests", "revision_p95", "revision_errors")


@require_safe
@require(Role.VIEWER)
def endpoint_monitor(request: HttpRequest, name: str) -> HttpResponse:
    """The tab; to HTMX its figures only, which ask for themselves while the page is watched."""
    endpoint = endpoint_by_name(identity_of(request).workspace, name)
    chosen = _range_of(request)
    context = {**endpoint_context(request, endpoint, "monitor"), "charts": ()}
    if was_ever_asked(endpoint):
        traffic = traffic_of(endpoint, chosen)
        several = len([number for number in traffic.revisions if number]) > 1
        context |= {
            "summary": _summary(traffic),
            "rows": _revision_rows(endpoint, traffic),
            "refusals": _refusals(traffic),
            "charts": (*CHARTS, *REVISION_CHARTS) if several else CHARTS,
        }
    else:
        example = context["main"].model_version.manifest.get("request_example") if context["main"] else None
        inputs = (example or {}).get("inputs") or [""]
        context["curl"] = snippet("curl", url=context["url"], example={"inputs": inputs[:1]})
    context |= {
        "tab_template": "monitoring/_monitor.html",
        "ranges": RANGES.values(),
        "range": chosen,
        "watched": chosen in _WATCHED,
        "zone": zone_text(),
    }
    response = page_or_fragment(request, "monitoring/monitor.html", "monitoring/_figures.html", context)
    # The first request, or one to another revision, wants charts that the page does not have yet.
    if is_fragment(request) and request.GET.get("shown") != str(len(context["charts"])):
        response["HX-Refresh"] = "true"
    return response


@require_safe
@require(Role.VIEWER)
def endpoint_figures(request: HttpRequest, name: str) -> JsonResponse:
    """What `charts.js` draws."""
    endpoint = endpoint_by_name(identity_of(request).workspace, name)
    return JsonResponse({"figures": traffic_figures(traffic_of(endpoint, _range_of(request))), "final": False})


def _range_of(request: HttpRequest) -> str:
    wanted = request.GET.get("range", DEFAULT_RANGE)
    return wanted if wanted in RANGES else DEFAULT_RANGE


def _summary(traffic: Traffic) -> dict[str, Any]:
    whole = traffic.total()
    seconds = max(1, traffic.until - traffic.start)
    return {
        "tally": whole,
        "per_second": whole.requests / seconds,
        "error_rate": whole.errors / whole.requests if whole.requests else None,
        "rejected_rate": whole.rejected / whole.requests if whole.requests else None,
        "p50_ms": whole.quantile_ms(0.5),
        "p95_ms": whole.quantile_ms(0.95),
        "p99_ms": whole.quantile_ms(0.99),
        "batch": whole.mean("batch_inputs"),
        "tokens": whole.tokens,
    }


def _revision_rows(endpoint: Endpoint, traffic: Traffic) -> list[dict[str, Any]]:
    models = {revision.number: revision.model_version.ref for revision in endpoint.revisions.all()}
    requests = max(1, traffic.total().requests)
    rows = []
    for number in traffic.revisions:
        tally = traffic.total(number)
        rows.append(
            {
                "title": revision_title(number),
                "model": models.get(number, ""),
                "requests": tally.requests,
                "share": tally.requests / requests,
                "error_rate": tally.errors / tally.requests,
                "p50_ms": tally.quantile_ms(0.5),
                "p95_ms": tally.quantile_ms(0.95),
                "p99_ms": tally.quantile_ms(0.99),
                "batch": tally.mean("batch_inputs"),
                "tokens": tally.tokens,
            }
        )
    return rows


def _refusals(traffic: Traffic) -> list[dict[str, Any]]:
    """Answers other than 200, the commonest first."""
    refused = sorted(traffic.total().refused.items(), key=lambda item: (-item[1], item[0]))
    return [{"status": status, "code": code, "count": count} for (status, code), count in refused]
