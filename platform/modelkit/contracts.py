"""What a task, a compression method and a serving back end must provide. Light: imports no implementation.

`Params` of a task or method is the one definition from which the form, the API body and the worker's validation come.
Heavy halves are found by name: see `modelkit.catalog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

# --- parameters -----------------------------------------------------------------------------------------------------

Group = Literal["basic", "advanced"]


class Params(BaseModel):
    """Base of every task's and method's parameters: frozen, and an unknown key is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def param(default: Any, *, title: str, help: str, group: Group = "advanced", unit: str = "", **bounds: Any) -> Any:
    """A parameter field; title, help, group and unit travel in the JSON schema to the form and the reference."""
    return Field(default, title=title, description=help, json_schema_extra={"group": group, "unit": unit}, **bounds)


# --- what a task says of itself -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A role that a dataset column can play.

    `synonyms` are lower-case header names that map to the role without asking. `kind` decides how cells are read.
    """

    role: str
    title: str
    kind: Literal["text", "category", "number", "file"]
    required: bool = True
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A number that evaluation reports. A `fraction` is shown as a percentage, its deltas in percentage points."""

    name: str
    title: str
    help: str
    unit: Literal["fraction", "nats", "ms", "bytes", "rows/s", ""] = "fraction"
    higher_is_better: bool = True


@dataclass(frozen=True)
class Preset:
    """A named starting point; `values` override the defaults of `Params`."""

    id: str
    title: str
    summary: str
    values: Mapping[str, Any]
    icon: str = "adjustments"


@dataclass(frozen=True)
class BundledBaseModel:
    """A base model that comes with an installed Python package, so that it needs no network.

    The weights are the folder `path` inside the package `package`. It is offered where the package is installed.
    """

    id: str
    title: str
    package: str
    path: str
    revision: str
    parameters: int
    size_bytes: int
    licence: str
    languages: tuple[str, ...]


@dataclass(frozen=True)
class Resources:
    """A prediction made before start, compared with the truth after it. `phases` are parts of `seconds` by phase."""

    memory_bytes: int
    seconds: float
    disk_bytes: int
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Footprint:
    """What `TaskSpec.resources` may know of the work ahead; all counts are of the real dataset and base model."""

    rows_train: int
    rows_validation: int
    rows_test: int
    classes: int
    mean_tokens: float
    parameters: int
    weights_bytes: int
    cores: int


