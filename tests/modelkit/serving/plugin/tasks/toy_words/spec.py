"""A task whose model counts words, for tests of serving: it loads in no time and misbehaves on request."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modelkit.contracts import Column, Metric, Params, Preset, Resources, TaskSpec


class ToyParams(Params):
    """None."""


class Request(BaseModel):
    inputs: list[str]


class Response(BaseModel):
    outputs: list[dict[str, Any]]


SPEC = TaskSpec(
    name="toy_words",
    title="Toy words",
    summary="Counts words.",
    modality="text",
    columns=(Column("text", "Text", "text"), Column("label", "Label", "category")),
    params=ToyParams,
    presets=(Preset("only", "Only", "The only one.", {}),),
    base_models=(),
    metrics=(Metric("accuracy", "Accuracy", "Part of the rows answered right."),),
    primary_metric="accuracy",
    request=Request,
    response=Response,
    example={"inputs": ["refund please"]},
    widget="text",
    export_formats=("onnx",),
    resources=lambda params, footprint: Resources(0, 0.0, 0),
)
