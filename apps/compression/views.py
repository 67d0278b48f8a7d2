"""The page Compress: a version, the methods that apply to it, and its variants beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods
from pydantic import ValidationError

from apps.accounts.auth import Identity, identity_of
from apps.accounts.models import Role
from apps.compression import selectors
from apps.core.errors import AppError, Invalid
from apps.core.ids import new_id
from apps.jobs import presenting
from apps.jobs.forms import PREFIX, Equivalent, field_errors, param_form, param_values
from apps.jobs.models import JobKind
from apps.jobs.schemas import CompressRequest, Problem
from apps.jobs.selectors import inputs, records
from apps.jobs.services import job_create, job_preview
from apps.jobs.views.wizard import tell_started
from apps.registry.models import ModelVersion
from modelkit import catalog

#: Compress jobs shown below the form; the list of jobs has the others.
JOBS_SHOWN = 8


@dataclass
class Form:
    """What the page's form says."""

    by: Identity
    model: str = ""
    method: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=new_id)
    applicable: bool = True

    @classmethod
    def read(cls, by: Identity, data: QueryDict) -> Form:
        """The form as sent or preselected; parameters shown for another method are dropped."""
        form = cls(by=by, model=data.get("model", ""), method=data.get("method", ""))
        form.key = data.get("key", "")[:40] or form.key
        spec = catalog.methods().get(form.method)
        if spec is not None and data.get("shown_method", form.method) == form.method:
            form.changes = param_values(spec.params, data, {})
        return form

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"kind": "compress", "model": self.model, "method": self.method}
        return body | ({"params": self.changes} if self.changes else {})

    def request(self) -> CompressRequest:
        if not self.method:
            message = _("Choose a method.") if self.applicable else _("No method applies to this version.")
            raise Invalid(message, fields={"method": message})
        try:
            return CompressRequest.model_validate(self.body())
        except ValidationError as error:
            fields = field_errors(error, {"model": _("Choose a model version."), "method": _("Choose a method.")})
            raise Invalid(next(iter(fields.values())), fields=fields) from None

    @property
    def start_key(self) -> str:
        """Two clicks start one job; another choice starts another."""
        return f"{self.key}-{hashlib.sha256(repr(self.body()).encode()).hexdigest()[:16]}"


@require_http_methods(["GET", "POST"])
def compression(request: HttpRequest) -> HttpResponse:
    """Show the page, or start the job that its form asks for."""
    by = identity_of(request)
    if request.method == "POST":
        form = Form.read(by, request.POST)
        try:
            by.require(Role.DEVELOPER)
            job = job_create(by=by, request=form.request(), key=form.start_key)
        except Invalid:
            return render(request, "compression/page.html", _context(form), status=422)
        tell_started(request, job)
        return redirect("job_detail", job.public_id)
    form = Form.read(by, request.GET)
    if clone := request.GET.get("clone"):
        job = records.job_get(workspace=by.workspace, public_id=clone)
        if job.kind == JobKind.COMPRESS:
            form.model, form.method, form.changes = job.spec["source"]["ref"], job.spec["method"], job.spec["params"]
            defaults = param_form(catalog.methods()[form.method].params, base={}, values={}).fields
            known = {item.name for item in defaults}
            form.changes = {name: value for name, value in form.changes.items() if name in known}
    return render(request, "compression/page.html", _context(form))


@require_GET
def scatter(request: HttpRequest, reference: str) -> JsonResponse:
    """Speed and quality of a version's family, for `charts.js`."""
    version = inputs.source_version_get(workspace=identity_of(request).workspace, reference=reference)
    figure = selectors.comparison_figure(selectors.comparison_of(version))
    return JsonResponse({"figures": {"scatter": figure}, "final": True})


def _context(form: Form) -> dict[str, Any]:
    workspace = form.by.workspace
    versions = list(selectors.versions_offered(workspace=workspace))
    version = _chosen(form, versions)
    offers = selectors.method_offers(version) if version else []
    form.applicable = any(offer.applies for offer in offers)
    if not form.method:
        form.method = next((offer.spec.name for offer in offers if offer.applies), "")
    plan, problems = None, []
    if not form.by.role.allows(Role.DEVELOPER):
        message = _("Starting a job needs the role %(role)s.") % {"role": Role.DEVELOPER.label}
        problems.append(Problem(code="forbidden", field="", message=message, hint=_("Ask an owner of the workspace.")))
    if version is not None:
        try:
            plan = job_preview(by=form.by, request=form.request())
            problems += plan.problems
        except Invalid as error:
            problems += [
                Problem(code=error.code, field=name, message=text, hint="") for name, text in error.fields.items()
            ]
    errors = {item.field.removeprefix(PREFIX): item.message for item in problems if item.field.startswith(PREFIX)}
    spec = catalog.methods().get(form.method)
    comparison = selectors.comparison_of(version) if version else None
    jobs = records.job_list(workspace=workspace, kind=JobKind.COMPRESS)
    return {
        "form": form,
        "versions": versions,
        "version": version,
        "offers": offers,
        "params": param_form(spec.params, base={}, values=form.changes, errors=errors) if spec else None,
        "problems": problems,
        "warnings": plan.warnings if plan else [],
        "predicted": plan.predicted if plan else {},
        "ready": version is not None and not problems,
        "equivalent": Equivalent(form.body(), f"{settings.PUBLIC_URL}/api/v1/jobs"),
        "comparison": comparison,
        "columns": _columns(comparison),
        "deploy": {
            item.ref: presenting.page_address("endpoint_new", model=item.ref)
            for item in (
                [comparison.parent, *(variant.version for variant in comparison.variants)] if comparison else []
            )
        },
        "rows": presenting.rows_of(list(jobs[:JOBS_SHOWN])),
    }


def _chosen(form: Form, versions: list[ModelVersion]) -> ModelVersion | None:
    """The version that the form names; without a name the newest that something can be made of."""
    if not form.model:
        originals = [item for item in versions if item.parent_id is None]
        if originals:
            form.model = originals[0].ref
    if not form.model:
        return None
    try:
        return inputs.source_version_get(workspace=form.by.workspace, reference=form.model)
    except AppError:
        return None


#: What the table of variants compares, in its order.
_COLUMNS = ("accuracy", "agreement", "max_drift", "p50_ms", "p95_ms", "size_bytes", "peak_memory_bytes")


def _columns(comparison: selectors.Comparison | None) -> list[presenting.ScoreLine]:
    baseline = comparison.baseline if comparison else {}
    return [baseline[name] for name in _COLUMNS if name in baseline]
