"""An ONNX graph with what precision needs of it: which node makes each tensor, and which tensors may be float16.

The types that a node supports are read from ONNX's own schemas, so no list of operators has to be maintained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from engines.errors import EngineError

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_OTHER_FLOATS = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "DeformConv"})
"""Operators that multiply by weights."""


class Wiring:
    """Nodes are given as indices of ``nodes``, tensors by name.

    Takes a float32 graph with its weights inside; raises :class:`EngineError` for any other. Constants become
    initializers; nothing else of ``model`` is changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        lift_constants(model.graph)
        self.model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        self.graph = self.model.graph
        self.nodes: Sequence[onnx.NodeProto] = self.graph.node
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.types = {tensor.name: tensor.data_type for tensor in self.graph.initializer} | {
            entry.name: entry.type.tensor_type.elem_type
            for entry in (*self.graph.input, *self.graph.output, *self.graph.value_info)
        }
        self._check()

    def _check(self) -> None:
        for name, kind in self.types.items():
            if kind in _OTHER_FLOATS:
                raise EngineError(
                    f"graph {self.graph.name}: tensor {name!r} is {onnx.TensorProto.DataType.Name(kind).lower()}; "
                    "precision is lowered from a float32 graph; export that one"
                )
        for node in self.nodes:
            if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
                raise EngineError(
                    f"graph {self.graph.name}: node {node.name!r} ({node.op_type}) contains a graph of its own, whose "
                    "types cannot be chosen here; export the network without control flow"
                )

    @cached_property
    def producer(self) -> dict[str, int]:
        """The node that computes each tensor, except graph inputs and initializers."""
        return {name: place for place, node in enumerate(self.nodes) for name in node.output if name}

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32."""
        return self.types.get(name) == FLOAT

    def convertible_inputs(self, place: int) -> list[int]:
        """Which inputs of a node may be float16: those that are float32 and whose schema allows it."""
        node = self.nodes[place]
        return [i for i, name in enumerate(node.input) if self.is_float(name) and self._may_be_half(node, i, "inputs")]

    def convertible_outputs(self, place: int) -> list[int]:
        """Which outputs of a node may be float16."""
        node = self.nodes[place]
        return [
            i for i, name in enumerate(node.output) if self.is_float(name) and self._may_be_half(node, i, "outputs")
        ]

    def _may_be_half(self, node: onnx.NodeProto, position: int, side: str) -> bool:
        schema = onnx.defs.get_schema(node.op_type, self.opset, node.domain)
        formal = getattr(schema, side)
        parameter = formal[min(position, len(formal) - 1)]  # the last one may be variadic
        allowed = {entry.type_param_str: entry.allowed_type_strs for entry in schema.type_constraints}
        return "tensor(float16)" in allowed.get(parameter.type_str, ())

    def weights_name(self, place: int) -> str:
        """The name of a convolution's weights, '' if they are computed."""
        name = str(self.nodes[place].input[1])
        return name if name in self.initializers else ""

    def upstream(self, names: Sequence[str], stop: Callable[[int], bool]) -> set[int]:
        """The nodes that compute ``names``, back to and including those where ``stop`` is true."""
        found: set[int] = set()
        waiting = [self.producer[name] for name in names if name in self.producer]
        while waiting:
            place = waiting.pop()
            if place in found:
                continue
            found.add(place)
            if not stop(place):
                waiting += [self.producer[name] for name in self.nodes[place].input if name in self.producer]
        return found


def lift_constants(graph: onnx.GraphProto) -> None:
    """Turn ``Constant`` nodes that hold a tensor into initializers."""
    lifted = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    for node in lifted:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def to_array(tensor: onnx.TensorProto) -> NDArray[Any]:
    """An initializer as an array."""
    return np.asarray(numpy_helper.to_array(tensor))
