"""What the API of jobs reads and answers. The same request models serve the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
_REFERENCE = r"^[a-z0-9-]{1,63}@[a-z0-9-]{1,63}$"


def _reference(text: str) -> str:
    """Refuse what is no reference in words that say what one is: `tickets` alone is the likeliest mistake."""
    if not re.fullmatch(_REFERENCE, text):
        raise PydanticCustomError("reference", "Name a version, such as {example}", {"example": "tickets@1"})
    return text


Reference = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=127),
    AfterValidator(_reference),
    WithJsonSchema({"type": "string", "maxLength": 127, "pattern": _REFERENCE}),
]


class Request(Schema):
    """Base of everything read from a body: an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TrainRequest(Request):
    """A fine-tuning: `params` override the preset's values, the preset's override the task's defaults."""

    kind: Literal["train"]
    task: str = Field(max_length=63, examples=["text_classification"])
    dataset: Reference = Field(examples=["tickets@1"])
    base_model: str = Field(max_length=63, examples=["minilm-l6"])
    model_name: Slug = Field(examples=["intents"])
    preset: Annotated[str | None, Field(max_length=30, examples=["balanced"])] = None
    params: dict[str, Any] = Field(default_factory=dict)
    budget_minutes: Annotated[float | None, Field(gt=0, le=60 * 24 * 30)] = None
    title: Annotated[str, Field(max_length=200)] = ""
    priority: Annotated[int, Field(ge=-10, le=10)] = 0


class CompressRequest(Request):
    """A compression of a published version; the variant becomes a version of the same model."""

    kind: Literal["compress"]
    model: Reference = Field(examples=["intents@1"])
    method: str = Field(max_length=63, examples=["dynamic_int8"])
    params: dict[str, Any] = Field(default_factory=dict)
    title: Annotated[str, Field(max_length=200)] = ""
    priority: Annotated[int, Field(ge=-10, le=10)] = 0


class PredictRequest(Request):
    """Answers of a model to every row of a dataset version; a file is sent to `POST /jobs/predictions` instead."""

    kind: Literal["predict"]
    model: Reference = Field(examples=["intents@2"])
    dataset: Annotated[Reference | None, Field(examples=["tickets@1"])] = None
    split: Literal["all", "train", "validation", "test"] = "all"
    save_as: Annotated[
        Slug | None, Field(description="A dataset that gets a version with the answers as its classes.")
    ] = None
    title: Annotated[str, Field(max_length=200)] = ""
    priority: Annotated[int, Field(ge=-10, le=10)] = 0


@dataclass(frozen=True)
class StoredFile:
    """A received file in storage, with the columns of its roles. Made by us only: no request may name a key."""

    key: str
    name: str
    size_bytes: int
    sha256: str
    mapping: dict[str, str]
    options: dict[str, Any]


class PredictFileRequest(PredictRequest):
    """The same for a received file. Not part of `JobRequest`, since it holds a storage key."""

    file: StoredFile


JobRequest = Annotated[TrainRequest | CompressRequest | PredictRequest, Field(discriminator="kind")]


class CloneRequest(Request):
    """What shall differ from the job that is cloned; `params` are laid over its own."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    params: dict[str, Any] = Field(default_factory=dict)
    model_name: Slug | None = None
    dataset: Reference | None = None
    title: Annotated[str, Field(max_length=200)] = ""


class JobQuery(Request):
    """Filters of the list of jobs."""

    status: Literal["", "active", "queued", "running", "succeeded", "failed", "errored", "cancelled"] = ""
    kind: Literal["", "train", "compress", "predict"] = ""
    task: Annotated[str, Field(max_length=63)] = ""
    model: Annotated[str, Field(max_length=63)] = ""
    dataset: Annotated[str, Field(max_length=127)] = ""
    search: Annotated[str, Field(max_length=200)] = ""


class ModelRef(Schema):
    name: str
    version: int


class ErrorCard(Schema):
    code: str
    message: str
    hint: str = ""


class JobOut(Schema):
    """A job. While queued, `queue_position` counts from 1 and `waiting_reason` says what it waits for."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    number: int
    kind: str
    task: str
    title: str
    status: str
    phase: str
    progress: float
    eta_s: float | None
    queue_position: int | None
    waiting_reason: str | None
    attempt: int
    metrics: dict[str, float]
    metrics_split: str | None
    model: ModelRef | None
    error: ErrorCard | None
    mlflow_run_id: str | None
    model_name: str
    dataset: str | None
    base_model: str | None
    source: str | None
    method: str | None
    preset: str | None
    split: str | None = Field(description="Of a prediction: the split that was asked about, or `all`.")
    file: str | None = Field(description="Of a prediction: the name of the uploaded file.")
    result_dataset: str | None = Field(description="Of a prediction: the dataset version made of its answers.")
    params: dict[str, Any]
    seed: int
    predicted: dict[str, float]
    actual: dict[str, float]
    cancel_requested: bool
    can_resume: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Problem(Schema):
    """A reason why a job cannot start (or, as a warning, may not go well), with the field it is about."""

    code: str
    field: str
    message: str
    hint: str = ""


class SampleRow(Schema):
    text: str
    label: str
    characters: int


class CollatedRow(Schema):
    text: str
    label: str
    tokens: list[str]


class CollatedBatch(Schema):
    """Rows as the collator made them: `shape` is rows and tokens, padding included. Fractions are of all rows."""

    rows: list[CollatedRow]
    shape: list[int] = []
    max_length: int
    mean_tokens: float
    truncated_fraction: float
    unknown_fraction: float = 0.0


class FirstBatch(Schema):
    """The first rows as uploaded, and once a worker has made it the first batch as the collator hands it over."""

    rows: list[SampleRow]
    mean_characters: float
    max_characters: int
    tokens: CollatedBatch | None = None
    tokens_reason: str = Field(description="Why there are no tokens (yet); empty where there are.")


class Prediction(Schema):
    memory_bytes: int
    seconds: float
    disk_bytes: int


class PreviewOut(Schema):
    """Whether the job could start now, what it would cost, and what it would read first."""

    ready: bool
    reasons: list[Problem]
    warnings: list[Problem]
    prediction: Prediction | None
    params: dict[str, Any] | None
    first_batch: FirstBatch | None


class MetricPoint(Schema):
    t: float
    split: str
    step: int
    epoch: float | None = None
    values: dict[str, float]


class MetricPage(Schema):
    items: list[MetricPoint]
    next: int


class LogPage(Schema):
    items: list[str]
    next: int


class FieldOut(Schema):
    """A column role of a task."""

    role: str
    title: str
    kind: str
    required: bool


class MetricOut(Schema):
    name: str
    title: str
    help: str
    unit: str
    higher_is_better: bool


class PresetOut(Schema):
    id: str
    title: str
    summary: str
    values: dict[str, Any]


class TaskOut(Schema):
    name: str
    title: str
    summary: str
    modality: str
    columns: list[FieldOut]
    metrics: list[MetricOut]
    primary_metric: str
    presets: list[PresetOut]


class TaskDetail(TaskOut):
    """A task with the JSON schema of its parameters, from which the form is made as well."""

    params_schema: dict[str, Any]
    request_schema: dict[str, Any]
    response_schema: dict[str, Any]
    example: dict[str, Any]
    export_formats: list[str]


class TaskPage(Schema):
    items: list[TaskOut]
    next: str | None = None
