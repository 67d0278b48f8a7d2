"""Pages of endpoints: list, deploy, and one endpoint with its tabs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, Invalid
from apps.core.pages import page_or_fragment
from apps.deployments import selectors, services
from apps.deployments.backend import serving_backend
from apps.deployments.forms import DeployForm, TryForm, traffic_of
from apps.deployments.models import Endpoint, EndpointStatus, RevisionStatus
from apps.deployments.presenting import timeline_rows
from apps.deployments.snippets import LANGUAGES, snippet
from apps.deployments.trying import endpoint_try
from modelkit import catalog

PER_PAGE = 25
TABS = {
    "try": gettext_lazy("Try it"),
    "traffic": gettext_lazy("Traffic"),
    "timeline": gettext_lazy("Timeline"),
    "logs": gettext_lazy("Logs"),
    "settings": gettext_lazy("Settings"),
}


@require_safe
@require(Role.VIEWER)
def endpoint_list(request: HttpRequest) -> HttpResponse:
    identity = identity_of(request)
    page = Paginator(selectors.endpoints_of(identity.workspace), PER_PAGE).get_page(request.GET.get("page"))
    observed = serving_backend().observe()
    rows = [
        {
            "endpoint": endpoint,
            "main": selectors.main_revision(endpoint),
            "counters": selectors.counters_of(endpoint, observed),
        }
        for endpoint in page
    ]
    context: dict[str, Any] = {"page": page, "rows": rows, "statuses": dict(EndpointStatus.choices)}
    context["settling"] = any(selectors.settling(endpoint) for endpoint in page)
    return page_or_fragment(request, "deployments/list.html", "deployments/_list.html", context)


@require(Role.DEVELOPER)
def endpoint_new(request: HttpRequest) -> HttpResponse:
    """Deploy a version: `?model=intents@2` comes from a model's page, `?endpoint=` from an endpoint's."""
    identity = identity_of(request)
    if request.method != "POST":
        model = request.GET.get("model", "")
        initial = {"model": model, "endpoint": request.GET.get("endpoint", "")}
        if not initial["endpoint"]:
            initial["name"] = _free_name(identity.workspace, model.split("@")[0])
        return render(request, "deployments/new.html", {"form": DeployForm(identity.workspace, initial=initial)})
    form = DeployForm(identity.workspace, request.POST)
    error: AppError | None = None
    if form.is_valid():
        values = form.cleaned_data
        try:
            if values["endpoint"]:
                endpoint = selectors.endpoint_by_name(identity.workspace, values["endpoint"])
                revision, created = services.revision_create(by=identity, endpoint=endpoint, model=values["model"])
                said = _("%(ref)s is being deployed to %(name)s.") if created else _("%(ref)s is deployed to %(name)s.")
                messages.success(request, said % {"ref": revision.model_version.ref, "name": endpoint.name})
            else:
                endpoint = services.endpoint_create(by=identity, name=values["name"], model=values["model"])
                messages.success(request, _("%(ref)s is being deployed.") % {"ref": values["model"]})
            return redirect("endpoint_detail", name=endpoint.name)
        except AppError as refusal:
            error = refusal
            for field, text in refusal.fields.items():
                form.add_error(field if field in form.fields else None, text)
    context = {"form": form, "error": error}
    return render(request, "deployments/new.html", context, status=error.status if error else 422)


@require_safe
@require(Role.VIEWER)
def endpoint_detail(request: HttpRequest, name: str) -> HttpResponse:
    """One endpoint; `?tab=` chooses the part."""
    endpoint = selectors.endpoint_by_name(identity_of(request).workspace, name)
    tab = request.GET.get("tab", "try")
    tab = tab if tab in TABS else "try"
    return render(request, "deployments/detail.html", _context(request, endpoint, tab))


@require_safe
@require(Role.VIEWER)
def endpoint_status(request: HttpRequest, name: str) -> HttpResponse:
    """The head of the page while something is on its way; when it has arrived the page is loaded anew."""
    endpoint = selectors.endpoint_by_name(identity_of(request).workspace, name)
    response = render(request, "deployments/_settling.html", {"endpoint": endpoint, **_statuses()})
    if not selectors.settling(endpoint):
        response["HX-Refresh"] = "true"
    return response


@require_POST
@require(Role.VIEWER)
def endpoint_ask(request: HttpRequest, name: str) -> HttpResponse:
    """Try it: one prediction through the live path."""
    endpoint = selectors.endpoint_by_name(identity_of(request).workspace, name)
    form = TryForm(request.POST)
    answer: dict[str, Any] = {"try_form": form}
    if form.is_valid():
        try:
            answer["trial"] = endpoint_try(endpoint=endpoint, text=form.cleaned_data["text"])
        except AppError as error:
            answer["try_error"] = error
    context = {**_context(request, endpoint, "try"), **answer}
    # A refused prediction is shown where the answer would be: HTMX swaps answers of status 200 only.
    return page_or_fragment(request, "deployments/detail.html", f"widgets/{context['widget']}_answer.html", context)


@require_POST
@require(Role.DEVELOPER)
def endpoint_traffic(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    endpoint = selectors.endpoint_by_name(identity.workspace, name)
    try:
        try:
            weights = traffic_of(request.POST)
        except ValueError:
            raise Invalid(_("A share is a whole number of percent."), hint=_("Shares add up to 100.")) from None
        services.traffic_set(by=identity, endpoint=endpoint, weights=weights)
    except AppError as error:
        context = {**_context(request, endpoint, "traffic"), "traffic_error": error}
        return render(request, "deployments/detail.html", context, status=error.status)
    messages.success(request, _("The traffic is being moved."))
    return redirect_to_tab(name, "traffic")


@require_POST
@require(Role.DEVELOPER)
def endpoint_rollback(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    services.endpoint_rollback(by=identity, endpoint=selectors.endpoint_by_name(identity.workspace, name))
    messages.success(request, _("%(name)s goes back to the revision before.") % {"name": name})
    return redirect_to_tab(name, "traffic")


@require_POST
@require(Role.DEVELOPER)
def endpoint_stop(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    services.endpoint_stop(by=identity, endpoint=selectors.endpoint_by_name(identity.workspace, name))
    messages.success(request, _("%(name)s is being stopped.") % {"name": name})
    return redirect_to_tab(name, "settings")


@require_POST
@require(Role.DEVELOPER)
def endpoint_start(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    services.endpoint_start(by=identity, endpoint=selectors.endpoint_by_name(identity.workspace, name))
    messages.success(request, _("%(name)s is being started.") % {"name": name})
    return redirect("endpoint_detail", name=name)


@require_POST
@require(Role.MAINTAINER)
def endpoint_delete(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    services.endpoint_delete(by=identity, endpoint=selectors.endpoint_by_name(identity.workspace, name))
    messages.success(request, _("The endpoint %(name)s is deleted.") % {"name": name})
    return redirect("endpoint_list")


def redirect_to_tab(name: str, tab: str) -> HttpResponse:
    response = redirect("endpoint_detail", name=name)
    response["Location"] += f"?tab={tab}"
    return response


def _free_name(workspace: Any, wanted: str) -> str:
    taken = Endpoint.objects.filter(workspace=workspace, name=wanted).exists()
    return "" if taken else wanted


def _statuses() -> dict[str, Any]:
    return {"statuses": dict(EndpointStatus.choices), "revision_statuses": dict(RevisionStatus.choices)}


def _context(request: HttpRequest, endpoint: Endpoint, tab: str) -> dict[str, Any]:
    main = selectors.main_revision(endpoint) or endpoint.revisions.first()
    role: Role = request.role  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        "endpoint": endpoint,
        "main": main,
        "tab": tab,
        "tabs": TABS,
        "tab_template": f"deployments/tabs/{tab}.html",
        "url": serving_backend().endpoint(endpoint.workspace.public_id, endpoint.name),
        "counters": selectors.counters_of(endpoint),
        "settling": selectors.settling(endpoint),
        "may_change": role.allows(Role.DEVELOPER),
        "may_delete": role.allows(Role.MAINTAINER),
        "rollback": selectors.rollback_target(endpoint),
        **_statuses(),
    }
    context["trouble"] = next((r for r in endpoint.revisions.all()[:1] if r.status == RevisionStatus.FAILED), None)
    if tab == "try":
        context.update(_try_context(request, endpoint, context["url"], main))
    elif tab == "timeline":
        page = Paginator(selectors.timeline_of(endpoint), PER_PAGE).get_page(request.GET.get("page"))
        context |= {"page": page, "events": timeline_rows(page)}
    elif tab == "logs" and main is not None:
        chosen = request.GET.get("revision", "")
        number = int(chosen) if chosen.isdigit() and len(chosen) < 10 else main.number
        context |= {"log_revision": number, "log_lines": selectors.logs_of(endpoint, number)}
    return context


def _try_context(request: HttpRequest, endpoint: Endpoint, url: str, main: Any) -> dict[str, Any]:
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
        "languages": LANGUAGES,
        "language": language,
        "snippet": snippet(language, url=url, example={"inputs": example.get("inputs", [])[:2]}),
    }
