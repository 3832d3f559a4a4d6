"""Tiny graphs for the simulation, beside those of ``tests.engines.exports``: two maps of two types, odd tensors."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

FRAMES = 3
HEIGHT, WIDTH = 6, 7
"""A map of 3 x 6 x 7 halves takes 252 bytes: frames of it do not lie where TensorRT may write."""


def write_cut(folder: Path) -> Path:
    """Backbone, head and the two in one of a network that keeps one map in fp16 and one number in fp32 a frame."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = _tensor("crops", TensorProto.UINT8, ["n", HEIGHT, WIDTH, 3])
    windows = _tensor("crops", TensorProto.UINT8, ["n", FRAMES, HEIGHT, WIDTH, 3])
    points = _tensor("points", TensorProto.FLOAT, ["n", 3, 2])
    kept = _maps(["n"])
    taken = _maps(["n", FRAMES])
    _save(folder / "backbone.onnx", _backbone(1), [pixels], kept)
    _save(folder / "head.onnx", _head(), taken, [points])
    _save(folder / "fused.onnx", [*_backbone(2), *_head()], [windows], [points])
    return folder


def write_identity(path: Path, dtype: int, shape: list[int | str]) -> Path:
    """A graph that gives what it takes."""
    _save(
        path, [helper.make_node("Identity", ["x"], ["y"])], [_tensor("x", dtype, shape)], [_tensor("y", dtype, shape)]
    )
    return path


def _backbone(rows: int) -> list[onnx.NodeProto]:
    """Brightness of each channel as a map, and of the whole picture; ``rows`` axes lie before the picture's."""
    order = [*range(rows), rows + 2, rows, rows + 1]
    return [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=order),
        helper.make_node("Sqrt", ["planes"], ["roots"]),
        helper.make_node("Cast", ["roots"], ["maps_0"], to=TensorProto.FLOAT16),
        helper.make_node("ReduceMean", ["roots", *_constant("axes", [-3, -2, -1])], ["maps_1"], keepdims=0),
    ]


def _head() -> list[onnx.NodeProto]:
    """Means over each channel, weighted by the place of the frame in its window."""
    return [
        helper.make_node("Cast", ["maps_0"], ["head_floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["head_floats", *_constant("head_axes", [-2, -1])], ["means"], keepdims=0),
        helper.make_node("Unsqueeze", ["maps_1", *_constant("last", [-1])], ["whole"]),
        helper.make_node("Mul", ["means", "whole"], ["each"]),
        helper.make_node("Einsum", ["each", *_constant("weights", [1.0, -3.0, 0.5])], ["first"], equation="ntc,t->nc"),
        helper.make_node("Einsum", ["each", *_constant("others", [2.0, 0.25, 1])], ["second"], equation="ntc,t->nc"),
        helper.make_node("Unsqueeze", ["first", "last"], ["first_column"]),
        helper.make_node("Unsqueeze", ["second", "last"], ["second_column"]),
        helper.make_node("Concat", ["first_column", "second_column"], ["points"], axis=-1),
    ]


_CONSTANTS: dict[str, onnx.TensorProto] = {}


def _constant(name: str, values: list[int] | list[float]) -> tuple[str]:
    whole = all(isinstance(value, int) for value in values)
    kind = TensorProto.INT64 if whole else TensorProto.FLOAT
    _CONSTANTS[name] = helper.make_tensor(name, kind, [len(values)], values)
    return (name,)


def _maps(before: list[int | str]) -> list[onnx.ValueInfoProto]:
    return [
        _tensor("maps_0", TensorProto.FLOAT16, [*before, 3, HEIGHT, WIDTH]),
        _tensor("maps_1", TensorProto.FLOAT, before),
    ]


def _tensor(name: str, dtype: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> None:
    used = {name for node in nodes for name in node.input}
    constants = [_CONSTANTS[name] for name in sorted(used & _CONSTANTS.keys())]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
