"""Rewrites a float32 graph so that given nodes compute in float16, with a ``Cast`` wherever types meet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graph.editing import copy_proto
from export.precision.wiring import FLOAT, HALF, Wiring, to_array

_SUFFIX = {FLOAT: "_fp32", HALF: "_fp16"}


def retype(wiring: Wiring, half: set[int], half_interface: Iterable[str] = ()) -> onnx.ModelProto:
    """The graph with the nodes ``half`` in float16; ``half_interface`` names graph inputs and outputs to be float16.

    It is checked before it is returned: every type is inferred again from ONNX's schemas.
    """
    graph = _Retyping(wiring, set(half_interface)).run(half)
    model = copy_proto(wiring.model)
    model.graph.CopyFrom(graph)
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model)
    return model


class _Retyping:
    """One rewrite: ``names`` maps a tensor and a type to the name of the tensor in that type."""

    def __init__(self, wiring: Wiring, half_interface: set[str]) -> None:
        self.wiring = wiring
        self.half_interface = half_interface
        self.outputs = {entry.name for entry in wiring.graph.output}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.names: dict[tuple[str, int], str] = {}

    def run(self, half: set[int]) -> onnx.GraphProto:
        for entry in self.wiring.graph.input:
            self.names[entry.name, self._interface_type(entry.name)] = entry.name
        for place in range(len(self.wiring.nodes)):
            self._add(place, HALF if place in half else FLOAT)
        for entry in self.wiring.graph.output:
            self._add_output(entry.name)
        return self._graph()

    def _interface_type(self, name: str) -> int:
        return HALF if name in self.half_interface else FLOAT

    def _add(self, place: int, kind: int) -> None:
        """Add the node with its floats in ``kind``."""
        node = copy_proto(self.wiring.nodes[place])
        convertible = set(self.wiring.convertible_inputs(place))
        for i, name in enumerate(node.input):
            if name and self.wiring.is_float(name):
                node.input[i] = self._get(name, kind if i in convertible else FLOAT)
        self.nodes.append(node)
        for i in self.wiring.convertible_outputs(place):
            node.output[i] = self._define(node.output[i], kind)

    def _define(self, name: str, kind: int) -> str:
        """The name of a tensor computed in ``kind``; a graph output keeps its name for its own type."""
        is_taken = name in self.outputs and kind != self._interface_type(name)
        self.names[name, kind] = name + _SUFFIX[kind] if is_taken else name
        return self.names[name, kind]

    def _get(self, name: str, kind: int) -> str:
        """The tensor ``name`` in ``kind``: itself, another constant, or a ``Cast`` that all readers share."""
        if (name, kind) not in self.names:
            tensor = self.wiring.initializers.get(name)
            self.names[name, kind] = self._cast(name, kind) if tensor is None else self._constant(tensor, kind)
        return self.names[name, kind]

    def _constant(self, tensor: onnx.TensorProto, kind: int) -> str:
        """A constant in ``kind``, under its own name if only one type of it is needed."""
        name = tensor.name + _SUFFIX[kind] if tensor.name in self.initializers else tensor.name
        value = to_array(tensor)
        self.initializers[name] = numpy_helper.from_array(value.astype(np.float16) if kind == HALF else value, name)
        return name

    def _cast(self, name: str, kind: int) -> str:
        other = FLOAT if kind == HALF else HALF
        is_output = name in self.outputs and kind == self._interface_type(name)
        result = name if is_output else name + _SUFFIX[kind]
        self.nodes.append(helper.make_node("Cast", [self.names[name, other]], [result], name=result, to=kind))
        return result

    def _add_output(self, name: str) -> None:
        if self.wiring.is_float(name):
            self._get(name, self._interface_type(name))

    def _graph(self) -> onnx.GraphProto:
        graph = copy_proto(self.wiring.graph)
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.node.extend(self.nodes)
        others = [tensor for tensor in self.wiring.graph.initializer if tensor.data_type != FLOAT]
        graph.initializer.extend([*self.initializers.values(), *others])
        for entry in (*graph.input, *graph.output):
            if entry.name in self.half_interface:
                entry.type.tensor_type.elem_type = HALF
        return graph
