"""The fine-tuning wizard."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.auth import identity_of
from apps.accounts.models import Role
from apps.core.errors import AppError, Invalid
from apps.jobs import wizard as wizards
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.presenting import page_address
from apps.jobs.selectors import records
from apps.jobs.services import job_create

#: Fields beside the parameters that have a line for what is wrong with them.
NOTED = ("base_model", "dataset", "preset", "budget_minutes")


@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, preselected by the address; or start the job that the form asks for."""
    by = identity_of(request)
    if request.method == "POST":
        return _start(request)
    clone = request.GET.get("clone", "")
    source = records.job_get(workspace=by.workspace, public_id=clone) if clone else None
    if source is not None and source.kind == JobKind.TRAIN:
        wizard = wizards.Wizard.cloned(by, source, preset=request.GET.get("preset", ""))
    else:
        wizard = wizards.Wizard.opened(by, request.GET)
    return render(request, "jobs/new.html", _context(wizard, source))


@require_POST
def review(request: HttpRequest) -> HttpResponse:
    """Judge the form as it stands: the review card, and beside it what changed elsewhere on the page."""
    wizard = wizards.Wizard.posted(identity_of(request), request.POST)
    if request.POST.get("shown_task", wizard.task.name) != wizard.task.name:
        # Another task offers other models, data and parameters: the whole form.
        return HttpResponse(headers={"HX-Redirect": f"{reverse('job_new')}?{urlencode({'task': wizard.task.name})}"})
    context = _context(wizard, None) | {
        "noted": NOTED,
        "new_fields": request.POST.get("shown_preset", "") != wizard.preset,
        "new_name": request.POST.get("suggested_name", "") != wizard.suggested_name,
    }
    return render(request, "jobs/_review_answer.html", context)


def _start(request: HttpRequest) -> HttpResponse:
    by = identity_of(request)
    wizard = wizards.Wizard.posted(by, request.POST)
    try:
        by.require(Role.DEVELOPER)
        source = _source(wizard)
        job = job_create(by=by, request=wizard.request(), key=wizard.start_key, cloned_from=source)
    except Invalid:
        return render(request, "jobs/new.html", _context(wizard, None), status=422)
    tell_started(request, job)
    return redirect("job_detail", job.public_id)


def _source(wizard: wizards.Wizard) -> Job | None:
    if not wizard.clone:
        return None
    try:
        return records.job_get(workspace=wizard.by.workspace, public_id=wizard.clone)
    except AppError:
        return None  # deleted meanwhile: only the mention of where it came from is lost


def tell_started(request: HttpRequest, job: Job) -> None:
    """Say what became of a new job: it runs, or waits at a place and why. A queued job is never called started."""
    job.refresh_from_db()
    if job.status == JobStatus.QUEUED:
        place = records.places_for([job]).get(job.pk)
        if place is None:
            messages.success(request, _("Queued"))
        else:
            text = _("Queued (#%(position)d). %(reason)s") % {"position": place.position, "reason": place.reason}
            messages.success(request, text)
    elif job.status == JobStatus.RUNNING:
        messages.success(request, _("Started"))
    else:
        messages.info(request, _("This form was sent before: here is job #%(number)d.") % {"number": job.number})


def _context(wizard: wizards.Wizard, source: Job | None) -> dict[str, Any]:
    return {
        "wizard": wizard,
        "review": wizards.review_of(wizard),
        "task_title": _(wizard.task.title),
        "source_job": source,
        "base_models_url": page_address("base_model_list"),
        "datasets_url": page_address("dataset_list"),
    }
