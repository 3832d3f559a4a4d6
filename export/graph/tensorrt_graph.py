"""Changes a standard graph into one that TensorRT's parser accepts and that computes the same.

* uint8 pixels are cast to float32 first: TensorRT supports uint8 as a network input and in no other layer;
* ``--plugin fused``: our kernel in place of ``DeformConv``; ``--plugin nvidia``: the standard nodes stay, and what
  the parser's importer requires of them is checked here, where the error can name the node;
* every node has a unique name, by which the types in the built engine are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from engines.backends.trt.artifacts import Type
from engines.backends.trt.options import Plugin
from engines.errors import EngineError
from engines.plugins.deform_conv.settings import DOMAIN, format_settings, parse_settings
from export.graph.deform_fusion import fuse
from export.graph.editing import copy_proto, prune

FLOAT, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "DeformConv"})
_TYPES: dict[int, Type] = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
}
_BIAS = 3


@dataclass(frozen=True)
class TensorRTGraph:
    """The graph, the settings of its plugin nodes (each once), and the type that each product must run in."""

    model: onnx.ModelProto
    kernels: tuple[str, ...]
    types: dict[str, Type]


def make_tensorrt_graph(model: onnx.ModelProto, plugin: Plugin, base: Path) -> TensorRTGraph:
    """``model``, whose external weights lie in ``base``, for TensorRT; ``model`` itself is not changed.

    Raises :class:`EngineError` naming a node that TensorRT cannot import.
    """
    changed = onnx.shape_inference.infer_shapes(model)
    name_nodes(changed.graph)
    cast_pixels_first(changed.graph)
    specs = fuse(changed, base) if plugin == "fused" else ()
    check_importable(changed.graph)
    types = find_types(changed.graph)
    del changed.graph.value_info[:]
    prune(changed)
    return TensorRTGraph(changed, tuple(dict.fromkeys(map(format_settings, specs))), types)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a unique name."""
    names: set[str] = set()
    for place, node in enumerate(graph.node):
        if not node.name or node.name in names:
            node.name = f"{node.op_type}_{place}_{node.output[0]}"
        names.add(node.name)


def cast_pixels_first(graph: onnx.GraphProto) -> None:
    """Cast every uint8 input to float32 before anything else reads it.

    Nodes that moved or picked bytes then do so with floats, and the cast further down does nothing any more.
    """
    pixels = [entry.name for entry in graph.input if entry.type.tensor_type.elem_type == UINT8]
    for name in pixels:
        cast = f"{name}_fp32"
        for node in graph.node:
            _rename_inputs(node, name, cast)
        graph.node.insert(0, helper.make_node("Cast", [name], [cast], name=f"cast_{name}", to=FLOAT))


def _rename_inputs(node: onnx.NodeProto, old: str, new: str) -> None:
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new


def check_importable(graph: onnx.GraphProto) -> None:
    """Raise :class:`EngineError` for a standard ``DeformConv`` that TensorRT's importer (10.1 and on) refuses.

    It requires one type for all inputs, float32 or float16, the same padding at opposite sides, and a bias if there
    is a mask.
    """
    types = _find_element_types(graph)
    for node in graph.node:
        if node.op_type == "DeformConv" and (reason := _find_import_problem(node, types)):
            raise EngineError(
                f"TensorRT cannot import node {node.name!r} (DeformConv): {reason}; export with --plugin fused, "
                "or use backend=onnxrt"
            )


def _find_import_problem(node: onnx.NodeProto, types: dict[str, int]) -> str:
    kinds = {types[name] for name in node.input if name in types}
    if len(kinds) > 1:
        return f"its inputs have {len(kinds)} types, it supports one"
    pads = next((list(entry.ints) for entry in node.attribute if entry.name == "pads"), [])
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        return f"its padding {pads} is not the same at opposite sides"
    if len(node.input) > _BIAS and not node.input[_BIAS]:
        return "it has a mask and no bias"
    return ""


def find_types(graph: onnx.GraphProto) -> dict[str, Type]:
    """The type that each convolution and matrix product must run in, by the name of its node.

    A product of dequantised numbers runs in int8; TensorRT moves the scales to its end.
    """
    types = _find_element_types(graph)
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found: dict[str, Type] = {}
    for node in graph.node:
        if node.domain == DOMAIN:
            found[node.name] = parse_settings(_read_settings(node)).dtype
        elif node.op_type in _PRODUCTS and dequantised.issuperset(node.input[:2]):
            found[node.name] = "int8"
        elif node.op_type in _PRODUCTS and types.get(node.input[0]) in _TYPES:
            found[node.name] = _TYPES[types[node.input[0]]]
    return found


def _read_settings(node: onnx.NodeProto) -> str:
    return next(entry.s.decode() for entry in node.attribute if entry.name == "settings")


def _find_element_types(graph: onnx.GraphProto) -> dict[str, int]:
    entries = (*graph.input, *graph.output, *graph.value_info)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in entries}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def structure_digest(model: onnx.ModelProto) -> str:
    """The sha256 of a graph without the values of its weights: the same for every checkpoint of one network."""
    bare = copy_proto(model)
    _clear_values(bare.graph.initializer)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _clear_values(tensors: Iterable[onnx.TensorProto]) -> None:
    for tensor in tensors:
        if tensor.data_type not in (FLOAT, onnx.TensorProto.FLOAT16):
            continue  # shapes and indices are structure
        for field in ("raw_data", "float_data", "int32_data", "external_data", "data_location"):
            tensor.ClearField(field)