@dataclass(frozen=True)
class TaskSpec:
    """A machine-learning task as the platform sees it. `name` is the folder's name under `modelkit/tasks/`.

    `resources(params, footprint)` predicts memory, time and disk. `example` is a valid request for `request`.
    """

    name: str
    title: str
    summary: str
    modality: Literal["text", "image", "audio", "tabular", "time_series", "multimodal"]
    columns: tuple[Column, ...]
    params: type[Params]
    presets: tuple[Preset, ...]
    base_models: tuple[BundledBaseModel, ...]
    metrics: tuple[Metric, ...]
    primary_metric: str
    request: type[BaseModel]
    response: type[BaseModel]
    example: Mapping[str, Any]
    widget: str
    export_formats: tuple[str, ...]
    resources: Callable[[Params, Footprint], Resources]

    def preset(self, preset_id: str) -> Preset:
        """The preset named so; raises KeyError."""
        for preset in self.presets:
            if preset.id == preset_id:
                return preset
        raise KeyError(preset_id)

    def metric(self, name: str) -> Metric:
        """The metric named so; raises KeyError."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)


# --- what runs inside a job -----------------------------------------------------------------------------------------


@runtime_checkable
class Reporter(Protocol):
    """How code inside a job tells the outside what happens. Every call is cheap and never raises on a full queue."""

    def phase(self, name: str) -> None:
        """Enter a phase: one of `PHASES`."""

    def progress(
        self,
        fraction: float,
        *,
        step: int | None = None,
        steps: int | None = None,
        epoch: float | None = None,
        epochs: int | None = None,
        rows_per_s: float | None = None,
        eta_s: float | None = None,
    ) -> None:
        """How far the current job is, 0 to 1 over all phases."""

    def metrics(
        self, values: Mapping[str, float], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        """Numbers for the curves. `values` are bare metric names; `split` is train, validation or test."""

    def artifact(self, name: str, path: Path, *, kind: str) -> None:
        """A file for the job's page, e.g. `confusion`, `per_class`, `samples`, `first_batch`; JSON unless said."""

    def checkpoint(self, path: Path, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """A resumable checkpoint has been written and fsynced at `path`."""

    def notice(self, code: str, message: str, *, level: Literal["info", "warning"] = "info") -> None:
        """Something the user should know, e.g. a smaller micro-batch after running out of memory."""

    def should_stop(self) -> bool:
        """Whether a cancel or a checkpoint-and-stop was asked for; look at it once a step."""


#: Phases of a job in order; a kind uses those that apply to it. `queued` and `publishing` belong to the worker.
PHASES = (
    "queued",
    "preparing",
    "loading",
    "training",
    "compressing",
    "predicting",
    "evaluating",
    "exporting",
    "parity",
    "publishing",
)


@dataclass(frozen=True)
class RunContext:
    """What a recipe may use. `scratch` survives a restart of the job; checkpoints live in `scratch / "checkpoints"`."""

    scratch: Path
    device: str
    seed: int
    reporter: Reporter
    threads: int


@dataclass(frozen=True)
class DatasetRef:
    """A ready dataset version on this machine: `path` holds `rows.parquet` and `dataset.json` (see `modelkit.data`)."""

    ref: str
    path: Path
    digest: str


@dataclass(frozen=True)
class BaseModelRef:
    """A Hugging Face folder on this machine."""

    id: str
    path: Path
    revision: str


@dataclass(frozen=True)
class TrainJob:
    """The frozen specification of a training job, as the recipe receives it. `lineage` is copied into the manifest."""

    task: str
    params: Params
    dataset: DatasetRef
    base_model: BaseModelRef
    model_name: str
    budget_s: float | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a recipe returns: the bundle it wrote and the final metrics over `split`."""

    bundle: Path
    metrics: Mapping[str, float]
    split: Literal["test", "validation"]


class Recipe(Protocol):
    """`modelkit.tasks.<task>.train.run`: a whole training, read from top to bottom.

    Goes through `preparing`, `loading`, `training`, `evaluating`, `exporting` and `parity`; resumes from the newest
    checkpoint in `ctx.scratch` when there is one; raises `modelkit.errors.UserError` for what the user can mend and
    `modelkit.errors.Stopped` once `should_stop()` was honoured (checkpoint written first).

    Beside it a module may have `preview(ctx, job)`, which writes the artifact `first_batch` and trains nothing: what
    the wizard shows before the start. Without it the wizard says that the task has no preview.
    """

    def __call__(self, ctx: RunContext, job: TrainJob) -> Outcome: ...


# --- prediction -----------------------------------------------------------------------------------------------------


class Predictor(Protocol):
    """`modelkit.tasks.<task>.predict.Predictor(bundle: Path, threads: int = 1, session=None)`: how a bundle answers.

    Shared by evaluation, playground, serving and the pyfunc model; needs numpy, onnxruntime and tokenizers only.
    `predict(inputs)` equals `postprocess(forward(preprocess(inputs)))`; a batch of N equals N singles.
    """

    def warmup(self) -> None: ...

    def preprocess(self, inputs: Sequence[Any]) -> Any: ...

    def token_counts(self, batch: Any) -> Sequence[int]:
        """Tokens of each input of a preprocessed batch, without padding; empty for a model that knows none."""
        ...

    def uncut_token_counts(self, inputs: Sequence[Any]) -> Sequence[int]:
        """Tokens of each input before it is cut at the model's maximal length; empty for a model that knows none.

        Asked for only where an endpoint limits them, since it may tokenize a second time.
        """
        ...

    def forward(self, batch: Any) -> Any: ...

    def postprocess(self, raw: Any, *, scores: bool = True) -> list[dict[str, Any]]:
        """One answer for each input; without `scores` what nobody asked for may be left out."""
        ...

    def predict(self, inputs: Sequence[Any]) -> list[dict[str, Any]]: ...


class Embedder(Protocol):
    """What a predictor also is when its manifest tells an `embedding_width`: `embed(inputs)` gives a row for each."""

    def preprocess(self, inputs: Sequence[Any]) -> Any: ...

    def token_counts(self, batch: Any) -> Sequence[int]: ...

    def uncut_token_counts(self, inputs: Sequence[Any]) -> Sequence[int]: ...

    def forward_embeddings(self, batch: Any) -> Any:
        """Unit vectors (inputs, embedding width) in float32, in the order of the inputs."""
        ...

    def embed(self, inputs: Sequence[Any]) -> Any: ...


# --- compression ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Applies:
    """Whether a method applies to a bundle on a device; a refusal carries its reason in the user's words."""

    yes: bool
    reason: str = ""


@dataclass(frozen=True)
class CompressionSpec:
    """A compression method. `name` is the folder's name under `modelkit/compression/`.

    `applies(manifest, device)` is light: `manifest` is `modelkit.bundle.Manifest`.
    """

    name: str
    title: str
    summary: str
    family: Literal["quantization", "pruning", "distillation", "low_rank", "export"]
    params: type[Params]
    needs: frozenset[Literal["calibration_rows", "labels", "teacher", "gpu"]]
    applies: Callable[[Any, str], Applies]


class Apply(Protocol):
    """`modelkit.compression.<method>.apply.apply`: writes a new bundle folder at `target`, never in place."""

    def __call__(
        self, ctx: RunContext, bundle: Path, target: Path, params: Params, calibration: DatasetRef | None
    ) -> None: ...


# --- serving --------------------------------------------------------------------------------------------------------


class ServingBackend(Protocol):
    """Where revisions run. `apply` is declarative and idempotent: it states the whole desired set.

    Types are in `modelkit.serving.plan`. `local_process` writes the set for the serving agent on this host.
    """

    name: str

    def capabilities(self) -> frozenset[str]: ...

    def apply(self, desired: Any) -> None: ...

    def observe(self) -> Any: ...

    def endpoint(self, workspace: str, name: str) -> str: ...

    def logs(self, workspace: str, name: str, revision: int, *, lines: int = 200) -> list[str]: ...

    def remove(self, workspace: str, name: str) -> None: ...
