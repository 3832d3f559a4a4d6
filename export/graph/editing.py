"""Editing ONNX graphs: copies, and removal of outputs and of what nothing else needs."""

from __future__ import annotations

from typing import Any, TypeVar

import onnx

P = TypeVar("P")


def copy_proto(proto: P) -> P:
    """An independent copy of a model, a graph, a node or a tensor."""
    copy: Any = type(proto)()
    copy.CopyFrom(proto)
    return copy  # type: ignore[no-any-return]


def remove_output(model: onnx.ModelProto, name: str) -> None:
    """Remove an output, and the nodes and weights that only it needs."""
    kept = [tensor for tensor in model.graph.output if tensor.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    prune(model)


def prune(model: onnx.ModelProto) -> None:
    """Remove nodes and weights that no output needs."""
    needed = {tensor.name for tensor in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):  # in order of computation, as ONNX requires
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    if len(nodes) < len(model.graph.node):
        copies = [copy_proto(node) for node in reversed(nodes)]
        del model.graph.node[:]
        model.graph.node.extend(copies)
    if len(weights) < len(model.graph.initializer):
        kept = [copy_proto(tensor) for tensor in weights]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
