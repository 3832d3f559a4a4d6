"""What a graph really runs in: multiplications counted by type, and the proof that the precision asked for is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx

from engines.errors import EngineError
from export.precision.wiring import FLOAT, HALF, copy_of

Kind = Literal["float32", "float16", "int8"]

LEAST = 0.9
"""The least share of the multiplications that may run in a precision which must run in it."""

_KINDS: dict[int, Kind] = {FLOAT: "float32", HALF: "float16"}


@dataclass(frozen=True)
class Layer:
    """One node: ``macs`` multiply-accumulates for one person, 0 where it multiplies by no weights."""

    name: str
    operator: str
    kind: Kind
    macs: int


def name_of(node: onnx.NodeProto) -> str:
    """A node's name, or what it makes where it has none."""
    return str(node.name or node.output[0])


def layers(model: onnx.ModelProto) -> list[Layer]:
    """Every node that computes with floats, in order; changes of type are none."""
    graph = _with_one_person(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.input, *graph.output, *graph.value_info):
        types[entry.name] = entry.type.tensor_type.elem_type
        shapes[entry.name] = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [
        Layer(name_of(node), node.op_type, _kind(node, types, dequantised), _macs(node, shapes))
        for node in graph.node
        if node.op_type not in ("Cast", "QuantizeLinear", "DequantizeLinear") and types.get(node.output[0]) in _KINDS
    ]


def counts(model: onnx.ModelProto) -> Counter[tuple[str, Kind]]:
    """How many nodes of each operator run in which type."""
    return Counter((layer.operator, layer.kind) for layer in layers(model))


def shares(model: onnx.ModelProto) -> dict[Kind, float]:
    """The share of multiply-accumulates in each type."""
    found: Counter[Kind] = Counter()
    for layer in layers(model):
        found[layer.kind] += layer.macs
    return {kind: macs / max(1, found.total()) for kind, macs in found.items()}


def prove(model: onnx.ModelProto, kind: Kind, deserving: Collection[str], least: float = LEAST) -> None:
    """Raise :class:`EngineError` unless the share ``least`` of the work of the layers ``deserving`` runs in ``kind``.

    What a rule keeps in float32 is for the caller to leave out; what was kept for its range, or by a fault, is found.
    """
    concerned = [layer for layer in layers(model) if layer.name in deserving]
    work = sum(layer.macs for layer in concerned)
    others = [layer for layer in concerned if layer.kind != kind]
    share = 1 - sum(layer.macs for layer in others) / work if work else 1.0
    if share < least:
        first = max(others, key=lambda layer: layer.macs)
        raise EngineError(
            f"graph {model.graph.name}: {kind} was asked for, and {100 * share:.0f} % of the multiplications that "
            f"could run in it do ({first.operator} {first.name!r} runs in {first.kind}): its values leave the range "
            "on the frames given; give frames like those to come, or export fp32"
        )


def _with_one_person(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with a batch of one, so that every shape is a number."""
    one = copy_of(model)
    one.graph.ClearField("value_info")
    for entry in (*one.graph.input, *one.graph.output):
        for dim in entry.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.dim_value = 1
    return onnx.shape_inference.infer_shapes(one, data_prop=True)


def _kind(node: onnx.NodeProto, types: dict[str, int], dequantised: set[str]) -> Kind:
    """int8 is what reads its input and its weights from a dequantisation: a GPU makes one kernel of the three."""
    if len(node.input) > 1 and dequantised.issuperset(node.input[:2]):
        return "int8"
    return _KINDS[types[node.output[0]]]


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    made = prod(shapes.get(node.output[0], ()))
    if node.op_type in ("Conv", "DeformConv"):
        return made * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul"):
        return made * _shared_side(node, shapes)
    return 0


def _shared_side(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many products each number of a matrix product adds up."""
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return shapes[node.input[0]][0 if transposed else -1]
