"""Writes the INT8 variant of a bundle: matrix products by ONNX Runtime's quantizer, word tables row by row by us."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from modelkit import bundle as bundles
from modelkit.compression.dynamic_int8.spec import Params
from modelkit.contracts import DatasetRef, RunContext
from modelkit.contracts import Params as BaseParams
from modelkit.errors import UserError

log = logging.getLogger(__name__)

GRAPH = "model.int8.onnx"
#: Smaller tables are left alone: the nodes around them would cost more than they save.
MIN_TABLE_BYTES = 64 * 1024


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
    model = onnx.load(source)
    # Shapes of intermediate values, as a dynamo export notes them, contradict what the quantizer infers.
    del model.graph.value_info[:]
    if params.embeddings:
        quantize_tables(model.graph)
    # The last product makes the logits themselves: its few bytes are not worth their drift.
    outputs = {output.name for output in model.graph.output}
    last = [node.name for node in model.graph.node if outputs & set(node.output)]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnx.save(model, prepared)
        logging.disable(logging.WARNING)  # the quantizer logs a line for each node to the root logger
        try:
            quantize_dynamic(
                prepared,
                target,
                op_types_to_quantize=["MatMul", "Gemm"],
                nodes_to_exclude=last,
                per_channel=params.per_channel,
                reduce_range=False,  # for processors without VNNI only; costs a bit of every weight
                weight_type=QuantType.QInt8,
                extra_options={"WeightSymmetric": True, "MatMulConstBOnly": True},
            )
        finally:
            logging.disable(logging.NOTSET)


def quantize_tables(graph: onnx.GraphProto) -> int:
    """Store each large table that is looked up by rows as INT8 with a scale for each row; returns how many.

    ONNX Runtime's own quantizer gives a whole table one scale, which a few outlying words spoil for all others.
    Row by row, symmetric: Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019.
    """
    tables = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    done = 0
    for name, tensor in tables.items():
        nodes = uses.get(name, [])
        axis_is_rows = all(node.op_type == "Gather" and _axis(node) == 0 and node.input[0] == name for node in nodes)
        if not nodes or not axis_is_rows or tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        table = numpy_helper.to_array(tensor)
        if table.nbytes < MIN_TABLE_BYTES:
            continue
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127.0, np.finfo(np.float32).tiny)
        codes = np.clip(np.rint(table / scales), -127, 127).astype(np.int8)
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(codes, f"{name}_codes"))
        graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}_scales"))
        for node in nodes:
            _look_up_codes(graph, node, name)
        done += 1
    return done


def _axis(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)


def _look_up_codes(graph: onnx.GraphProto, node: onnx.NodeProto, table: str) -> None:
    """Replace one lookup of `table` by: rows of codes as floats, times their scales."""
    index, output = node.input[1], node.output[0]
    position = list(graph.node).index(node)
    parts = [
        helper.make_node("Gather", [f"{table}_codes", index], [f"{output}_codes"], axis=0),
        helper.make_node("Cast", [f"{output}_codes"], [f"{output}_floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scales", index], [f"{output}_scales"], axis=0),
        helper.make_node("Mul", [f"{output}_floats", f"{output}_scales"], [output]),
    ]
    graph.node.remove(node)
    for offset, part in enumerate(parts):
        part.name = f"{output}_row_scale_{offset}"
        graph.node.insert(position + offset, part)
