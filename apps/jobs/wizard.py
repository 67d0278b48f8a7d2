"""The fine-tuning wizard: what the form says, the request it stands for, and the review of that request.

The review comes from the same service as `POST /jobs/preview`; nothing is judged here a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import Any

from django.conf import settings
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from pydantic import ValidationError

from apps.accounts.auth import Identity
from apps.accounts.models import Role
from apps.core.errors import Invalid
from apps.core.ids import new_id
from apps.core.models import slug_validator
from apps.datasets.models import DatasetVersion
from apps.datasets.presentation import check_view
from apps.jobs.forms import PREFIX, Equivalent, ParamForm, field_errors, param_form, param_values
from apps.jobs.models import Job
from apps.jobs.plans import Plan
from apps.jobs.schemas import Problem, TrainRequest
from apps.jobs.selectors import choices
from apps.jobs.services import job_preview
from apps.registry import selectors as registry
from apps.registry.models import BaseModel
from modelkit import catalog
from modelkit.contracts import Preset, TaskSpec

#: Below this a test part's accuracy has an error that is worth a word.
SMALL_TEST_ROWS = 1000


@dataclass(frozen=True)
class PresetCard:
    """A preset with what it would cost on the chosen data; `predicted` is empty until there is something to predict."""

    preset: Preset
    selected: bool
    predicted: Mapping[str, float]

    @property
    def title(self) -> str:
        return _(self.preset.title)

    @property
    def summary(self) -> str:
        return _(self.preset.summary)


@dataclass(frozen=True)
class Point:
    """A line of the review: `level` is ok, info, warning or problem."""

    level: str
    title: str
    detail: str = ""
    field: str = ""


@dataclass
class Wizard:
    """What the form says, in text, whether it is right or not."""

    by: Identity
    task: TaskSpec
    dataset: str = ""
    base_model: str = ""
    model_name: str = ""
    suggested_name: str = ""
    preset: str = ""
    budget: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=new_id)
    clone: str = ""

    # --- where it comes from ----------------------------------------------------------------------------------------

    @classmethod
    def opened(cls, by: Identity, query: QueryDict) -> Wizard:
        """The form at first sight, with what the address preselects."""
        tasks = catalog.tasks()
        reference = query.get("dataset", "")
        chosen = _version_of(by, reference)
        task = tasks.get(chosen.dataset.task if chosen else query.get("task", "")) or _usual_task()
        wizard = cls(by=by, task=task, dataset=reference, base_model=query.get("base_model", ""))
        wizard._fill(query.get("preset", ""), query.get("model_name", ""))
        return wizard

    @classmethod
    def cloned(cls, by: Identity, job: Job, *, preset: str = "") -> Wizard:
        """The form that would make `job` again; with `preset` under that one, without the job's own changes."""
        spec = job.spec
        wizard = cls(
            by=by,
            task=catalog.tasks()[job.task],
            dataset=spec["dataset"]["ref"],
            base_model=spec["base_model"]["id"],
            clone=job.public_id,
        )
        wizard._fill(preset or job.preset, job.model_name)
        if spec.get("budget_s"):
            wizard.budget = f"{spec['budget_s'] / 60:g}"
        if preset and preset == wizard.preset:
            return wizard
        defaults = wizard.task.params.model_validate(wizard.base_values).model_dump(mode="json")
        wizard.changes = {name: value for name, value in spec["params"].items() if defaults.get(name) != value}
        return wizard

    @classmethod
    def posted(cls, by: Identity, data: QueryDict) -> Wizard:
        """The form as sent. Another preset or task than the one shown begins with that one's values."""
        task = catalog.tasks().get(data.get("task", "")) or _usual_task()
        wizard = cls(
            by=by,
            task=task,
            dataset=data.get("dataset", ""),
            base_model=data.get("base_model", ""),
            model_name=data.get("model_name", "").strip(),
            suggested_name=data.get("suggested_name", ""),
            preset=data.get("preset", ""),
            budget=data.get("budget_minutes", "").strip(),
            key=data.get("key", "")[:40] or new_id(),
            clone=data.get("clone", "")[:12],
        )
        if data.get("shown_preset", wizard.preset) == wizard.preset:
            wizard.changes = param_values(task.params, data, wizard.base_values)
        if wizard.model_name == wizard.suggested_name:
            wizard.model_name = wizard.suggested_name = wizard._suggestion()
        return wizard

    def _fill(self, preset: str, model_name: str) -> None:
        known = [item.id for item in self.task.presets]
        self.preset = preset if preset in known else ("balanced" if "balanced" in known else next(iter(known), ""))
        names = [model.name for model in self.base_models]
        if not self.base_model and names:
            self.base_model = names[0]
        if not self.dataset and self.datasets:
            self.dataset = self.datasets[0].ref
        self.suggested_name = self._suggestion()
        self.model_name = model_name or self.suggested_name

    def _suggestion(self) -> str:
        return self.dataset.partition("@")[0]

    # --- what it offers ---------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> list[TaskSpec]:
        return list(catalog.tasks().values())

    @cached_property
    def datasets(self) -> list[DatasetVersion]:
        return list(choices.datasets_offered(workspace=self.by.workspace, task=self.task.name))

    @cached_property
    def base_models(self) -> list[BaseModel]:
        return registry.base_models_of(self.by.workspace, task=self.task.name)

    @property
    def base_values(self) -> dict[str, Any]:
        return next((dict(item.values) for item in self.task.presets if item.id == self.preset), {})

    @property
    def preset_title(self) -> str:
        return next((_(item.title) for item in self.task.presets if item.id == self.preset), "")

    @property
    def dataset_version(self) -> DatasetVersion | None:
        return next((item for item in self.datasets if item.ref == self.dataset), None)

    @property
    def base_model_row(self) -> BaseModel | None:
        return next((item for item in self.base_models if item.name == self.base_model), None)

    @property
    def becomes(self) -> str:
        """What the model's name leads to."""
        model = choices.model_named(workspace=self.by.workspace, name=self.model_name) if self.model_name else None
        newest = choices.newest_version(model) if model else None
        if newest is not None:
            return _("Adds a version after %(ref)s.") % {"ref": newest.ref}
        return _("A new model.") if self.model_name else ""

    # --- the request ------------------------------------------------------------------------------------------------

    def body(self, *, preset: str | None = None) -> dict[str, Any]:
        """The JSON that the API would be sent; with `preset` the same choice of data under another preset."""
        body: dict[str, Any] = {
            "kind": "train",
            "task": self.task.name,
            "dataset": self.dataset,
            "base_model": self.base_model,
            "model_name": self.model_name,
        }
        if preset or self.preset:
            body["preset"] = preset or self.preset
        if self.changes and preset is None:
            body["params"] = self.changes
        if self.budget:
            body["budget_minutes"] = _number(self.budget)
        return body

    def request(self, *, preset: str | None = None) -> TrainRequest:
        """The request, raising Invalid with a message for each field that is missing or malformed."""
        try:
            return TrainRequest.model_validate(self.body(preset=preset))
        except ValidationError as error:
            messages = {
                "dataset": _("Choose a dataset version that is ready."),
                "base_model": _("Choose a base model."),
                "model_name": str(slug_validator.message),
                "budget_minutes": _("Give minutes as a number above 0, or leave it empty."),
            }
            fields = field_errors(error, messages)
            raise Invalid(next(iter(fields.values())), fields=fields) from None

    @property
    def start_key(self) -> str:
        """The same form with the same values starts one job, however often it is sent; changed values start another."""
        return f"{self.key}-{hashlib.sha256(repr(self.body()).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Review:
    """A wizard's request as the platform judges it now."""

    wizard: Wizard
    plan: Plan | None
    problems: list[Problem]
    warnings: list[Problem]
    params: ParamForm
    presets: list[PresetCard]

    @property
    def ready(self) -> bool:
        return not self.problems

    @property
    def errors(self) -> dict[str, str]:
        """The first message of each field."""
        found: dict[str, str] = {}
        for problem in self.problems:
            if problem.field:
                found.setdefault(problem.field, f"{problem.message} {problem.hint}".strip())
        return found

    @property
    def predicted(self) -> Mapping[str, float]:
        return self.plan.predicted if self.plan else {}

    @property
    def sample(self) -> Mapping[str, Any] | None:
        return self.plan.sample if self.plan else None

    @property
    def equivalent(self) -> Equivalent:
        return Equivalent(self.wizard.body(), f"{settings.PUBLIC_URL}/api/v1/jobs")

    @property
    def why_not(self) -> str:
        """The first reason why it cannot start."""
        return self._told(self.problems[0]) if self.problems else ""

    def _told(self, problem: Problem) -> str:
        """A problem's message; one of a parameter begins with the parameter's title."""
        for item in self.params.fields:
            if problem.field == item.input_name:
                return f"{item.title}: {item.error or problem.message}"
        return problem.message

    @property
    def points(self) -> list[Point]:
        """Why it is ready or not, one line each."""
        points = [Point("problem", self._told(problem), problem.hint, problem.field) for problem in self.problems]
        points += [Point("warning", problem.message, problem.hint, problem.field) for problem in self.warnings]
        if self.plan and self.plan.dataset and "dataset" not in self.errors:
            points += _dataset_points(self.plan.dataset)
        if self.ready:
            points.append(_start_point())
        return points


