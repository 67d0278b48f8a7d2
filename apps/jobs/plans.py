"""Turns a request into a plan: everything looked up, parameters validated, cost predicted, and what stands in the way.

The preview shows a plan; the creation of a job freezes it. Writes nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb
import psutil
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from pydantic import ValidationError

from apps.accounts.models import Workspace
from apps.core.errors import AppError, Invalid
from apps.core.wording import told
from apps.datasets.models import Dataset, DatasetVersion, VersionStatus
from apps.datasets.row_browser import rows_path
from apps.jobs.models import Device, JobKind
from apps.jobs.rules import param_remedy
from apps.jobs.schemas import CompressRequest, PredictFileRequest, PredictRequest, Problem, TrainRequest
from apps.jobs.selectors import inputs
from apps.jobs.selectors.queue import DEVICE_FRESH
from apps.jobs.selectors.timing import phase_key
from apps.registry.models import BaseModel, BaseModelStatus, ModelVersion, RegisteredModel
from modelkit import bundle, catalog
from modelkit.compression import cost
from modelkit.contracts import Footprint, Params, Resources, TaskSpec

#: Free bytes that must remain beyond what the job is predicted to write.
DISK_MARGIN_BYTES = 200 * 1024 * 1024


@dataclass
class Plan:
    """A job that could be. `problems` keep it from starting, `warnings` do not; `spec` is whole without problems."""

    kind: JobKind
    title: str = ""
    task: str = ""
    preset: str = ""
    model_name: str = ""
    priority: int = 0
    spec: dict[str, Any] = field(default_factory=dict)
    params: Params | None = None
    dataset: DatasetVersion | None = None
    base_model: BaseModel | None = None
    source: ModelVersion | None = None
    sample: dict[str, Any] | None = None
    predicted: dict[str, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    status: int = 422

    def refuse(self, code: str, field_: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(code=code, field=field_, message=message, hint=hint))

    def warn(self, code: str, field_: str, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(code=code, field=field_, message=message, hint=hint))

    def take(self, error: AppError) -> None:
        """Note an error of a look-up as a problem."""
        name = next(iter(error.fields), "")
        self.status = error.status
        self.refuse(error.code, name, error.message, error.hint)

    def raise_problems(self) -> None:
        """Raise the problems as one error that names each field."""
        if not self.problems:
            return
        first = self.problems[0]
        fields = {problem.field: problem.message for problem in self.problems if problem.field}
        status = self.status if len(self.problems) == 1 else 422
        raise Invalid(first.message, code=first.code, hint=first.hint, fields=fields, status=status)


AnyRequest = TrainRequest | CompressRequest | PredictRequest


def plan_of(*, workspace: Workspace, request: AnyRequest) -> Plan:
    """The plan of a request; never raises for what the user can mend, but notes it."""
    match request:
        case TrainRequest():
            plan = _plan_training(workspace, request)
        case CompressRequest():
            plan = _plan_compression(workspace, request)
        case PredictRequest():
            plan = _plan_prediction(workspace, request)
    plan.priority = request.priority
    plan.title = request.title.strip() or plan.title
    if not plan.problems:
        _look_at_the_machine(plan)
    return plan


def code_version() -> str:
    """The version of the code that will run, as installed."""
    try:
        return importlib.metadata.version("tuneyard")
    except importlib.metadata.PackageNotFoundError:
        return "checkout"


# --- training -------------------------------------------------------------------------------------------------------


def _plan_training(workspace: Workspace, request: TrainRequest) -> Plan:
    plan = Plan(kind=JobKind.TRAIN, task=request.task, model_name=request.model_name, preset=request.preset or "")
    task = catalog.tasks().get(request.task)
    if task is None:
        known = ", ".join(catalog.tasks())
        plan.refuse("task_unknown", "task", _("There is no task “%(name)s”.") % {"name": request.task}, known)
        return plan
    plan.params = _training_params(plan, task, request)
    try:
        plan.dataset = inputs.dataset_version_get(workspace=workspace, reference=request.dataset)
        _check_dataset(plan, task)
    except AppError as error:
        plan.take(error)
    try:
        plan.base_model = inputs.base_model_get(workspace=workspace, name=request.base_model)
        if plan.base_model.status != BaseModelStatus.READY:
            plan.refuse(
                "base_model_not_ready",
                "base_model",
                _("The base model %(name)s is not imported yet.") % {"name": plan.base_model.name},
                _("The page Base models shows how far it is, or why it failed."),
            )
        elif plan.base_model.tasks and request.task not in plan.base_model.tasks:
            plan.refuse("base_model_unfit", "base_model", _("This base model is not offered for the task."))
    except AppError as error:
        plan.take(error)
    other = (
        RegisteredModel.objects.filter(workspace=workspace, name=request.model_name).exclude(task=request.task).first()
    )
    if other is not None:
        message = _("The model “%(name)s” exists and answers another task.") % {"name": other.name}
        plan.refuse("model_of_another_task", "model_name", message, _("Choose another name."))
    if plan.problems or plan.params is None or plan.dataset is None or plan.base_model is None:
        return plan
    plan.title = f"{request.model_name} · {plan.base_model.title} · {plan.dataset.ref}"
    try:
        rows_path(plan.dataset)
    except AppError as error:
        plan.take(error)
        return plan
    plan.sample = inputs.dataset_sample(plan.dataset.prefix, plan.dataset.digest)
    plan.predicted = _predict(task, plan.params, plan.dataset, plan.base_model, plan.sample["mean_tokens"])
    params = plan.params.model_dump(mode="json")
    plan.spec = {
        "format": 1,
        "kind": "train",
        "task": request.task,
        "params": params,
        "model_name": request.model_name,
        "seed": int(params.get("seed", 0)),
        "code_version": code_version(),
        "dataset": {"ref": plan.dataset.ref, "prefix": plan.dataset.prefix, "digest": plan.dataset.digest},
        "base_model": {
            "id": plan.base_model.name,
            "path": plan.base_model.path,
            "revision": plan.base_model.revision,
        },
        "budget_s": request.budget_minutes * 60 if request.budget_minutes else None,
        "lineage": {
            "workspace": workspace.name,
            "dataset": plan.dataset.ref,
            "dataset_digest": plan.dataset.digest,
            "base_model": plan.base_model.name,
            "base_model_revision": plan.base_model.revision,
            **({"base_model_version": origin.ref} if (origin := plan.base_model.source_version) else {}),
            "code_version": code_version(),
        },
    }
    return plan


def _training_params(plan: Plan, task: TaskSpec, request: TrainRequest) -> Params | None:
    values: dict[str, Any] = {}
    if request.preset:
        try:
            values.update(task.preset(request.preset).values)
        except KeyError:
            known = ", ".join(preset.id for preset in task.presets)
            message = _("The task has no preset “%(name)s”.") % {"name": request.preset}
            plan.refuse("preset_unknown", "preset", message, _("Choose one of %(known)s.") % {"known": known})
            return None
    return _validate_params(plan, task.params, values | request.params)


def _validate_params(plan: Plan, model: type[Params], values: dict[str, Any]) -> Params | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for item in error.errors():
            path = ".".join(["params", *(str(part) for part in item["loc"])])
            if item["type"] == "extra_forbidden":
                known = ", ".join(model.model_fields)
                plan.refuse(
                    "param_unknown",
                    path,
                    _("There is no such parameter."),
                    _("Known are %(known)s.") % {"known": known},
                )
            else:
                remedy = param_remedy(model, str(item["loc"][0])) if item["loc"] else ""
                plan.refuse("param_invalid", path, item["msg"], remedy)
        return None


def _check_dataset(plan: Plan, task: TaskSpec) -> None:
    version = plan.dataset
    assert version is not None  # noqa: S101
    if version.dataset.task != task.name:
        message = _("%(ref)s is a dataset for another task.") % {"ref": version.ref}
        plan.refuse("dataset_of_another_task", "dataset", message)
    if version.status != VersionStatus.READY:
        message = _("%(ref)s is not ready: its status is %(status)s.")
        message %= {"ref": version.ref, "status": VersionStatus(version.status).label}
        plan.refuse("dataset_not_ready", "dataset", message, _("Open the dataset's page; it says what is missing."))


def _predict(
    task: TaskSpec, params: Params, version: DatasetVersion, base: BaseModel, mean_tokens: float
) -> dict[str, float]:
    footprint = Footprint(
        rows_train=int(version.splits.get("train", 0)),
        rows_validation=int(version.splits.get("validation", 0)),
        rows_test=int(version.splits.get("test", 0)),
        classes=len(version.labels),
        mean_tokens=mean_tokens,
        parameters=base.parameters,
        weights_bytes=base.size_bytes,
        cores=os.cpu_count() or 1,
    )
    resources = task.resources(params, footprint)
    return _told(resources)


def _told(resources: Resources) -> dict[str, float]:
    """A prediction as the row and the pages hold it: the whole, and the seconds of each phase."""
    return {
        "memory_bytes": int(resources.memory_bytes),
        "seconds": round(float(resources.seconds), 1),
        "disk_bytes": int(resources.disk_bytes),
        **{phase_key(name): round(float(seconds), 1) for name, seconds in resources.phases.items()},
    }


# --- compression ----------------------------------------------------------------------------------------------------


def _plan_compression(workspace: Workspace, request: CompressRequest) -> Plan:
    plan = Plan(kind=JobKind.COMPRESS)
    method = catalog.methods().get(request.method)
    if method is None:
        known = ", ".join(catalog.methods())
        message = _("There is no compression method “%(name)s”.") % {"name": request.method}
        plan.refuse("method_unknown", "method", message, _("Choose one of %(known)s.") % {"known": known})
    try:
        plan.source = inputs.source_version_get(workspace=workspace, reference=request.model)
    except AppError as error:
        plan.take(error)
    if method is None or plan.source is None:
        return plan
    source = plan.source
    plan.task, plan.model_name = source.model.task, source.model.name
    plan.params = _validate_params(plan, method.params, request.params)
    applies = method.applies(bundle.Manifest.model_validate(source.manifest), "cpu")
    if not applies.yes:
        plan.refuse("method_does_not_apply", "method", told(applies.reason))
    if plan.problems or plan.params is None:
        return plan
    plan.dataset = source.dataset_version
    plan.base_model = source.base_model
    plan.title = f"{source.ref} · {method.title}"
    dataset = plan.dataset
    tested = int(dataset.splits.get("test") or dataset.splits.get("validation") or 0) if dataset else 0
    plan.predicted = _told(
        cost.predict(
            bundle.Manifest.model_validate(source.manifest),
            rows=tested,
            parameters=plan.base_model.parameters if plan.base_model else 0,
            mean_tokens=_mean_tokens(dataset),
        )
    )
    plan.spec = {
        "format": 1,
        "kind": "compress",
        "task": plan.task,
        "method": request.method,
        "params": plan.params.model_dump(mode="json"),
        "model_name": plan.model_name,
        "seed": 0,
        "code_version": code_version(),
        "source": {"ref": source.ref, "digest": source.bundle_digest},
        "dataset": {"ref": dataset.ref, "prefix": dataset.prefix, "digest": dataset.digest} if dataset else None,
        "lineage": {
            "workspace": workspace.name,
            "parent": source.ref,
            "parent_digest": source.bundle_digest,
            "dataset": dataset.ref if dataset else None,
            "code_version": code_version(),
        },
    }
    return plan


# --- prediction -----------------------------------------------------------------------------------------------------


def _plan_prediction(workspace: Workspace, request: PredictRequest) -> Plan:
    plan = Plan(kind=JobKind.PREDICT)
    file = request.file if isinstance(request, PredictFileRequest) else None
    try:
        plan.source = inputs.source_version_get(workspace=workspace, reference=request.model)
        if request.dataset:
            plan.dataset = inputs.dataset_version_get(workspace=workspace, reference=request.dataset)
    except AppError as error:
        plan.take(error)
        return plan
    if plan.dataset is None and file is None:
        message = _("Say which rows are to be predicted.")
        hint = _("Name a dataset version, or send a file to POST /jobs/predictions.")
        plan.refuse("rows_missing", "dataset", message, hint)
        return plan
    source, task = plan.source, catalog.tasks().get(plan.source.model.task)
    if task is None:
        plan.refuse("task_unknown", "model", _("There is no task “%(name)s”.") % {"name": source.model.task})
        return plan
    plan.task, plan.model_name = task.name, source.model.name
    if plan.dataset is not None:
        _check_dataset(plan, task)
    other = Dataset.objects.filter(workspace=workspace, name=request.save_as or "").exclude(task=task.name).first()
    if other is not None:
        message = _("The dataset “%(name)s” exists and is for another task.") % {"name": other.name}
        plan.refuse("dataset_of_another_task", "save_as", message, _("Choose another name."))
    if plan.problems:
        return plan
    of = plan.dataset.ref if plan.dataset is not None else file.name if file is not None else ""
    plan.title = f"{source.ref} · {of}"
    size = file.size_bytes if file is not None else int((plan.dataset.rows if plan.dataset else 0) or 0) * 200
    # In memory: the model, and the libraries as measured. On disk: rows, parts, and the three files of the result.
    plan.predicted = {"memory_bytes": source.size_bytes + 450_000_000, "disk_bytes": 6 * size}
    version = plan.dataset
    plan.spec = {
        "format": 1,
        "kind": "predict",
        "task": plan.task,
        "params": {},
        "model_name": plan.model_name,
        "seed": 0,
        "code_version": code_version(),
        "source": {"ref": source.ref, "digest": source.bundle_digest},
        "dataset": {"ref": version.ref, "prefix": version.prefix, "digest": version.digest} if version else None,
        "file": asdict(file) if file is not None else None,
        "split": request.split,
        "save_as": request.save_as,
    }
    return plan


#: Tokens of a text where no dataset tells.
USUAL_TOKENS = 24.0


def _mean_tokens(dataset: DatasetVersion | None) -> float:
    try:
        return float(inputs.dataset_sample(dataset.prefix, dataset.digest)["mean_tokens"]) if dataset else USUAL_TOKENS
    except duckdb.Error:
        return USUAL_TOKENS  # its rows are gone: the job will say so, a prediction need not


# --- the machine ----------------------------------------------------------------------------------------------------


def _look_at_the_machine(plan: Plan) -> None:
    settings.JOBS_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.JOBS_DIR).free
    if plan.predicted.get("disk_bytes", 0) + DISK_MARGIN_BYTES > free:
        message = _("The disk has %(free)d MB left and the job needs about %(need)d MB.")
        message %= {"free": free // 1_000_000, "need": plan.predicted.get("disk_bytes", 0) // 1_000_000}
        plan.refuse("disk_low", "", message, _("Delete old jobs or dataset versions."))
    devices = Device.objects.filter(seen_at__gte=timezone.now() - DEVICE_FRESH)
    memory = max((device.memory_bytes for device in devices), default=0) or psutil.virtual_memory().total
    need = plan.predicted.get("memory_bytes", 0)
    if need > memory:
        message = _("The job is predicted to need %(need).1f GB of memory; the largest device has %(have).1f GB.")
        message %= {"need": need / 1e9, "have": memory / 1e9}
        plan.refuse(
            "memory_low", "", message, _("Choose a smaller batch, a shorter maximum length or a smaller model.")
        )
    if not devices:
        message = _("No worker reports in at present; the job will wait for one.")
        plan.warn("no_worker", "", message, _("Look at the page Workers."))
