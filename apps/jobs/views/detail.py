"""One job: its tabs, the parts that live, the data of its charts, and its buttons."""

from __future__ import annotations

import csv
import json
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.accounts.auth import identity_of
from apps.accounts.models import Role
from apps.core.errors import AppError, NotFound
from apps.jobs import figures, presenting, progressing, scoring, services
from apps.jobs.forms import Equivalent, param_form
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.selectors import folders, records
from apps.jobs.services.creating import request_of
from apps.jobs.views.wizard import tell_started
from modelkit import catalog

TABS = ("overview", "charts", "samples", "logs", "checkpoints", "config", "artifacts")
#: Lines that the overview shows of the log, and bytes that the log's own tab begins with.
OVERVIEW_LINES = 8
LOG_TAIL_BYTES = 200_000
SAMPLE_GROUPS = ("worst", "best", "random")


@require_GET
def page(request: HttpRequest, public_id: str, tab: str = "overview") -> HttpResponse:
    """One tab of the job's page."""
    job = _job(request, public_id)
    if tab not in TABS:
        raise NotFound(_("A job's page has no tab “%(tab)s”.") % {"tab": tab})
    context = _head(request, job) | {"tab": tab} | _CONTENT[tab](request, job)
    return render(request, f"jobs/tab_{tab}.html", context)


@require_GET
def live(request: HttpRequest, public_id: str) -> HttpResponse:
    """What moves while the job runs. When results arrive or the job ends, the page is told by an event."""
    job = _job(request, public_id)
    context = _head(request, job) | _overview(request, job)
    # Buttons are replaced only when they changed: a keyboard's focus may rest on one.
    context["changed"] = request.GET.get("seen", "") != context["seen"]
    response = render(request, "jobs/_live_answer.html", context)
    if context["changed"]:
        response["HX-Trigger"] = json.dumps({"job-results": {}})
    return response


@require_GET
def results(request: HttpRequest, public_id: str) -> HttpResponse:
    """What evaluation left, for the overview."""
    job = _job(request, public_id)
    return render(request, "jobs/_results.html", _results(request, job) | {"job": job})


@require_GET
def curves(request: HttpRequest, public_id: str) -> JsonResponse:
    """The figures of all curves by name, for `charts.js`."""
    job = _job(request, public_id)
    found = figures.curve_figures(job, presenting.champion_of(job)) | figures.usage_figures(job)
    return JsonResponse({"figures": found, "final": JobStatus(job.status).is_final})


@require_GET
def confusion(request: HttpRequest, public_id: str) -> JsonResponse:
    """The confusion matrix: the most confused classes, or with `every` all of them."""
    content = folders.artifact(_job(request, public_id), "confusion")
    if content is None:
        raise NotFound(_("The job has not been evaluated."))
    every = request.GET.get("every") == "1"
    found = {"confusion": figures.confusion_figure(content, every=every)}
    return JsonResponse({"figures": found, "final": True})


@require_GET
def scatter(request: HttpRequest, public_id: str) -> JsonResponse:
    """Speed and quality of a compression's parent and variant."""
    job = _job(request, public_id)
    score = folders.artifact(job, "score")
    final = JobStatus(job.status).is_final
    if score is None:
        return JsonResponse({"figures": {}, "final": final})
    variant = job.published.ref if job.published else _("variant")
    points = figures.score_points(job.task, score, baseline=job.spec["source"]["ref"], variant=variant)
    return JsonResponse({"figures": {"scatter": figures.scatter_figure(job.task, points)}, "final": final})


@require_GET
def log(request: HttpRequest, public_id: str) -> JsonResponse:
    """Log lines from byte `after` on, and where to go on."""
    job = _job(request, public_id)
    after = request.GET.get("after", "0")
    offset = int(after) if after.isdigit() and len(after) < 16 else 0
    lines, following = folders.log_lines(job, after=offset)
    final = JobStatus(job.status).is_final and following == offset
    return JsonResponse({"lines": lines, "next": following, "final": final})


@require_GET
def artifact(request: HttpRequest, public_id: str, name: str) -> FileResponse:
    """An artifact as a download."""
    path = folders.artifact_path(_job(request, public_id), name)
    return FileResponse(path.open("rb"), as_attachment=True, filename=path.name)


