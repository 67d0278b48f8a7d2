"""The page that starts a batch prediction: a model version, and the rows of a dataset version or of a file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from apps.accounts.auth import Identity, identity_of, require
from apps.accounts.models import Role
from apps.core.errors import AppError
from apps.core.forms import ServiceForm
from apps.core.ids import new_id
from apps.datasets.models import DatasetVersion, VersionStatus
from apps.jobs import receiving
from apps.jobs.selectors import choices, records
from apps.jobs.services import job_create, job_create_for_file
from apps.jobs.views.wizard import tell_started
from apps.registry.models import ModelVersion
from modelkit.data.options import ENCODINGS

SPLITS = [("all", _("All rows")), ("train", _("Train")), ("validation", _("Validation")), ("test", _("Test"))]


class PredictForm(ServiceForm):
    """What to ask, and about which rows; what it means is decided by the services."""

    model = forms.ChoiceField(label=_("Model version"))
    save_as = forms.CharField(
        label=_("Save as dataset"),
        required=False,
        help_text=_("A name: the answers become the classes of a new version of it. Empty: files only."),
    )

    def __init__(self, by: Identity, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = ModelVersion.objects.filter(model__workspace=by.workspace).select_related("model").order_by("-pk")
        refs = [row.ref for row in rows[: choices.LISTED]]
        _offer(self, "model", refs)


class RowsForm(ServiceForm):
    """A dataset version and the part of it."""

    dataset = forms.ChoiceField(label=_("Dataset version"), required=False)
    split = forms.ChoiceField(label=_("Rows"), choices=SPLITS, required=False)

    def __init__(self, by: Identity, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = DatasetVersion.objects.filter(dataset__workspace=by.workspace, status=VersionStatus.READY)
        refs = [row.ref for row in rows.select_related("dataset").order_by("-pk")[: choices.LISTED]]
        _offer(self, "dataset", refs, empty=_("None: I send a file"))


class FileForm(ServiceForm):
    """How to read a file, where that has to be said."""

    text_column = forms.CharField(
        label=_("Column with the text"), required=False, help_text=_("Empty: found by its name or content.")
    )
    encoding = forms.ChoiceField(
        label=_("Encoding"),
        required=False,
        choices=[("", _("Detected")), *ENCODINGS.items()],
    )


@require_http_methods(["GET", "POST"])
@require(Role.DEVELOPER)
def new(request: HttpRequest) -> HttpResponse:
    """`?model=intents@2` comes from a version's page, `?dataset=tickets@1` from a dataset's, `?clone=` from a job."""
    by = identity_of(request)
    if request.method != "POST":
        return _page(request, by, _initial(request, by))
    try:
        if request.FILES:
            body, files, mapping, options = receiving.prediction_of(request, page=True)
            job = job_create_for_file(
                by=by, request=body, files=files, mapping=mapping, options=options, key=request.POST.get("key", "")
            )
        else:
            job = job_create(by=by, request=receiving.predict_request(request), key=request.POST.get("key", ""))
    except AppError as error:
        return _page(request, by, request.POST.dict(), error=error)
    tell_started(request, job)
    return redirect(reverse("job_detail", args=[job.public_id]))


def _initial(request: HttpRequest, by: Identity) -> dict[str, Any]:
    values = {name: request.GET[name] for name in ("model", "dataset") if request.GET.get(name)}
    if request.GET.get("clone"):
        spec = records.job_get(workspace=by.workspace, public_id=request.GET["clone"]).spec
        dataset = (spec.get("dataset") or {}).get("ref", "")
        values |= {"model": spec["source"]["ref"], "dataset": dataset, "split": spec.get("split", "all")}
        values["save_as"] = spec.get("save_as") or ""
    return values


def _page(request: HttpRequest, by: Identity, values: dict[str, Any], *, error: AppError | None = None) -> HttpResponse:
    shown = [form(by, initial=values) for form in (PredictForm, RowsForm)]
    context = {
        "form": shown[0],
        "rows_form": shown[1],
        "file_form": FileForm(initial=values),
        "error": error,
        "problems": list(error.fields.items()) if error is not None else [],
        "models": bool(shown[0].fields["model"].choices),  # type: ignore[attr-defined]
        "upload_limit_mb": settings.UPLOAD_LIMIT_BYTES // (1 << 20),
        # One for each showing of the page: two clicks on its button start one job.
        "key": new_id(),
    }
    return render(request, "jobs/predict.html", context, status=error.status if error is not None else 200)


def _offer(form: ServiceForm, name: str, refs: list[str], *, empty: Any = None) -> None:
    """The references, with the one that the address names although it is an old one."""
    wanted = str(form.initial.get(name) or "")
    offered = [*refs, wanted] if wanted and wanted not in refs else refs
    blank = [("", empty)] if empty is not None else []
    form.fields[name].choices = blank + [(ref, ref) for ref in offered]  # type: ignore[attr-defined]
