"""Pages of datasets: list, upload, version."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from apps.accounts.auth import identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError, Invalid
from apps.core.pages import page_or_fragment
from apps.datasets import selectors, services, uploads
from apps.datasets.downloads import original_response
from apps.datasets.forms import DatasetForm, MappingForm, ReadForm, name_from_file
from apps.datasets.models import Dataset, VersionStatus
from apps.datasets.samples import SAMPLES, sample_import
from apps.datasets.version_tabs import TABS, tab_context

PER_PAGE = 25


@require_safe
@require(Role.VIEWER)
def dataset_list(request: HttpRequest) -> HttpResponse:
    identity = identity_of(request)
    rows = selectors.datasets_of(identity.workspace)
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "samples": SAMPLES.values(), "statuses": dict(VersionStatus.choices)}
    return page_or_fragment(request, "datasets/list.html", "datasets/_list.html", context)


@require(Role.DEVELOPER)
def dataset_new(request: HttpRequest) -> HttpResponse:
    """Upload a file as a new dataset."""
    identity = identity_of(request)
    if request.method != "POST":
        return _upload_page(request, DatasetForm(), ReadForm())
    try:
        files, file_options = uploads.parts_of(request, page=True)
        mapping, options = uploads.declarations_of(request)
        if not files:
            raise Invalid(_("Choose a file."), fields={"file": _("Choose a file.")})
        name = request.POST.get("name", "").strip() or _free_name(request, files[0].name)
        existing = Dataset.objects.filter(workspace=identity.workspace, name=name).exists()
        services.options_parse({**options, **file_options})
        dataset = services.dataset_create(
            by=identity, name=name, task=request.POST.get("task", ""), title=request.POST.get("title", "")
        )
        try:
            version, _new = services.version_upload(
                by=identity, dataset=dataset, files=files, mapping=mapping, options={**options, **file_options}
            )
        except AppError:
            # A dataset made only for this upload goes with it, so that the same form can be sent again.
            if not existing:
                dataset.delete()
            raise
    except AppError as error:
        return _upload_page(request, _refused(DatasetForm(request.POST), error), ReadForm(request.POST), error=error)
    messages.success(request, _("%(ref)s is uploaded and being checked.") % {"ref": version.ref})
    return redirect("dataset_version", name=dataset.name, number=version.number)


@require(Role.DEVELOPER)
def version_upload(request: HttpRequest, name: str) -> HttpResponse:
    """Upload a file as the next version of a dataset."""
    identity = identity_of(request)
    dataset = selectors.dataset_by_name(identity.workspace, name)
    if request.method != "POST":
        return _upload_page(request, None, ReadForm(), dataset=dataset)
    try:
        files, file_options = uploads.parts_of(request, page=True)
        mapping, options = uploads.declarations_of(request)
        version, new = services.version_upload(
            by=identity, dataset=dataset, files=files, mapping=mapping, options={**options, **file_options}
        )
    except AppError as error:
        return _upload_page(request, None, ReadForm(request.POST), dataset=dataset, error=error)
    said = _("%(ref)s is uploaded and being checked.") if new else _("These files are %(ref)s already.")
    messages.success(request, said % {"ref": version.ref})
    return redirect("dataset_version", name=name, number=version.number)


@require_POST
@require(Role.DEVELOPER)
def dataset_sample(request: HttpRequest) -> HttpResponse:
    dataset, version = sample_import(by=identity_of(request), sample=request.POST.get("sample", "tickets"))
    messages.success(request, _("The sample is there as %(ref)s.") % {"ref": version.ref})
    return redirect("dataset_version", name=dataset.name, number=version.number)


@require_POST
@require(Role.MAINTAINER)
def dataset_delete(request: HttpRequest, name: str) -> HttpResponse:
    identity = identity_of(request)
    services.dataset_delete(by=identity, dataset=selectors.dataset_by_name(identity.workspace, name))
    messages.success(request, _("The dataset %(name)s is deleted.") % {"name": name})
    return redirect("dataset_list")


@require_safe
@require(Role.VIEWER)
def dataset_detail(request: HttpRequest, name: str) -> HttpResponse:
    """The newest version; a dataset without one asks for a file."""
    dataset = selectors.dataset_by_name(identity_of(request).workspace, name)
    newest = selectors.versions_of(dataset).first()
    if newest is None:
        return render(request, "datasets/bare.html", {"dataset": dataset})
    return redirect("dataset_version", name=name, number=newest.number)


@require_safe
@require(Role.VIEWER)
def version_page(request: HttpRequest, name: str, number: int) -> HttpResponse:
    identity = identity_of(request)
    version = selectors.version_by_number(identity.workspace, name, number)
    tab = request.GET.get("tab", "")
    if tab not in TABS:
        tab = "rows" if version.status == VersionStatus.READY else "mapping"
    context = tab_context(version, tab, request.GET)
    return page_or_fragment(request, "datasets/version.html", f"datasets/tabs/_{tab}.html", context)


@require_GET
@require(Role.VIEWER)
def version_status(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """The progress card of a version that is being checked; tells the page to reload when that is over."""
    version = selectors.version_by_number(identity_of(request).workspace, name, number)
    response = render(request, "datasets/_checking.html", {"version": version})
    if version.status not in (VersionStatus.UPLOADING, VersionStatus.VALIDATING):
        response["HX-Refresh"] = "true"
    return response


@require_POST
@require(Role.DEVELOPER)
def version_mapping(request: HttpRequest, name: str, number: int) -> HttpResponse:
    identity = identity_of(request)
    version = selectors.version_by_number(identity.workspace, name, number)
    form = MappingForm(version, request.POST)
    if form.is_valid():
        try:
            changed = services.version_set_mapping(
                by=identity, version=version, mapping=form.mapping(), options=form.options()
            )
        except AppError as error:
            _refused(form, error)
        else:
            messages.success(request, _("%(ref)s is being checked.") % {"ref": changed.ref})
            return redirect("dataset_version", name=name, number=changed.number)
    context = {**tab_context(version, "mapping", request.GET), "form": form}
    return render(request, "datasets/version.html", context, status=422)


@require_POST
@require(Role.DEVELOPER)
def version_fix(request: HttpRequest, name: str, number: int) -> HttpResponse:
    identity = identity_of(request)
    parent = selectors.version_by_number(identity.workspace, name, number)
    version, _new = services.version_fix(by=identity, parent=parent, fixes=request.POST.getlist("fixes"))
    messages.success(request, _("%(ref)s is being made from %(from)s.") % {"ref": version.ref, "from": parent.ref})
    return redirect("dataset_version", name=name, number=version.number)


@require_safe
@require(Role.VIEWER)
def version_download(request: HttpRequest, name: str, number: int) -> HttpResponseBase:
    version = selectors.version_by_number(identity_of(request).workspace, name, number)
    return original_response(version, request.GET.get("file"))


def _upload_page(
    request: HttpRequest,
    form: DatasetForm | None,
    read_form: ReadForm,
    *,
    dataset: Dataset | None = None,
    error: AppError | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {
        "form": form,
        "read_form": read_form,
        "dataset": dataset,
        "error": error,
        "file_errors": [text for field, text in (error.fields if error else {}).items() if field in _FILE_FIELDS],
        "action": reverse("version_upload", args=[dataset.name]) if dataset else reverse("dataset_new"),
    }
    return render(request, "datasets/upload.html", context, status=error.status if error else 200)


_FILE_FIELDS = {"file", "train", "validation", "test"}


def _refused(form: Any, error: AppError) -> Any:
    """Put a service's refusal beside the fields it names."""
    form.full_clean()
    for field, text in error.fields.items():
        plain = field.replace("mapping.", "role_")
        form.add_error(plain if plain in form.fields else None, text)
    return form


def _free_name(request: HttpRequest, file_name: str) -> str:
    """The file's name as a dataset's, with a number when it is taken."""
    base = name_from_file(file_name) or "dataset"
    taken = set(Dataset.objects.filter(workspace=identity_of(request).workspace).values_list("name", flat=True))
    name, number = base, 2
    while name in taken:
        name, number = f"{base[:59]}-{number}", number + 1
    return name
