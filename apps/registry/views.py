"""Pages of the registry: models, and a version with its tabs. MLflow is not asked: pages stand without."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, NotFound
from apps.registry import cards, downloads, figures, flips, mlflow_gateway, selectors, services
from apps.registry.models import ModelVersion, RegisteredModel
from modelkit import catalog

#: Tabs of a version's page in their order; `card` is the first.
TABS = ("card", "lineage", "metrics", "files", "variants", "diff", "history")


# --- models -----------------------------------------------------------------------------------------------------------


@require(Role.VIEWER)
@require_GET
def model_list(request: HttpRequest) -> HttpResponse:
    rows = [
        {"model": model, "champion": selectors.champion_of(model), "latest": selectors.versions_of(model).first()}
        for model in selectors.models_of(identity_of(request).workspace)[:200]
    ]
    return render(request, "registry/models.html", {"rows": rows})


@require(Role.VIEWER)
@require_GET
def model_detail(request: HttpRequest, name: str) -> HttpResponse:
    model = selectors.model_by_name(identity_of(request).workspace, name)
    versions = list(selectors.versions_of(model)[:200])
    context = {
        "model": model,
        "versions": versions,
        "metric": _primary(model),
        "figure": figures.history_figure(model.task, versions),
        "changes": selectors.alias_changes(model)[:20],
        "may_promote": identity_of(request).role.allows(Role.MAINTAINER),
    }
    return render(request, "registry/model.html", context)


@require(Role.VIEWER)
@require_GET
def model_figures(request: HttpRequest, name: str) -> JsonResponse:
    """The chart of a model's page."""
    model = selectors.model_by_name(identity_of(request).workspace, name)
    return _figures(history=figures.history_figure(model.task, list(selectors.versions_of(model)[:200])))


@require(Role.MAINTAINER)
@require_POST
def model_delete(request: HttpRequest, name: str) -> HttpResponse:
    model = selectors.model_by_name(identity_of(request).workspace, name)
    try:
        services.model_delete(by=identity_of(request), model=model)
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("model_detail", name)
    messages.success(request, _("The model %(name)s is deleted.") % {"name": name})
    return redirect("model_list")


@require(Role.MAINTAINER)
@require_POST
def alias_set(request: HttpRequest, name: str) -> HttpResponse:
    """Point an alias at a version, or remove it where no version is named."""
    identity = identity_of(request)
    model = selectors.model_by_name(identity.workspace, name)
    alias, number, reason = (request.POST.get(field, "") for field in ("alias", "version", "reason"))
    try:
        if number.isdigit():
            version = selectors.version_by_number(identity.workspace, name, int(number[:10]))
            services.alias_set(by=identity, version=version, alias=alias, reason=reason)
            text = _("%(alias)s is %(ref)s now. Endpoints keep what they serve until you deploy.")
            messages.success(request, text % {"alias": alias, "ref": version.ref})
        else:
            services.alias_delete(by=identity, model=model, alias=alias, reason=reason)
            messages.success(request, _("%(alias)s is removed.") % {"alias": alias})
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}")
    if number.isdigit() and request.POST.get("stay") == "version":
        return redirect("model_version", name, int(number[:10]))
    return redirect("model_detail", name)


# --- a version --------------------------------------------------------------------------------------------------------


@require(Role.VIEWER)
@require_GET
def model_version(request: HttpRequest, name: str, number: int, tab: str = "card") -> HttpResponse:
    identity = identity_of(request)
    if tab not in TABS:
        raise NotFound(_("A version has no such tab."))
    version = selectors.version_by_number(identity.workspace, name, number)
    context: dict[str, Any] = {
        "version": version,
        "model": version.model,
        "tab": tab,
        "aliases": list(version.aliases.all()),
        "endpoints": _endpoints(version),
        "may_promote": identity.role.allows(Role.MAINTAINER),
        "may_work": identity.role.allows(Role.DEVELOPER),
    }
    context |= _TAB_CONTEXT[tab](request, version)
    return render(request, f"registry/version_{tab}.html", context)


