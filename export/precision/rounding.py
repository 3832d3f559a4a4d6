"""Simulates on a CPU how a GPU computes a float16 graph.

ONNX Runtime has no float16 kernels for convolutions on x86: it computes them in float32 without the roundings between
them, so a float16 graph is more accurate there than on any GPU. Here each result of a float16 node is rounded to
float16 and continued in float32, and sums are float32, as tensor cores compute node by node. A GPU that fuses nodes
rounds less often.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graph.editing import copy_proto
from export.precision.wiring import FLOAT, HALF, to_array

_ROUNDED = "_rounded"


def round_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` computed in float32 and rounded wherever it is float16; its inputs and outputs are unchanged."""
    halves = _find_halves(model)
    result = copy_proto(model)
    for field in ("node", "initializer", "value_info"):
        result.graph.ClearField(field)
    outputs = {entry.name for entry in model.graph.output}
    result.graph.node.extend(_cast_inputs(model))
    for node in model.graph.node:
        result.graph.node.extend(_round_node(node, halves, outputs))
    result.graph.initializer.extend(_widen(tensor) for tensor in model.graph.initializer)
    onnx.checker.check_model(result, full_check=True)
    return result


def _find_halves(model: onnx.ModelProto) -> set[str]:
    """The float16 tensors among inputs and results of nodes."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    entries = (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)
    return {entry.name for entry in entries if entry.type.tensor_type.elem_type == HALF}


def _widen(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type != HALF:
        return tensor
    return numpy_helper.from_array(to_array(tensor).astype(np.float32), tensor.name)


def _cast_inputs(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for entry in model.graph.input:
        if entry.type.tensor_type.elem_type == HALF:
            yield helper.make_node("Cast", [entry.name], [entry.name + _ROUNDED], to=FLOAT)


def _round_node(node: onnx.NodeProto, halves: set[str], outputs: set[str]) -> Iterator[onnx.NodeProto]:
    """``node`` on the widened tensors, and the rounding of each of its float16 results."""
    wide = copy_proto(node)
    for i, name in enumerate(node.input):
        if name in halves:
            wide.input[i] = name + _ROUNDED
    results = [name for name in node.output if name in halves]
    for i, name in enumerate(node.output):
        if name in halves:
            wide.output[i] = name + "_wide"
    if node.op_type == "Cast" and results:
        wide.attribute[0].i = FLOAT
    yield wide
    for name in results:
        half = name if name in outputs else name + "_half"
        yield helper.make_node("Cast", [name + "_wide"], [half], to=HALF)
        yield helper.make_node("Cast", [half], [name + _ROUNDED], to=FLOAT)
