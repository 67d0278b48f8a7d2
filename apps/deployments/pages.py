"""What every page of an endpoint shows, and what each of its tabs adds.

A tab with a page of its own, also one of an app above this one, is named here by its address only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Role
from apps.core.errors import AppError
from apps.deployments import selectors
from apps.deployments.backend import serving_backend
from apps.deployments.forms import KeyForm, SamplingForm, SettingsForm, TryForm
from apps.deployments.models import Endpoint, EndpointStatus, RevisionStatus
from apps.deployments.snippets import LANGUAGES, snippet
from apps.deployments.traffic_pages import shadow_tab, timeline_tab, traffic_tab
from modelkit import catalog
from modelkit.serving.plan import Tuning

PER_PAGE = 25

#: Every tab in its order: the title, and the name of its own address; without one it is `endpoint_detail?tab=`.
TABS: Mapping[str, tuple[str | Promise, str]] = {
    "try": (_("Try it"), ""),
    "monitor": (_("Monitor"), "endpoint_monitor"),
    "traffic": (_("Traffic"), ""),
    "shadow": (_("Shadow"), ""),
    "requests": (_("Requests"), "endpoint_requests"),
    "timeline": (_("Timeline"), ""),
    "logs": (_("Logs"), ""),
    "keys": (_("Keys"), ""),
    "settings": (_("Settings"), ""),
}


class Tab(NamedTuple):
    id: str
    title: str | Promise
    url: str


def endpoint_context(
    request: HttpRequest, endpoint: Endpoint, tab: str, refusal: AppError | None = None
) -> dict[str, Any]:
    """Head, tabs and what `tab` itself shows; `refusal` is why a change asked for there was not made."""
    main = selectors.main_revision(endpoint) or endpoint.revisions.first()
    role: Role = request.role  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        "endpoint": endpoint,
        "main": main,
        "tab": tab,
        "refusal": refusal,
        "tabs": [_tab(endpoint, id_) for id_ in TABS],
        "tab_template": f"deployments/tabs/{tab}.html",
        "url": serving_backend().endpoint(endpoint.workspace.public_id, endpoint.name),
        "counters": selectors.counters_of(endpoint),
        "settling": selectors.settling(endpoint),
        "may_change": role.allows(Role.DEVELOPER),
        "may_delete": role.allows(Role.MAINTAINER),
        "rollback": selectors.rollback_target(endpoint),
        **statuses(),
    }
    context["trouble"] = next((r for r in endpoint.revisions.all()[:1] if r.status == RevisionStatus.FAILED), None)
    build = BUILDERS.get(tab)
    return context | (build(request, context) if build is not None else {})


def statuses() -> dict[str, Any]:
    return {"statuses": dict(EndpointStatus.choices), "revision_statuses": dict(RevisionStatus.choices)}


def _tab(endpoint: Endpoint, id_: str) -> Tab:
    title, address = TABS[id_]
    if address:
        return Tab(id_, title, reverse(address, args=[endpoint.name]))
    return Tab(id_, title, f"{reverse('endpoint_detail', args=[endpoint.name])}?tab={id_}")


def _try(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    endpoint, main = context["endpoint"], context["main"]
    spec = catalog.tasks().get(endpoint.task)
    manifest = main.model_version.manifest if main is not None else {}
    example = manifest.get("request_example") or (dict(spec.example) if spec is not None else {"inputs": [""]})
    language = request.GET.get("lang", "curl")
    language = language if language in LANGUAGES else "curl"
    text = example["inputs"][0] if example.get("inputs") else ""
    return {
        # A task without a widget of its own is asked in text.
        "widget": spec.widget if spec is not None and spec.widget in ("text",) else "text",
        "try_form": TryForm(initial={"text": text}),
        "embeds": bool(manifest.get("embedding_width")),
        "languages": LANGUAGES,
        "language": language,
        "snippet": snippet(language, url=context["url"], example={"inputs": example.get("inputs", [])[:2]}),
    }


def _traffic(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Shares, canary and shadow; what was measured for the main revision's version, with the row that it runs by."""
    shown = traffic_tab(request, context)
    main = context["main"]
    measured = selectors.measured_for(main) if main is not None else None
    if measured is None:
        return shown
    tuning = Tuning.model_validate(measured.tuning)
    return {
        **shown,
        "tuning": tuning,
        "measured": measured,
        "candidates": list(enumerate(tuning.candidates)),
        "runtime": selectors.effective_runtime(main),
    }


def _logs(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    if context["main"] is None:
        return {}
    chosen = request.GET.get("revision", "")
    number = int(chosen) if chosen.isdigit() and len(chosen) < 10 else context["main"].number
    return {"log_revision": number, "log_lines": selectors.logs_of(context["endpoint"], number)}


def _keys(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    endpoint = context["endpoint"]
    page = Paginator(selectors.keys_of(endpoint), PER_PAGE).get_page(request.GET.get("page"))
    chosen = request.GET.get("change", "")
    row = next((key for key in page if key.public_id == chosen and key.usable), None)
    return {"page": page, "key": row, "key_form": KeyForm(row=row)}


def _settings(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    refusal: AppError | None = context["refusal"]
    # One of the two was posted; the refusal is shown there.
    posted = request.POST if refusal and request.POST else None
    logs = posted is not None and "keep_days" in posted
    form = SettingsForm(context["endpoint"], None if logs else posted)
    sampling_form = SamplingForm(context["endpoint"], posted if logs else None)
    if refusal is not None:
        (sampling_form if logs else form).refuse(refusal)
    return {"settings_form": form, "sampling_form": sampling_form}


#: The tabs that `endpoint_detail` shows: each from the request and the context of the head.
BUILDERS: Mapping[str, Callable[[HttpRequest, dict[str, Any]], dict[str, Any]]] = {
    "try": _try,
    "traffic": _traffic,
    "shadow": shadow_tab,
    "timeline": timeline_tab,
    "logs": _logs,
    "keys": _keys,
    "settings": _settings,
}
