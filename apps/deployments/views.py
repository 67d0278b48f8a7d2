"""Pages of endpoints: list, deploy, and one endpoint with its tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, Conflict, Invalid
from apps.core.pages import page_or_fragment
from apps.deployments import selectors, services
from apps.deployments.backend import serving_backend
from apps.deployments.describing import endpoint_document
from apps.deployments.forms import DeployForm, TryForm, candidate_of, sampling_of, settings_of, traffic_of
from apps.deployments.models import Endpoint
from apps.deployments.pages import BUILDERS, PER_PAGE, endpoint_context, statuses
from apps.deployments.trying import endpoint_try


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
    context: dict[str, Any] = {"page": page, "rows": rows, **statuses()}
    context["settling"] = any(selectors.settling(endpoint) for endpoint in page)
    return page_or_fragment(request, "deployments/list.html", "deployments/_list.html", context)


@require(Role.DEVELOPER)
def endpoint_new(request: HttpRequest) -> HttpResponse:
    """Deploy a version: `?model=intents@2` comes from a model's page, `?endpoint=` from an endpoint's."""
    identity = identity_of(request)
    if request.method != "POST":
        model = request.GET.get("model", "")
        initial = {"model": model, "endpoint": request.GET.get("endpoint", "")}
        if initial["endpoint"] and not model:
            initial["model"] = selectors.newest_for(identity.workspace, initial["endpoint"])
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
                revision, created = services.revision_create(
                    by=identity, endpoint=endpoint, model=values["model"], goal=values["goal"]
                )
                said = _("%(ref)s is being deployed to %(name)s.") if created else _("%(ref)s is deployed to %(name)s.")
                messages.success(request, said % {"ref": revision.model_version.ref, "name": endpoint.name})
            else:
                endpoint = services.endpoint_create(
                    by=identity, name=values["name"], model=values["model"], goal=values["goal"]
                )
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
    tab = tab if tab in BUILDERS else "try"
    return render(request, "deployments/detail.html", endpoint_context(request, endpoint, tab))


@require_safe
@require(Role.VIEWER)
def endpoint_status(request: HttpRequest, name: str) -> HttpResponse:
    """The head of the page while something is on its way; when it has arrived the page is loaded anew."""
    endpoint = selectors.endpoint_by_name(identity_of(request).workspace, name)
    response = render(request, "deployments/_settling.html", {"endpoint": endpoint, **statuses()})
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
    context = {**endpoint_context(request, endpoint, "try"), **answer}
    # A refused prediction is shown where the answer would be: HTMX swaps answers of status 200 only.
    return page_or_fragment(request, "deployments/detail.html", f"widgets/{context['widget']}_answer.html", context)


@require_safe
@require(Role.VIEWER)
def endpoint_openapi(request: HttpRequest, name: str) -> HttpResponse:
    """The endpoint's OpenAPI document, for a browser, which has no token."""
    endpoint = selectors.endpoint_by_name(identity_of(request).workspace, name)
    return JsonResponse(endpoint_document(endpoint=endpoint), json_dumps_params={"indent": 2, "ensure_ascii": False})


def endpoint_action(
    service: Callable[..., object],
    role: Role,
    said: str | Promise,
    *,
    tab: str,
    read: Callable[[QueryDict], dict[str, Any]] = lambda posted: {},
) -> Callable[..., HttpResponse]:
    """A view that lets `service` change one endpoint, with what `read` finds in the form.

    The page then goes on at `tab`, or at the list where the endpoint is gone (no tab). A refusal is shown there too.
    """

    @require_POST
    @require(role)
    def act(request: HttpRequest, name: str) -> HttpResponse:
        identity = identity_of(request)
        endpoint = selectors.endpoint_by_name(identity.workspace, name)
        try:
            service(by=identity, endpoint=endpoint, **read(request.POST))
        except (Invalid, Conflict) as refusal:
            context = endpoint_context(request, endpoint, tab or "settings", refusal)
            return render(request, "deployments/detail.html", context, status=refusal.status)
        messages.success(request, said % {"name": name})
        return redirect(f"{reverse('endpoint_detail', args=[name])}?tab={tab}" if tab else "endpoint_list")

    view: Callable[..., HttpResponse] = act
    return view


endpoint_traffic = endpoint_action(
    services.traffic_set,
    Role.DEVELOPER,
    gettext_lazy("The traffic of %(name)s is being moved."),
    tab="traffic",
    read=traffic_of,
)
endpoint_rollback = endpoint_action(
    services.endpoint_rollback,
    Role.DEVELOPER,
    gettext_lazy("%(name)s goes back to the revision before."),
    tab="traffic",
)
endpoint_runtime = endpoint_action(
    services.runtime_choose,
    Role.DEVELOPER,
    gettext_lazy("%(name)s is being deployed anew with the chosen runtime."),
    tab="traffic",
    read=candidate_of,
)
endpoint_settings = endpoint_action(
    services.endpoint_update,
    Role.DEVELOPER,
    gettext_lazy("The settings of %(name)s are saved; the serving port follows within seconds."),
    tab="settings",
    read=settings_of,
)
endpoint_sampling = endpoint_action(
    services.endpoint_update,
    Role.DEVELOPER,
    gettext_lazy("The request log of %(name)s is set; the serving port follows within seconds."),
    tab="settings",
    read=sampling_of,
)
endpoint_stop = endpoint_action(
    services.endpoint_stop, Role.DEVELOPER, gettext_lazy("%(name)s is being stopped."), tab="settings"
)
endpoint_start = endpoint_action(
    services.endpoint_start, Role.DEVELOPER, gettext_lazy("%(name)s is being started."), tab="try"
)
endpoint_delete = endpoint_action(
    services.endpoint_delete, Role.MAINTAINER, gettext_lazy("The endpoint %(name)s is deleted."), tab=""
)


def _free_name(workspace: Any, wanted: str) -> str:
    taken = Endpoint.objects.filter(workspace=workspace, name=wanted).exists()
    return "" if taken else wanted
