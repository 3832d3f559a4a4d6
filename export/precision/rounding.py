"""A float16 graph as a GPU computes it, run on a CPU.

ONNX Runtime has no float16 kernels for convolutions on x86: it computes them in float32 and leaves out every rounding
between them, so that a float16 graph looks better there than it is on any GPU. Here each value that a float16 node
makes is rounded to float16 and taken on in float32, and sums are float32: what tensor cores do, one node at a time. A
GPU that fuses nodes rounds less often.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.precision.wiring import FLOAT, HALF, value_of

_ROUNDED = "_rounded"


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with its inputs and outputs as they are, computed in float32, rounded where it says float16."""
    halves = _halves(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for field in ("node", "initializer", "value_info"):
        result.graph.ClearField(field)
    outputs = {entry.name for entry in model.graph.output}
    result.graph.node.extend(_inputs(model))
    for node in model.graph.node:
        result.graph.node.extend(_one(node, halves, outputs))
    result.graph.initializer.extend(_widened(tensor) for tensor in model.graph.initializer)
    onnx.checker.check_model(result, full_check=True)
    return result


def _halves(model: onnx.ModelProto) -> set[str]:
    """The tensors of type float16 that nodes make or the graph is given."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    entries = (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)
    return {entry.name for entry in entries if entry.type.tensor_type.elem_type == HALF}


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type != HALF:
        return tensor
    return numpy_helper.from_array(value_of(tensor).astype(np.float32), tensor.name)


def _inputs(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for entry in model.graph.input:
        if entry.type.tensor_type.elem_type == HALF:
            yield helper.make_node("Cast", [entry.name], [entry.name + _ROUNDED], to=FLOAT)


def _one(node: onnx.NodeProto, halves: set[str], outputs: set[str]) -> Iterator[onnx.NodeProto]:
    """``node`` on the widened tensors, and the rounding of each float16 it makes."""
    wide = onnx.NodeProto()
    wide.CopyFrom(node)
    for i, name in enumerate(node.input):
        if name in halves:
            wide.input[i] = name + _ROUNDED
    made = [name for name in node.output if name in halves]
    for i, name in enumerate(node.output):
        if name in halves:
            wide.output[i] = name + "_wide"
    if node.op_type == "Cast" and made:
        wide.attribute[0].i = FLOAT
    yield wide
    for name in made:
        half = name if name in outputs else name + "_half"
        yield helper.make_node("Cast", [name + "_wide"], [half], to=HALF)
        yield helper.make_node("Cast", [half], [name + _ROUNDED], to=FLOAT)
