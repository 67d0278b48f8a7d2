"""The page Compress: choose a version, see which methods apply and why others do not, start one, compare."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.auth import identity_of
from apps.accounts.models import Role
from apps.compression import selectors
from apps.compression.reviewing import review_of
from apps.core.errors import AppError, NotFound
from apps.core.ids import new_id
from apps.jobs.forms import PREFIX, ParamForm, param_form, param_values
from apps.jobs.schemas import CompressRequest
from apps.jobs.selectors.records import job_get
from apps.jobs.services import job_create
from apps.jobs.views.wizard import tell_started
from apps.registry.figures import variants_figure
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_by_reference
from modelkit import catalog

PAGE_ROWS = 20


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Without `model` the versions to choose from; with it, what can be done to that one."""
    by = identity_of(request)
    reference = request.GET.get("model", "")
    if not reference:
        rows = Paginator(selectors.sources(workspace=by.workspace), PAGE_ROWS)
        return render(request, "compression/choose.html", {"rows": rows.get_page(request.GET.get("page"))})
    version = version_by_reference(by.workspace, reference)
    method, params = _cloned(request)
    return render(request, "compression/version.html", _context(request, version, chosen=method, params=params))


@require_POST
def review(request: HttpRequest) -> HttpResponse:
    """Judge one method's form as it stands."""
    version = version_by_reference(identity_of(request).workspace, request.POST.get("model", ""))
    name = request.POST.get("method", "")
    verdict = next((item for item in selectors.verdicts(version) if item.spec.name == name), None)
    if verdict is None:
        raise NotFound(f"There is no compression method “{name}”.", code="method_unknown")
    found = review_of(identity_of(request), version, name, param_values(verdict.spec.params, request.POST, {}))
    context = {
        "item": {"verdict": verdict, "review": found},
        "may_work": identity_of(request).role.allows(Role.DEVELOPER),
    }
    return render(request, "compression/_review.html", context)


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Start a compression job; what is wrong is shown beside the method's fields."""
    by = identity_of(request)
    by.require(Role.DEVELOPER)
    version = version_by_reference(by.workspace, request.POST.get("model", ""))
    name = request.POST.get("method", "")
    spec = catalog.methods().get(name)
    if spec is None:
        raise NotFound(f"There is no compression method “{name}”.", code="method_unknown")
    params = param_values(spec.params, request.POST, {})
    try:
        body = CompressRequest(kind="compress", model=version.ref, method=name, params=params)
        job = job_create(by=by, request=body, key=request.POST.get("key", ""))
    except AppError as error:
        context = _context(request, version, chosen=name, params=params, error=error)
        return render(request, "compression/version.html", context, status=error.status)
    tell_started(request, job)
    return redirect(reverse("job_detail", args=[job.public_id]))


def _cloned(request: HttpRequest) -> tuple[str, dict[str, Any]]:
    """The method that the address names, with the parameters of the job that is to be run again, if it names one."""
    method, clone = request.GET.get("method", ""), request.GET.get("clone", "")
    if method not in catalog.methods() or not clone:
        return method, {}
    try:
        job = job_get(workspace=identity_of(request).workspace, public_id=clone)
    except AppError:
        return method, {}
    return method, dict(job.spec["params"]) if job.spec.get("method") == method else {}


def _context(
    request: HttpRequest,
    version: ModelVersion,
    *,
    chosen: str = "",
    params: dict[str, Any] | None = None,
    error: AppError | None = None,
) -> dict[str, Any]:
    compared = selectors.comparison(version)
    methods = []
    for verdict in selectors.verdicts(version):
        mine = verdict.spec.name == chosen
        form = _form(verdict, params if mine else None, error if mine else None)
        found = None
        if verdict.applies:
            found = review_of(identity_of(request), version, verdict.spec.name, (params or {}) if mine else {})
        methods.append({"verdict": verdict, "form": form, "open": mine, "review": found})
    return {
        "version": version,
        "methods": methods,
        "error": error if error is not None and not error.fields else None,
        "comparison": compared,
        "figure": variants_figure(compared.variants),
        "jobs": selectors.jobs_of(version)[:5],
        "may_work": identity_of(request).role.allows(Role.DEVELOPER),
        # One for each showing of the page: two clicks on its button start one job.
        "key": new_id(),
    }


def _form(verdict: selectors.Verdict, params: dict[str, Any] | None, error: AppError | None) -> ParamForm:
    errors = {name.removeprefix(PREFIX): text for name, text in (error.fields if error else {}).items()}
    return param_form(verdict.spec.params, base={}, values=params or {}, errors=errors)
