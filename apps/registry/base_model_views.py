"""Pages of base models: the list with its form for each source, and one base model."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, of_user_error
from apps.core.forms import ServiceForm
from apps.core.pages import page_or_fragment
from apps.registry import base_models, selectors, uploads
from apps.registry.forms import ArchiveForm, FolderForm, HubForm, VersionForm
from apps.registry.models import BaseModel, BaseModelStatus
from modelkit.errors import UserError

#: In the order of the tabs.
SOURCES = ("hub", "archive", "folder", "model_version")


@require(Role.VIEWER)
@require_GET
def base_model_list(request: HttpRequest) -> HttpResponse:
    source = request.GET.get("source", "")
    source = source if source in SOURCES else SOURCES[0]
    initial = {"model": request.GET.get("model", "")} if source == "model_version" else None
    return _list(request, source, _form(request, source, initial=initial))


@require(Role.DEVELOPER)
@require_POST
def base_model_import(request: HttpRequest) -> HttpResponse:
    source = request.POST.get("source", "")
    source = source if source in SOURCES else "folder"
    form = _form(request, source, data=request.POST)
    if form.is_valid():
        try:
            row = _import(request, source, form.cleaned_data)
        except UserError as error:
            form.refuse(of_user_error(error))
        except AppError as error:
            form.refuse(error)
        else:
            if row.status == BaseModelStatus.READY:
                messages.success(request, _("%(title)s can be fine-tuned now.") % {"title": row.title})
                return redirect("base_model_list")
            messages.success(request, _("%(title)s is being imported; this goes on without the page.") % {"title": row})
            return redirect("base_model_detail", row.name)
    return _list(request, source, form, status=422)


def _import(request: HttpRequest, source: str, values: dict[str, Any]) -> BaseModel:
    identity = identity_of(request)
    if source == "archive":
        archive, words = uploads.archive_of(request, page=True)
        return base_models.base_model_import_archive(by=identity, archive=archive, **words)
    if source == "hub":
        return base_models.base_model_import_hub(by=identity, **values)
    if source == "model_version":
        return base_models.base_model_import_version(by=identity, **values)
    return base_models.base_model_import_folder(by=identity, **values)


@require(Role.VIEWER)
@require_GET
def base_model_detail(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    row = selectors.base_model_by_name(identity.workspace, name)
    context = {
        "row": row,
        # What uses a bundled one may be another workspace's.
        "users": selectors.base_model_users(row) if row.workspace_id else [],
        "changes": row.transitions.select_related("actor").order_by("-at", "-pk"),
        "may_import": identity.role.allows(Role.DEVELOPER),
    }
    return page_or_fragment(request, "registry/base_model.html", "registry/_base_model.html", context)


@require(Role.DEVELOPER)
@require_POST
def base_model_retry(request: HttpRequest, name: str) -> HttpResponse:
    row = selectors.base_model_by_name(identity_of(request).workspace, name)
    try:
        base_models.base_model_retry(by=identity_of(request), base_model=row)
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}")
    else:
        messages.success(request, _("%(title)s is being imported again.") % {"title": row.title})
    return redirect("base_model_detail", name)


@require(Role.DEVELOPER)
@require_POST
def base_model_delete(request: HttpRequest, name: str) -> HttpResponse:
    row = selectors.base_model_by_name(identity_of(request).workspace, name)
    try:
        base_models.base_model_delete(by=identity_of(request), base_model=row)
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}")
        return redirect("base_model_detail", name)
    said = _("%(title)s is off the list; its folder stays.") if row.source == "folder" else _("%(title)s is deleted.")
    messages.success(request, said % {"title": row.title})
    return redirect("base_model_list")


def _form(request: HttpRequest, source: str, **values: Any) -> ServiceForm:
    if source == "model_version":
        versions = selectors.trainable_versions(identity_of(request).workspace)
        return VersionForm(versions=[version.ref for version in versions], **values)
    forms: dict[str, type[ServiceForm]] = {"hub": HubForm, "archive": ArchiveForm, "folder": FolderForm}
    return forms[source](**values)


def _list(request: HttpRequest, source: str, form: ServiceForm, *, status: int = 200) -> HttpResponse:
    identity = identity_of(request)
    rows = selectors.base_models_of(identity.workspace)
    context = {
        "rows": rows,
        "importing": any(row.status == BaseModelStatus.IMPORTING for row in rows),
        "form": form,
        "source": source,
        "sources": [(name, str(BaseModel.Source(name).label)) for name in SOURCES],
        "folders": settings.MODEL_PATHS,
        "limit_bytes": settings.MODEL_LIMIT_BYTES,
        "upload_limit_bytes": settings.UPLOAD_LIMIT_BYTES,
        "may_import": identity.role.allows(Role.DEVELOPER),
    }
    if status != 200:
        return render(request, "registry/base_models.html", context, status=status)
    return page_or_fragment(request, "registry/base_models.html", "registry/_base_models.html", context)
