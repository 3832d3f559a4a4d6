"""Batch normalisation that follows a convolution, multiplied into its weights.

PyTorch's exporter does so by itself unless a convolution is run several times, as FAMI-Pose's released code runs the
translation once a supporting frame.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float64]


def fold_normalisations(model: onnx.ModelProto) -> None:
    """Fold every BatchNormalization whose input is a convolution's that nothing else reads; in place."""
    graph = model.graph
    made_by = {node.output[0]: node for node in graph.node}
    readers = Counter(name for node in graph.node for name in node.input)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    folded = []
    for node in graph.node:
        conv = made_by.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is not None and conv.op_type == "Conv" and readers[conv.output[0]] == 1:
            _fold(graph, conv, node, weights)
            folded.append(node)
    for node in folded:
        graph.node.remove(node)
    _drop_unread(graph)


def _fold(
    graph: onnx.GraphProto, conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, onnx.TensorProto]
) -> None:
    kernel = _array(weights[conv.input[1]])
    bias = _array(weights[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(kernel))
    scale, shift = _affine(norm, weights)
    # By the name of what it makes: another run of the same convolution may be normalised otherwise.
    names = [f"{norm.output[0]}_weight", f"{norm.output[0]}_bias"]
    values = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1)), bias * scale + shift
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    given = [conv.input[0], *names]
    del conv.input[:]
    conv.input.extend(given)
    conv.output[0] = norm.output[0]


def _affine(norm: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> tuple[Floats, Floats]:
    """What normalisation multiplies by and adds, a channel; in float64, so that folding rounds once only."""
    gamma, beta, mean, variance = (_array(weights[name]) for name in norm.input[1:5])
    epsilon = next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _array(tensor: onnx.TensorProto) -> Floats:
    return np.asarray(numpy_helper.to_array(tensor), np.float64)


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {tensor.name for tensor in graph.output}
    for tensor in [entry for entry in graph.initializer if entry.name not in read]:
        graph.initializer.remove(tensor)
