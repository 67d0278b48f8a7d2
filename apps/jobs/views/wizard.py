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
from apps.jobs import previews
from apps.jobs import wizard as wizards
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.presenting import page_address
from apps.jobs.selectors import records
from apps.jobs.services import job_create, job_preview

VIEWS = ("simple", "advanced")
#: How often the page asks for a first batch that is being made, and what it waits for before the first time.
POLL_MS, SETTLE_MS = 700, 600
#: How vocabularies name what they do not hold, to be marked.
UNKNOWN_TOKENS = ("[UNK]", "<unk>")
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
    return render(request, "jobs/new.html", _page(request, wizard, source))


@require_POST
def review(request: HttpRequest) -> HttpResponse:
    """Judge the form as it stands: the review card, and beside it what changed elsewhere on the page."""
    wizard = wizards.Wizard.posted(identity_of(request), request.POST)
    _remember_view(request)
    if request.POST.get("shown_task", wizard.task.name) != wizard.task.name:
        # Another task offers other models, data and parameters: the whole form.
        return HttpResponse(headers={"HX-Redirect": f"{reverse('job_new')}?{urlencode({'task': wizard.task.name})}"})
    context = _context(wizard, None) | {
        "noted": NOTED,
        "new_fields": request.POST.get("shown_preset", "") != wizard.preset,
        "new_name": request.POST.get("suggested_name", "") != wizard.suggested_name,
    }
    return render(request, "jobs/_review_answer.html", context)


@require_POST
def first_batch(request: HttpRequest) -> HttpResponse:
    """What the model will see first of the form as it stands; the fragment asks again until a worker has made it."""
    wizard = wizards.Wizard.posted(identity_of(request), request.POST)
    try:
        plan = job_preview(by=wizard.by, request=wizard.request())
    except Invalid:
        plan = None
    batch = previews.first_batch(plan) if plan is not None and not plan.problems else None
    context = {
        "batch": batch,
        "poll": POLL_MS if batch is not None and batch.state == "waiting" else 0,
        "unknown_tokens": UNKNOWN_TOKENS,
    }
    return render(request, "jobs/_first_batch.html", context)


def _start(request: HttpRequest) -> HttpResponse:
    by = identity_of(request)
    wizard = wizards.Wizard.posted(by, request.POST)
    _remember_view(request)
    try:
        by.require(Role.DEVELOPER)
        source = _source(wizard)
        job = job_create(by=by, request=wizard.request(), key=wizard.start_key, cloned_from=source)
    except Invalid:
        return render(request, "jobs/new.html", _page(request, wizard, None), status=422)
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


def _remember_view(request: HttpRequest) -> None:
    """Keep Simple or Advanced for this person's next visit."""
    view = request.POST.get("view", "")
    if view in VIEWS and request.session.get("wizard_view") != view:
        request.session["wizard_view"] = view


def _page(request: HttpRequest, wizard: wizards.Wizard, source: Job | None) -> dict[str, Any]:
    """The whole page. What was refused is shown, whatever the person chose to see."""
    context = _context(wizard, source)
    hidden_error = context["review"].params.advanced_needs_eyes
    return context | {"view": "advanced" if hidden_error else request.session.get("wizard_view", VIEWS[0])}


def _context(wizard: wizards.Wizard, source: Job | None) -> dict[str, Any]:
    return {
        "wizard": wizard,
        "poll": SETTLE_MS,
        "review": wizards.review_of(wizard),
        "task_title": _(wizard.task.title),
        "source_job": source,
        "base_models_url": page_address("base_model_list"),
        "datasets_url": page_address("dataset_list"),
    }