def review_of(wizard: Wizard) -> Review:
    """Judge the form through the service behind `POST /jobs/preview`."""
    plan: Plan | None = None
    problems: list[Problem] = []
    if not wizard.by.role.allows(Role.DEVELOPER):
        message = _("Starting a job needs the role %(role)s.") % {"role": Role.DEVELOPER.label}
        problems.append(Problem(code="forbidden", field="", message=message, hint=_("Ask an owner of the workspace.")))
    try:
        plan = job_preview(by=wizard.by, request=wizard.request())
        problems += plan.problems
    except Invalid as error:
        problems += [Problem(code=error.code, field=name, message=message) for name, message in error.fields.items()]
    errors = {
        item.field.removeprefix(PREFIX): f"{item.message} {item.hint}".strip()
        for item in reversed(problems)
        if item.field.startswith(PREFIX)
    }
    params = param_form(wizard.task.params, base=wizard.base_values, values=wizard.changes, errors=errors)
    presets = [PresetCard(item, item.id == wizard.preset, _cost(wizard, item.id)) for item in wizard.task.presets]
    return Review(wizard, plan, problems, plan.warnings if plan else [], params, presets)


def _cost(wizard: Wizard, preset: str) -> Mapping[str, float]:
    try:
        return job_preview(by=wizard.by, request=wizard.request(preset=preset)).predicted
    except Invalid:
        return {}


