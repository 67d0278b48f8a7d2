"""What the platform knows of dynamic INT8 without importing any of it."""

from __future__ import annotations

from typing import Any, Literal

from modelkit.bundle import Manifest
from modelkit.contracts import Applies, CompressionSpec, param
from modelkit.contracts import Params as BaseParams
from modelkit.wording import say


class Params(BaseParams):
    """Which weights become eight bits wide."""

    method: Literal["dynamic_int8"] = "dynamic_int8"
    per_channel: bool = param(
        True,
        title="One scale per channel",
        help="A scale for each output channel instead of one per matrix: answers drift less, at the same speed.",
    )
    embeddings: bool = param(
        True,
        title="Quantize embeddings",
        help="Stores the word table in eight bits as well. Most of a small encoder's bytes are in it.",
        group="basic",
    )


def applies(manifest: Any, device: str) -> Applies:
    """To float32 graphs of ONNX Runtime, on a CPU."""
    assert isinstance(manifest, Manifest)  # noqa: S101 - the contract types it loosely to stay light
    if manifest.precision != "fp32":
        return Applies(
            False, say("The model is {precision} already; start from the fp32 version.", precision=manifest.precision)
        )
    if manifest.runtime != "onnxruntime" or not manifest.graph.endswith(".onnx"):
        return Applies(False, say("The bundle holds no ONNX graph."))
    if not device.startswith("cpu"):
        return Applies(False, say("ONNX Runtime runs dynamic INT8 on CPUs only; the job needs a CPU worker."))
    return Applies(True)


SPEC = CompressionSpec(
    name="dynamic_int8",
    title="Dynamic INT8",
    summary="Weights in eight bits, activations quantized on the fly. A quarter of the size; needs no data.",
    family="quantization",
    params=Params,
    needs=frozenset(),
    applies=applies,
)