@require_GET
def per_class_csv(request: HttpRequest, public_id: str) -> HttpResponse:
    """Precision, recall and F1 of each class as a table for a spreadsheet."""
    job = _job(request, public_id)
    content = folders.artifact(job, "per_class")
    if content is None:
        raise NotFound(_("The job has not been evaluated."))
    # Spreadsheets take a file for UTF-8 only with a byte-order mark.
    response = HttpResponse("\ufeff", content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="job-{job.number}-per-class.csv"'
    writer = csv.writer(response)
    writer.writerow(["label", "precision", "recall", "f1", "support", "split"])
    for row in content["rows"]:
        values = [row[name] for name in ("precision", "recall", "f1", "support")]
        writer.writerow([_harmless(str(row["label"])), *values, content.get("split", "")])
    return response


@require_POST
def act(request: HttpRequest, public_id: str, action: str) -> HttpResponse:
    """Cancel, resume or retry; a refusal is told on the job's page."""
    by = identity_of(request)
    job = _job(request, public_id)
    services_by_action = {"cancel": services.job_cancel, "resume": services.job_resume, "retry": services.job_retry}
    if action not in services_by_action:
        raise NotFound(_("There is no such action."))
    by.require(Role.DEVELOPER)
    try:
        job = services_by_action[action](by=by, job=job)
    except AppError as error:
        messages.error(request, f"{error.message} {error.hint}".strip())
    else:
        if action == "cancel":
            done = job.status == JobStatus.CANCELLED
            messages.success(request, _("Cancelled") if done else _("Cancelling: the job stops at its next step."))
        else:
            tell_started(request, job)
    return redirect("job_detail", job.public_id)


# --- what the tabs show ---------------------------------------------------------------------------------------------


def _job(request: HttpRequest, public_id: str) -> Job:
    return records.job_get(workspace=identity_of(request).workspace, public_id=public_id)


def _head(request: HttpRequest, job: Job) -> dict[str, Any]:
    by = identity_of(request)
    place = records.places_for([job]).get(job.pk)
    task = catalog.tasks().get(job.task)
    preset = next((_(item.title) for item in (task.presets if task else ()) if item.id == job.preset), job.preset)
    checkpoints = [row for row in folders.checkpoint_list(job) if row["present"]] if job.kind == JobKind.TRAIN else []
    return {
        "job": job,
        "row": presenting.row_of(job, place),
        "chip": presenting.chip_of(job, place),
        "place": place,
        "final": JobStatus(job.status).is_final,
        "task_title": _(task.title) if task else job.task,
        "preset_title": preset,
        "method_title": _method_title(job),
        "actions": presenting.actions_of(job, by.role),
        "checkpoint_count": len(checkpoints),
        "tabs": _tabs(job),
        "dataset_url": _dataset_url(job),
        "model_url": _model_url(job),
        "device": getattr(job, "device", None),
    }


def _tabs(job: Job) -> list[tuple[str, str]]:
    titles = {
        "overview": _("Overview"),
        "charts": _("Charts"),
        "samples": _("Samples"),
        "logs": _("Logs"),
        "checkpoints": _("Checkpoints"),
        "config": _("Config"),
        "artifacts": _("Artifacts"),
    }
    # Only a training draws curves and writes checkpoints to look at.
    left_out = {"charts", "samples", "checkpoints"} if job.kind != JobKind.TRAIN else set()
    return [(name, title) for name, title in titles.items() if name not in left_out]


def _method(job: Job) -> str:
    return str(job.spec.get("method", ""))


def _method_title(job: Job) -> str:
    method = catalog.methods().get(job.spec.get("method", ""))
    return _(method.title) if method else str(job.spec.get("method", ""))


def _dataset_url(job: Job) -> str:
    version = job.dataset_version
    return presenting.page_address("dataset_version", version.dataset.name, version.number) if version else ""


def _model_url(job: Job) -> str:
    version = job.published
    return presenting.page_address("model_version", version.model.name, version.number) if version else ""


def _overview(request: HttpRequest, job: Job) -> dict[str, Any]:
    champion = presenting.champion_of(job)
    detail = job.progress_detail
    lines, offset = folders.log_lines(job, after=-OVERVIEW_LINES * 200)
    return {
        "steps": progressing.steps_of(job),
        "ends_at": progressing.ends_at(job),
        "progress_facts": progressing.progress_facts(job),
        "champion": champion,
        "result_figures": presenting.result_figures(job, champion),
        "comparisons": progressing.comparisons_of(job),
        "notices": detail.get("notices", []),
        # A job that ended before samples were taken has nothing to draw, and never will have.
        "usage_charts": ("memory", "disk") if not JobStatus(job.status).is_final or folders.usage_points(job) else (),
        "mend": presenting.mend_of(job, identity_of(request).role),
        "log_lines": lines[-OVERVIEW_LINES:],
        "log_offset": offset,
        "overview_lines": OVERVIEW_LINES,
        "metric": presenting.primary_metric(job),
        "seen": f"{job.status}-{len(detail.get('artifacts', {}))}-{job.attempt}-{bool(job.cancel_requested_at):d}",
    } | _results(request, job)


def _results(request: HttpRequest, job: Job) -> dict[str, Any]:
    matrix, per_class = folders.artifact(job, "confusion"), folders.artifact(job, "per_class")
    score = folders.artifact(job, "score")
    wrong, rows = figures.errors_total(matrix) if matrix else (0, 0)
    return {
        "confusion": matrix,
        "classes": len(matrix["labels"]) if matrix else 0,
        "readable_classes": figures.READABLE_CLASSES,
        "confusions": figures.top_confusions(matrix) if matrix else [],
        "wrong_rows": wrong,
        "evaluated_rows": rows,
        "per_class": sorted(per_class["rows"], key=lambda row: row["f1"]) if per_class else [],
        "per_class_split": figures.split_title(per_class.get("split", "")) if per_class else "",
        "score": scoring.score_of(job.task, score),
        "verdict": scoring.score_verdict(job.task, score),
        "parity": folders.artifact(job, "parity"),
    } | _predictions(job)


def _predictions(job: Job) -> dict[str, Any]:
    if job.kind != JobKind.PREDICT:
        return {}
    found = folders.artifact(job, "predictions")
    ref = str(job.progress_detail.get("dataset", ""))
    name, _at, number = ref.partition("@")
    groups = ((_("Least sure"), "unsure"), (_("First rows"), "first"))
    return {
        "predictions": found,
        "prediction_groups": [(title, found[key]) for title, key in groups] if found else [],
        "result_dataset": ref,
        "result_dataset_url": presenting.page_address("dataset_version", name, int(number)) if number else "",
        "final": JobStatus(job.status).is_final,
    }


def _charts(request: HttpRequest, job: Job) -> dict[str, Any]:
    return {"curves": list(figures.curve_figures(job, None))}


def _samples(request: HttpRequest, job: Job) -> dict[str, Any]:
    samples = folders.artifact(job, "samples") or {}
    titles = {"worst": _("Worst"), "best": _("Best"), "random": _("Random")}
    group = request.GET.get("rows", "worst")
    group = group if group in SAMPLE_GROUPS else "worst"
    return {
        "first_batch": folders.artifact(job, "first_batch"),
        "groups": [(name, titles[name]) for name in SAMPLE_GROUPS] if samples else [],
        "group": group,
        "samples": samples.get(group, []),
        "samples_split": figures.split_title(samples.get("split", "")),
    }


def _logs(request: HttpRequest, job: Job) -> dict[str, Any]:
    lines, offset = folders.log_lines(job, after=-LOG_TAIL_BYTES)
    return {"log_lines": lines, "log_offset": offset}


def _checkpoints(request: HttpRequest, job: Job) -> dict[str, Any]:
    return {"checkpoints": folders.checkpoint_list(job), "can_resume": records.job_can_resume(job)}


def _config(request: HttpRequest, job: Job) -> dict[str, Any]:
    spec = job.spec
    declared = catalog.tasks().get(job.task) if job.kind == JobKind.TRAIN else catalog.methods().get(_method(job))
    form = param_form(declared.params, base={}, values=spec["params"]) if declared else None
    body = request_of(job).model_dump(mode="json", exclude_defaults=True)
    # A file goes by another address, which no JSON body can name.
    by_json = not spec.get("file")
    return {
        "form": form,
        "spec": json.dumps(spec, ensure_ascii=False, indent=2),
        "equivalent": Equivalent(body, f"{settings.PUBLIC_URL}/api/v1/jobs") if by_json else None,
        "transitions": job.transitions.select_related("actor"),
        "mlflow_uri": settings.MLFLOW_TRACKING_URI,
    }


def _artifacts(request: HttpRequest, job: Job) -> dict[str, Any]:
    return {"artifacts": folders.artifact_names(job)}


def _harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


_CONTENT = {
    "overview": _overview,
    "charts": _charts,
    "samples": _samples,
    "logs": _logs,
    "checkpoints": _checkpoints,
    "config": _config,
    "artifacts": _artifacts,
}
