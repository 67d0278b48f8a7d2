"""Writes the INT8 variant of a bundle with ONNX Runtime's quantizer, the only file that knows it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import cast

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from modelkit import bundle as bundles
from modelkit.compression.dynamic_int8.spec import Params
from modelkit.contracts import DatasetRef, RunContext
from modelkit.contracts import Params as BaseParams
from modelkit.errors import UserError

log = logging.getLogger(__name__)

GRAPH = "model.int8.onnx"


def apply(ctx: RunContext, bundle: Path, target: Path, params: BaseParams, calibration: DatasetRef | None) -> None:
    """See `modelkit.contracts.Apply`. The weights for further training stay behind: they are the parent's."""
    options = cast(Params, params)
    manifest = bundles.read(bundle)
    target.mkdir(parents=True)
    for file in manifest.files:
        if file.path == manifest.graph or file.path.endswith(".safetensors"):
            continue
        destination = target / file.path
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / file.path, destination)
    _quantize(bundle / manifest.graph, target / GRAPH, options)
    before, after = (bundle / manifest.graph).stat().st_size, (target / GRAPH).stat().st_size
    log.info("Graph: %d bytes, before %d (%.3f)", after, before, after / before)
    if after >= before:
        raise UserError(
            "nothing_to_compress",
            "In eight bits the graph would be no smaller: the model has too few weights for what their scales cost.",
            "Keep the model as it is, or choose another method.",
        )
    # A row's neighbours would share its activation scale, so that answers would depend on them.
    preprocessing = {**manifest.preprocessing, "chunk_rows": 1}
    bundles.seal(
        target,
        manifest.model_copy(update={"graph": GRAPH, "precision": "int8", "preprocessing": preprocessing}),
    )


def _quantize(source: Path, target: Path, params: Params) -> None:
    graph = onnx.load(source)
    # Shapes of intermediate values, as a dynamo export notes them, contradict what the quantizer infers.
    del graph.graph.value_info[:]
    operators = ["MatMul", "Gemm", "Attention"] + (["Gather"] if params.embeddings else [])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        cleared = Path(folder) / "cleared.onnx"
        onnx.save(graph, cleared)
        logging.disable(logging.WARNING)  # the quantizer logs a line for each node to the root logger
        try:
            quantize_dynamic(
                cleared,
                target,
                op_types_to_quantize=operators,
                per_channel=params.per_channel,
                reduce_range=False,  # for processors without VNNI only; costs a bit of every weight
                weight_type=QuantType.QInt8,
                extra_options={"WeightSymmetric": True, "MatMulConstBOnly": True},
            )
        finally:
            logging.disable(logging.NOTSET)
