"""The toy task as the platform sees it."""

from typing import Any, Literal

from pydantic import BaseModel

from modelkit.contracts import Column, Footprint, Metric, Params, Preset, Resources, TaskSpec, param


class ToyParams(Params):
    task: Literal["toy_counts"] = "toy_counts"
    steps: int = param(5, title="Steps", help="How many steps to take.", group="basic", ge=1, le=100_000)
    step_ms: int = param(1, title="Step", help="How long a step takes.", unit="ms", ge=0, le=10_000)
    checkpoint_every: int = param(5, title="Checkpoint", help="Steps between checkpoints.", ge=1)
    ending: Literal["succeed", "user_error", "crash", "disk_full", "memory", "exit", "children", "torch"] = param(
        "succeed", title="Ending", help="What happens after half of the steps."
    )


class Request(BaseModel):
    inputs: list[str]


class Response(BaseModel):
    outputs: list[dict[str, Any]]


def resources(params: Params, footprint: Footprint) -> Resources:
    assert isinstance(params, ToyParams)
    return Resources(memory_bytes=50_000_000, seconds=params.steps * params.step_ms / 1000, disk_bytes=100_000)


SPEC = TaskSpec(
    name="toy_counts",
    title="Toy counts",
    summary="Counts labels.",
    modality="text",
    columns=(Column("text", "Text", "text"), Column("label", "Label", "category")),
    params=ToyParams,
    presets=(
        Preset("instant", "Instant", "One step.", {"steps": 1}),
        Preset("balanced", "Balanced", "Some steps.", {"steps": 20}),
    ),
    base_models=(),
    metrics=(Metric("accuracy", "Accuracy", "Share of rows answered right."),),
    primary_metric="accuracy",
    request=Request,
    response=Response,
    example={"inputs": ["hello"]},
    widget="text_classification",
    export_formats=("json",),
    resources=resources,
)