def _card(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    return {"card": cards.card_of(version)}


def _lineage(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    registered = mlflow_gateway.registered_name(version.model.workspace.name, version.model.name)
    return {
        "base_models": version.base_models.order_by("name"),
        "trainable": any(file["path"] == "model.safetensors" for file in version.manifest.get("files", [])),
        "variants": version.variants.select_related("model").order_by("number"),
        "users": selectors.version_users([version]),
        "mlflow_uri": f"models:/{registered}/{version.number}",
        "mlflow_url": mlflow_gateway.version_url(registered, version.number),
        "recorded": _recorded(version.manifest.get("lineage", {})),
    }


def _recorded(lineage: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What the bundle itself says of its origin: each name with its lines, a mapping's a line for each entry."""
    rows = []
    for name, value in lineage.items():
        lines = [f"{key}: {inner}" for key, inner in value.items()] if isinstance(value, dict) else [str(value)]
        if value:
            rows.append((name, lines))
    return rows


def _metrics(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    confusion = version.report.get("confusion", {})
    return {
        "metrics": cards.metric_deltas(version, version.parent),
        "rows": sorted(cards.class_rows(version), key=lambda row: row.f1),
        "confused": cards.confused_pairs(confusion),
        "parity": version.report.get("parity"),
    }


def _files(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    return {"files": version.manifest.get("files", [])}


def _variants(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    variants = cards.variants_of(selectors.family_of(version))
    return {"variants": variants, "figure": figures.variants_figure(variants)}


def _diff(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    others = [row for row in selectors.versions_of(version.model)[:200] if row.pk != version.pk]
    chosen = request.GET.get("with", "")
    other = next((row for row in others if str(row.number) == chosen), None)
    if chosen and other is None:
        raise NotFound(
            _("The model %(name)s has no version %(number)s.") % {"name": version.model.name, "number": chosen}
        )
    if other is None:
        champion = next((row for row in others if any(alias.name == "champion" for alias in row.aliases.all())), None)
        other = version.parent if version.parent in others else champion or (others[0] if others else None)
    rows = cards.class_rows(version, other) if other else []
    kind = request.GET.get("rows", "broken")
    chosen_kind: flips.Kind = kind if kind in flips.KINDS else "broken"
    label = request.GET.get("class", "")
    return {
        "compared": flips.compare(version, other, kind=chosen_kind, label=label) if other else None,
        "kind": chosen_kind,
        "label": label,
        "other": other,
        "others": others,
        "metrics": cards.metric_deltas(version, other),
        "rows": sorted(rows, key=lambda row: -abs(row.delta or 0)),
        "same_split": other is not None and other.metrics_split == version.metrics_split,
        "same_data": other is not None and other.dataset_version_id == version.dataset_version_id,
    }


def _history(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    number = str(version.number)
    changes = [row for row in selectors.alias_changes(version.model) if number in {row.from_status, row.to_status}]
    return {"changes": changes}


_TAB_CONTEXT = {
    "card": _card,
    "lineage": _lineage,
    "metrics": _metrics,
    "files": _files,
    "variants": _variants,
    "diff": _diff,
    "history": _history,
}


@require(Role.VIEWER)
@require_GET
def version_figures(request: HttpRequest, name: str, number: int) -> JsonResponse:
    """The chart of a version's tab Variants."""
    version = selectors.version_by_number(identity_of(request).workspace, name, number)
    return _figures(variants=figures.variants_figure(cards.variants_of(selectors.family_of(version))))


@require(Role.VIEWER)
@require_GET
def version_download(request: HttpRequest, name: str, number: int) -> StreamingHttpResponse:
    return downloads.bundle_response(selectors.version_by_number(identity_of(request).workspace, name, number))


@require(Role.MAINTAINER)
@require_http_methods(["POST"])
def version_delete(request: HttpRequest, name: str, number: int) -> HttpResponse:
    version = selectors.version_by_number(identity_of(request).workspace, name, number)
    try:
        services.version_delete(by=identity_of(request), version=version)
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("model_version", name, number)
    messages.success(request, _("The version %(ref)s is deleted.") % {"ref": version.ref})
    return redirect("model_detail", name)


def _endpoints(version: ModelVersion) -> list[Any]:
    """The endpoints that have a revision of this version, by the relation: deployments stand above the registry."""
    revisions = getattr(version, "revisions", None)
    if revisions is None:
        return []
    found = {row.endpoint.pk: row.endpoint for row in revisions.select_related("endpoint")}
    return sorted(found.values(), key=lambda row: str(row.name))


def _primary(model: RegisteredModel) -> Any:
    spec = catalog.tasks().get(model.task)
    return spec.metric(spec.primary_metric) if spec else None


def _figures(**found: dict[str, Any] | None) -> JsonResponse:
    return JsonResponse({"figures": {name: figure for name, figure in found.items() if figure}, "final": True})
