"""Removing outputs of an ONNX graph, and what nothing else needs."""

from __future__ import annotations

import onnx


def without_output(model: onnx.ModelProto, name: str) -> None:
    """Leave an output away, and the nodes that made nothing else."""
    kept = [tensor for tensor in model.graph.output if tensor.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    prune(model)


def prune(model: onnx.ModelProto) -> None:
    """Leave away nodes and weights that no output needs."""
    needed = {tensor.name for tensor in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):  # in order of computation, as ONNX demands
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    if len(nodes) < len(model.graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(nodes)]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    if len(weights) < len(model.graph.initializer):
        weights = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in weights]
        del model.graph.initializer[:]
        model.graph.initializer.extend(weights)
