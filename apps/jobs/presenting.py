"""A job as its pages tell it: chip, best figures, and actions with the reason where they cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Role
from apps.jobs.models import Job, JobKind, JobStatus
from apps.jobs.selectors import choices, records
from apps.jobs.selectors.queue import Place
from apps.jobs.selectors.timing import left_s, worked_s
from apps.jobs.values import delta_better, delta_text, metric_spec, value_text
from apps.registry import selectors as registry
from apps.registry.models import ModelVersion
from modelkit import catalog

PHASE_TITLES = {
    "queued": gettext_lazy("Queued"),
    "preparing": gettext_lazy("Preparing data"),
    "loading": gettext_lazy("Loading model"),
    "training": gettext_lazy("Training"),
    "compressing": gettext_lazy("Compressing"),
    "predicting": gettext_lazy("Predicting"),
    "evaluating": gettext_lazy("Evaluating"),
    "exporting": gettext_lazy("Exporting"),
    "parity": gettext_lazy("Checking parity"),
    "publishing": gettext_lazy("Publishing"),
}
CHIPS = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "running",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.ERRORED: "failed",
    JobStatus.CANCELLED: "cancelled",
}

_ICONS = {
    "clone": "copy",
    "mend": "copy",
    "cancel": "stop",
    "retry": "refresh",
    "resume": "play",
    "compress": "compress",
    "deploy": "rocket",
}


@dataclass(frozen=True)
class Chip:
    """A status: a dot and a word."""

    kind: str
    title: str


@dataclass(frozen=True)
class Action:
    """A button. `reason` says why it cannot work now; `href` makes it a link, else it posts to `url`.

    With a `question` it asks first, and `told` says what will happen.
    """

    name: str
    title: str
    url: str = ""
    href: str = ""
    reason: str = ""
    primary: bool = False
    danger: bool = False
    question: str = ""
    told: str = ""

    @property
    def icon(self) -> str:
        return _ICONS.get(self.name, "chevron")


@dataclass(frozen=True)
class Figure:
    """A number with its name and what it is compared with."""

    title: str
    value: str
    detail: str = ""
    delta: str = ""
    better: bool | None = None


@dataclass(frozen=True)
class Row:
    """A job in a list."""

    job: Job
    chip: Chip
    place: Place | None
    best: Figure | None
    left_s: float | None
    duration_s: float | None

    @property
    def percent(self) -> int:
        return int(self.job.progress * 100)

    @property
    def subject(self) -> str:
        """What the job works on: a dataset version, a file to predict, or the model version that is compressed."""
        spec = self.job.spec
        if self.job.kind == JobKind.PREDICT:
            return str(spec["dataset"]["ref"] if spec["dataset"] else spec["file"]["name"])
        return str((spec.get("source") or spec.get("dataset") or {}).get("ref", ""))


def chip_of(job: Job, place: Place | None = None) -> Chip:
    """The status in a word; a running job says its phase, a queued one its position."""
    status = JobStatus(job.status)
    if status == JobStatus.RUNNING and job.cancel_requested_at is not None:
        return Chip("warning", _("Cancelling"))
    if status == JobStatus.RUNNING:
        return Chip("running", str(PHASE_TITLES.get(job.phase, status.label)))
    if status == JobStatus.QUEUED and place is not None:
        return Chip("queued", _("Queued (#%(position)d)") % {"position": place.position})
    return Chip(CHIPS[status], str(status.label))


def row_of(job: Job, place: Place | None) -> Row:
    left = left_s(job) if job.status == JobStatus.RUNNING else place.wait_s if place else None
    return Row(job, chip_of(job, place), place, best_figure(job), left, worked_s(job))


def rows_of(jobs: Sequence[Job]) -> list[Row]:
    places = records.places_for(list(jobs))
    return [row_of(job, places.get(job.pk)) for job in jobs]


def primary_metric(job: Job) -> str:
    spec = catalog.tasks().get(job.task)
    return spec.primary_metric if spec else ""


def best_figure(job: Job) -> Figure | None:
    """The metric that matters most: the final one, else the best so far."""
    name = primary_metric(job)
    if job.status == JobStatus.SUCCEEDED and name in job.metrics:
        metric = metric_spec(job.task, name)
        return Figure(_(metric.title), value_text(metric, job.metrics[name]), job.metrics_split)
    if job.best:
        metric = metric_spec(job.task, job.best["name"])
        return Figure(_(metric.title), value_text(metric, job.best["value"]), "validation")
    return None


def champion_of(job: Job) -> ModelVersion | None:
    """The version that this job's model must beat: the champion, unless the job made it itself or makes no model."""
    if job.kind == JobKind.PREDICT:
        return None
    model = choices.model_named(workspace=job.workspace, name=job.model_name)
    champion = registry.champion_of(model) if model else None
    return None if champion is None or champion.job_public_id == job.public_id else champion


