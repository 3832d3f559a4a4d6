"""Folds batch normalisation into the convolution before it.

PyTorch's exporter does this unless a convolution runs several times, as in FAMI-Pose's released code, which runs the
translation once for each supporting frame.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.graph.editing import prune

Floats = NDArray[np.float64]


def fold_normalisations(model: onnx.ModelProto) -> None:
    """Fold every BatchNormalization that alone reads a convolution's output, in place."""
    graph = model.graph
    producers = {node.output[0]: node for node in graph.node}
    readers = Counter(name for node in graph.node for name in node.input)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    folded = []
    for node in graph.node:
        conv = producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is not None and conv.op_type == "Conv" and readers[conv.output[0]] == 1:
            _fold(graph, conv, node, weights)
            folded.append(node)
    for node in folded:
        graph.node.remove(node)
    prune(model)


def _fold(
    graph: onnx.GraphProto, conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, onnx.TensorProto]
) -> None:
    kernel = _to_array(weights[conv.input[1]])
    bias = _to_array(weights[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(kernel))
    scale, shift = _scale_and_shift(norm, weights)
    # Named after the output: another run of the same convolution may be normalised differently.
    names = [f"{norm.output[0]}_weight", f"{norm.output[0]}_bias"]
    values = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1)), bias * scale + shift
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    inputs = [conv.input[0], *names]
    del conv.input[:]
    conv.input.extend(inputs)
    conv.output[0] = norm.output[0]


def _scale_and_shift(norm: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> tuple[Floats, Floats]:
    """Scale and shift of each channel, in float64, so that folding rounds only once."""
    gamma, beta, mean, variance = (_to_array(weights[name]) for name in norm.input[1:5])
    epsilon = next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _to_array(tensor: onnx.TensorProto) -> Floats:
    return np.asarray(numpy_helper.to_array(tensor), np.float64)
