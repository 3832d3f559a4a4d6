"""int8 for the backbone's convolutions: explicit, symmetric Q/DQ pairs, calibrated on given frames.

TensorRT 11 supports int8 only through ``QuantizeLinear`` and ``DequantizeLinear`` in the graph, with zero points
of 0. So that TensorRT can fuse:

* each quantisable convolution reads its input through one pair with one scale, shared by all readers of that tensor,
  and its weights through a ``DequantizeLinear`` with one scale per channel; they are stored as int8;
* a residual sum reads the block's input through the same pair and the other side directly from the convolution, so
  convolution, sum and ReLU become one kernel; biases stay floats, as the sums they are added to;
* everything else is float16 (:mod:`export.precision.fp16`) or, for CPUs, float32.

A scale covers the largest value seen; nothing is clipped. The peaks of a pose network's maps are one cell in
thousands, so methods that clip rare values to resolve the others (entropy, percentiles, least squares; onnxruntime has
the first two) clip the result: measured in docs/explanation/precision.md.

Not quantised: the first convolution (three channels, hardly any work, and all later layers depend on it); outputs,
cached maps, offsets, masks and grids (256 steps are too few for coordinates); depthwise convolutions (little work, and
their channels differ too much for one scale); and whatever stays float32 in float16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.errors import EngineError
from export.graph.editing import copy_proto, prune
from export.precision.fp16 import NO_SIZES, SAMPLERS, Sizes, find_float32_nodes, measure_sizes, to_mixed
from export.precision.ranges import Feed
from export.precision.wiring import Wiring, lift_constants, to_array

STEPS = 127
"""The largest int8, on both sides: symmetric."""
MIN_SCALE = 2.0**-24
"""The smallest float16 above 0: scales are float16 too."""

Rest = Literal["float16", "float32"]
Scales = dict[str, float]
"""The scale of a convolution's input, by the name of the convolution's weights."""

_MASK_OF_DEFORM_CONV = 4


def to_int8(
    model: onnx.ModelProto, feeds: Iterable[Feed], rest: Rest = "float16", only: Collection[str] | None = None
) -> onnx.ModelProto:
    """``model`` (float32, weights inside) with its convolutions in int8, calibrated on ``feeds`` (inputs by name).

    ``only`` names the weights that may be quantised; None means all that can be. Raises :class:`EngineError` for a
    graph that is not float32, without feeds, for feeds of another shape, and if no convolution can be quantised.
    """
    wiring = Wiring(copy_proto(model))
    sizes = measure_sizes(wiring, feeds)
    scales = compute_scales(wiring, sizes, only)
    if not scales:
        raise EngineError(f"graph {model.graph.name}: no convolution can be quantised to int8; export it as fp16")
    return quantise(model, scales, sizes, rest)


def compute_scales(wiring: Wiring, sizes: Sizes, only: Collection[str] | None = None) -> Scales:
    """The scales of all quantisable convolutions, from the largest values ``sizes`` of tensors."""
    chosen = {
        wiring.weights_name(place): sizes[wiring.nodes[place].input[0]]
        for place in find_quantisable(wiring, sizes)
        if only is None or wiring.weights_name(place) in only
    }
    return {weights: _round_up_to_float16(largest / STEPS) for weights, largest in chosen.items() if largest}


def quantise(
    model: onnx.ModelProto, scales: Scales, sizes: Sizes = NO_SIZES, rest: Rest = "float16"
) -> onnx.ModelProto:
    """``model`` with those convolutions in int8 whose weights are in ``scales``, and the others in ``rest``.

    So both halves of a split network use the scales of the whole, and compute the same.
    """
    copied = copy_proto(model)
    lift_constants(copied.graph)
    _insert_pairs(copied, scales)
    if rest == "float16":
        return to_mixed(Wiring(copied), sizes)
    onnx.checker.check_model(copied, full_check=True)
    return copied


def find_quantisable(wiring: Wiring, sizes: Sizes = NO_SIZES) -> list[int]:
    """The convolutions that are quantised: see the top of this file."""
    kept = find_float32_nodes(wiring, sizes)
    masks = _find_mask_nodes(wiring)
    outputs = {entry.name for entry in wiring.graph.output}
    return [
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type == "Conv"
        and place not in kept
        and place not in masks
        and wiring.weights_name(place)
        and _count_groups(node) == 1
        and kept.get(wiring.producer.get(node.input[0], -1)) != "pixels"
        and node.input[0] in wiring.producer
        and node.output[0] not in outputs
    ]


def _count_groups(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _find_mask_nodes(wiring: Wiring) -> set[int]:
    """Nodes that compute modulations of deformable convolutions, back to and including the last convolution."""
    masks = [
        node.input[_MASK_OF_DEFORM_CONV]
        for node in wiring.nodes
        if len(node.input) > _MASK_OF_DEFORM_CONV and node.op_type == "DeformConv"
    ]
    return wiring.upstream(masks, lambda place: wiring.nodes[place].op_type in ("Conv", *SAMPLERS))


def _round_up_to_float16(scale: float) -> float:
    """The next float16 that is not smaller, so that the largest value stays in range."""
    half = np.float16(scale)
    return float(half if float(half) >= scale else np.nextafter(half, np.float16(np.inf)))


def _insert_pairs(model: onnx.ModelProto, scales: Scales) -> None:
    """Insert Q/DQ before the convolutions in ``scales`` and the residual sums that read the same tensor, in place."""
    inserter = _PairInserter(model, scales)
    for node in model.graph.node:
        inserter.visit(node)
    del model.graph.node[:]
    model.graph.node.extend(inserter.nodes)
    del model.graph.initializer[:]
    model.graph.initializer.extend(inserter.weights.values())
    prune(model)


class _PairInserter:
    """One pass over a graph in order of computation."""

    def __init__(self, model: onnx.ModelProto, scales: Scales) -> None:
        self.scales = scales
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in scales]
        self.scale_of = {node.input[0]: scales[node.input[1]] for node in self.convolutions}
        self.direct = {node.output[0] for node in self.convolutions}
        self.nodes: list[onnx.NodeProto] = []
        self.pairs: dict[str, str] = {}

    def visit(self, node: onnx.NodeProto) -> None:
        """Append a copy of ``node`` that reads through pairs where it should."""
        copied = copy_proto(node)
        if node.op_type == "Conv" and node.input[1] in self.scales:
            copied.input[0] = self._pair(node.input[0])
            copied.input[1] = self._dequantised(node.input[1])
        elif node.op_type == "Add":
            for i, other in ((0, 1), (1, 0)):
                if node.input[other] in self.direct and node.input[i] in self.scale_of:
                    copied.input[i] = self._pair(node.input[i])
        self.nodes.append(copied)

    def _pair(self, name: str) -> str:
        """The tensor after its Q/DQ pair, which is added at the first reader."""
        if name not in self.pairs:
            scale, zero = self._constant(name + "_scale", np.float32(self.scale_of[name])), self._zero()
            quantised, self.pairs[name] = name + "_int8", name + "_dequantised"
            self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [quantised], name=quantised))
            self._dequantise(quantised, scale, zero, self.pairs[name])
        return self.pairs[name]

    def _dequantised(self, name: str) -> str:
        result = name + "_dequantised"
        if result not in self.pairs:
            values, scales = quantise_weights(to_array(self.weights[name]))
            zero = self._constant(name + "_zero", np.zeros(len(scales), np.int8))
            self._dequantise(
                self._constant(name + "_int8", values), self._constant(name + "_scale", scales), zero, result, axis=0
            )
            self.pairs[result] = result
        return result

    def _dequantise(self, name: str, scale: str, zero: str, result: str, **attributes: int) -> None:
        self.nodes.append(
            helper.make_node("DequantizeLinear", [name, scale, zero], [result], name=result, **attributes)
        )

    def _zero(self) -> str:
        return "zero_int8" if "zero_int8" in self.weights else self._constant("zero_int8", np.int8(0))

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def quantise_weights(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (O, …) as int8, and the scale of each output channel (O,), itself a float16.

    The largest weight of a channel is 127 steps.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = np.array([_round_up_to_float16(max(value / STEPS, MIN_SCALE)) for value in largest], np.float32)
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(steps, -STEPS, STEPS).astype(np.int8), scales