def result_figures(job: Job, champion: ModelVersion | None) -> list[Figure]:
    """Every metric of the task that the job knows by now, against the champion where it has it too."""
    spec = catalog.tasks().get(job.task)
    if spec is None:
        return []
    final = job.status == JobStatus.SUCCEEDED
    found = []
    for metric in spec.metrics:
        value = job.metrics.get(metric.name)
        # The best is of the validation rows: beside what the test rows gave it would pass for one of theirs.
        if job.metrics_split != "test" and not final and job.best.get("name") == metric.name:
            value = job.best["value"]
        if value is None:
            continue
        delta, better = "", None
        against = (champion.metrics or {}).get(metric.name) if champion else None
        # Losses of different rows, or with and without label smoothing, do not compare.
        comparable = metric.unit == "fraction" or (champion and champion.metrics_split == job.metrics_split)
        if champion is not None and against is not None and comparable:
            delta = _("%(delta)s against %(ref)s") % {
                "delta": delta_text(metric, value, against),
                "ref": champion.ref,
            }
            better = delta_better(metric, value, against)
        found.append(Figure(_(metric.title), value_text(metric, value), _(metric.help), delta, better))
    return found


# --- actions --------------------------------------------------------------------------------------------------------


def actions_of(job: Job, role: Role) -> list[Action]:
    """The buttons of the job's page, the one that is wanted most last."""
    status = JobStatus(job.status)
    refused = ""
    if not role.allows(Role.DEVELOPER):
        refused = _("This needs the role %(role)s.") % {"role": Role.DEVELOPER.label}
    actions = [_clone(job, refused)]
    if not status.is_final:
        asked = _("It stops at its next step.") if job.cancel_requested_at else ""
        actions.append(_cancel(job, refused or asked))
    elif status != JobStatus.SUCCEEDED:
        resumes = records.job_can_resume(job)
        nothing = "" if resumes else _("No checkpoint was written before it stopped.")
        actions.append(_post(job, "retry", _("Retry from the start"), refused, primary=not resumes))
        actions.append(_post(job, "resume", _("Resume"), refused or nothing, primary=resumes))
    if status == JobStatus.SUCCEEDED or not status.is_final:
        actions += _follow_ups(job, refused)
    return actions


def mend_of(job: Job, role: Role) -> Action | None:
    """The button of the error card: what is most likely to help for this error."""
    if not job.error or not role.allows(Role.DEVELOPER):
        return None
    low_memory = any(item.id == "low_memory" for item in _presets(job))
    if job.error.get("code") == "out_of_memory" and job.kind == JobKind.TRAIN and low_memory:
        query = urlencode({"clone": job.public_id, "preset": "low_memory"})
        return Action("mend", _("Try the preset Low memory"), href=f"{reverse('job_new')}?{query}", primary=True)
    if job.status == JobStatus.FAILED and job.error.get("code") != "disk_full":
        return _clone(job, "", title=_("Clone and change it"))
    return _post(job, "resume", _("Resume"), "") if records.job_can_resume(job) else _post(job, "retry", _("Retry"), "")


def _presets(job: Job) -> Sequence[Any]:
    spec = catalog.tasks().get(job.task)
    return spec.presets if spec else ()


def _clone(job: Job, refused: str, *, title: str = "") -> Action:
    if job.kind == JobKind.TRAIN:
        address = f"{reverse('job_new')}?{urlencode({'clone': job.public_id})}"
    elif job.kind == JobKind.PREDICT:
        address = f"{reverse('prediction_new')}?{urlencode({'clone': job.public_id})}"
    else:
        query = {"model": job.spec["source"]["ref"], "method": job.spec["method"], "clone": job.public_id}
        address = f"{reverse('compression')}?{urlencode(query)}"
    return Action("clone", title or _("Clone"), href="" if refused else address, reason=refused)


def _post(job: Job, name: str, title: str, reason: str, *, primary: bool = False) -> Action:
    address = reverse("job_act", args=[job.public_id, name])
    return Action(name, title, url=address, reason=reason, primary=primary)


def _cancel(job: Job, reason: str) -> Action:
    told = _("It stops at its next step. What it did since its last checkpoint is lost; from there it can be resumed.")
    if job.status == JobStatus.QUEUED:
        told = _("It leaves the queue.")
    return Action(
        "cancel",
        _("Cancel"),
        url=reverse("job_act", args=[job.public_id, "cancel"]),
        reason=reason,
        danger=True,
        question=_("Cancel job #%(number)s?") % {"number": job.number},
        told=told,
    )


def _follow_ups(job: Job, refused: str) -> list[Action]:
    """Compress and Deploy, once there is a version."""
    found: list[Action] = []
    if job.kind == JobKind.PREDICT:
        return found
    waiting = "" if job.published else _("There is no model version before the job has succeeded.")
    reference = job.published.ref if job.published else ""
    if job.kind == JobKind.TRAIN:
        address = f"{reverse('compression')}?{urlencode({'model': reference})}" if reference else ""
        found.append(Action("compress", _("Compress"), href="" if refused else address, reason=refused or waiting))
    deploy = page_address("endpoint_new", model=reference)
    if deploy:
        ready = deploy if reference and not refused else ""
        found.append(Action("deploy", _("Deploy"), href=ready, reason=refused or waiting, primary=True))
    return found


def page_address(name: str, *args: Any, **query: str) -> str:
    """The address of a page of another part, or nothing where that part is not installed."""
    try:
        address = reverse(name, args=args)
    except NoReverseMatch:
        return ""
    return f"{address}?{urlencode(query)}" if query else address
