"""Counts the multiplications of a graph by type, and checks that it runs in the requested precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx

from engines.errors import EngineError
from export.graph.editing import copy_proto
from export.precision.wiring import FLOAT, HALF

Kind = Literal["float32", "float16", "int8"]

MIN_SHARE = 0.9
"""The least share of the multiplications that must run in a precision."""

_KINDS: dict[int, Kind] = {FLOAT: "float32", HALF: "float16"}


@dataclass(frozen=True)
class Layer:
    """One node with its ``macs``, multiply-accumulates for one person; 0 if it has no weights."""

    name: str
    operator: str
    kind: Kind
    macs: int


def node_name(node: onnx.NodeProto) -> str:
    """A node's name, or that of its output if it has none."""
    return str(node.name or node.output[0])


def list_layers(model: onnx.ModelProto) -> list[Layer]:
    """Every node that computes with floats, in order; changes of type do not count."""
    graph = _set_batch_to_one(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.input, *graph.output, *graph.value_info):
        types[entry.name] = entry.type.tensor_type.elem_type
        shapes[entry.name] = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [
        Layer(node_name(node), node.op_type, _find_kind(node, types, dequantised), _count_macs(node, shapes))
        for node in graph.node
        if node.op_type not in ("Cast", "QuantizeLinear", "DequantizeLinear") and types.get(node.output[0]) in _KINDS
    ]


def count_layers(model: onnx.ModelProto) -> Counter[tuple[str, Kind]]:
    """How many nodes of each operator run in each type."""
    return Counter((layer.operator, layer.kind) for layer in list_layers(model))


def compute_shares(model: onnx.ModelProto) -> dict[Kind, float]:
    """The share of multiply-accumulates in each type."""
    found: Counter[Kind] = Counter()
    for layer in list_layers(model):
        found[layer.kind] += layer.macs
    return {kind: macs / max(1, found.total()) for kind, macs in found.items()}


def check_precision(model: onnx.ModelProto, kind: Kind, expected: Collection[str], least: float = MIN_SHARE) -> None:
    """Raise :class:`EngineError` unless the share ``least`` of the work of the layers ``expected`` runs in ``kind``.

    The caller leaves out layers that a rule keeps in float32; those kept for their range, or by a fault, are found.
    """
    concerned = [layer for layer in list_layers(model) if layer.name in expected]
    work = sum(layer.macs for layer in concerned)
    others = [layer for layer in concerned if layer.kind != kind]
    share = 1 - sum(layer.macs for layer in others) / work if work else 1.0
    if share < least:
        first = max(others, key=lambda layer: layer.macs)
        raise EngineError(
            f"graph {model.graph.name}: {kind} was requested, but only {100 * share:.0f} % of the multiplications that "
            f"could run in it do ({first.operator} {first.name!r} runs in {first.kind}): its values leave the range "
            "on the given frames; give typical frames, or export fp32"
        )


def _set_batch_to_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with a batch of one, so that every shape is a number."""
    one = copy_proto(model)
    one.graph.ClearField("value_info")
    for entry in (*one.graph.input, *one.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.dim_value = 1
    return onnx.shape_inference.infer_shapes(one, data_prop=True)


def _find_kind(node: onnx.NodeProto, types: dict[str, int], dequantised: set[str]) -> Kind:
    """int8 if input and weights come from a dequantisation: a GPU makes one kernel of the three."""
    if len(node.input) > 1 and dequantised.issuperset(node.input[:2]):
        return "int8"
    return _KINDS[types[node.output[0]]]


def _count_macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    size = prod(shapes.get(node.output[0], ()))
    if node.op_type in ("Conv", "DeformConv"):
        return size * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul"):
        return size * _inner_size(node, shapes)
    return 0


def _inner_size(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many products are added for each number of a matrix product."""
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return shapes[node.input[0]][0 if transposed else -1]