def _dataset_points(version: DatasetVersion) -> list[Point]:
    rows, classes = version.rows or 0, len(version.labels)
    detail = ngettext("%(rows)s rows, %(count)d class", "%(rows)s rows, %(count)d classes", classes)
    points = [
        Point("ok", _("%(ref)s is ready") % {"ref": version.ref}, detail % {"rows": f"{rows:,}", "count": classes})
    ]
    noted = [check for check in version.checks if check.get("severity") in {"warn", "warning", "fail"}]
    if noted:
        title = ngettext("%(count)d check has a remark", "%(count)d checks have remarks", len(noted))
        points.append(Point("info", title % {"count": len(noted)}, check_view(noted[0]).message))
    tested = int(version.splits.get("test") or version.splits.get("validation") or 0)
    if 0 < tested < SMALL_TEST_ROWS:
        margin = 196 * sqrt(0.09 / tested)
        detail = _("%(rows)d rows: an accuracy of 90 %% is known to ±%(margin).1f pp")
        points.append(Point("info", _("Small test part"), detail % {"rows": tested, "margin": margin}))
    return points


def _start_point() -> Point:
    slots = choices.slots_now()
    if slots.free > slots.queued:
        detail = _("%(free)d of %(total)d slots free, nothing queued before it")
        return Point("ok", _("Starts at once"), detail % {"free": slots.free, "total": slots.total})
    if slots.total == 0:
        return Point("warning", _("Waits in the queue"), _("No worker with a device reports in."))
    position = slots.queued + 1
    detail = _("%(free)d of %(total)d slots free") % {"free": slots.free, "total": slots.total}
    return Point("info", _("Queued (#%(position)d)") % {"position": position}, detail)


def _version_of(by: Identity, reference: str) -> DatasetVersion | None:
    name, _at, number = reference.partition("@")
    if not (number.isdigit() and len(number) < 10):
        return None
    rows = DatasetVersion.objects.select_related("dataset").filter(dataset__workspace=by.workspace)
    return rows.filter(dataset__name=name, number=int(number)).first()


def _usual_task() -> TaskSpec:
    tasks = catalog.tasks()
    return tasks.get("text_classification") or next(iter(tasks.values()))


def _number(text: str) -> Any:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return text
    return int(value) if value.is_integer() else value
