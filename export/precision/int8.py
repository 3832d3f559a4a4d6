"""Eight bits where they pay: explicit Q/DQ around the backbone's convolutions, symmetric, calibrated on given frames.

TensorRT 11 knows no other way to int8 than ``QuantizeLinear`` and ``DequantizeLinear`` in the graph, with zero points
of 0. What is made here, so that it can fuse:

* each convolution that deserves it reads its input through one pair with one scale, shared by all who read that tensor,
  and its weights through a ``DequantizeLinear`` with a scale a channel: they are stored as int8;
* a residual sum reads the block's input through the same pair, the other side straight from the convolution: so
  convolution, sum and ReLU become one kernel; biases stay floats, for the sums they are added to;
* all the rest is float16 (:mod:`export.precision.fp16`) or, for CPUs, float32.

A scale reaches to the largest value seen: nothing is cut off. The peaks of a pose network's maps are one cell in
thousands, so what cuts rare values off to resolve the others (entropy, percentiles, least squares; onnxruntime has the
first two) cuts off the answer: measured in docs/explanation/precision.md.

What does not deserve it: the first convolution (three channels, hardly any work, and all later layers live on what it
lets through); what is decoded or kept, or makes offsets, masks and grids (256 steps are no coordinates); depthwise
convolutions (no work either, and their channels differ too much for one scale); and whatever float16 leaves float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.errors import EngineError
from export.precision.fp16 import NOTHING_KNOWN, SAMPLERS, Sizes, kept_in_float32, mixed, sizes_on
from export.precision.ranges import Feed
from export.precision.wiring import Wiring, copy_of, lift_constants, value_of

STEPS = 127
"""The largest int8, on both sides: symmetric."""
LEAST_SCALE = 2.0**-24
"""The smallest float16 above 0: scales are float16 too."""

Rest = Literal["float16", "float32"]
Scales = dict[str, float]
"""What one step of a convolution's input is worth, by the name of the convolution's weights."""

_MASK_OF_DEFORM_CONV = 4


def to_int8(
    model: onnx.ModelProto, feeds: Iterable[Feed], rest: Rest = "float16", only: Collection[str] | None = None
) -> onnx.ModelProto:
    """``model`` (float32, weights inside) with its convolutions in int8, calibrated on ``feeds`` (inputs by name).

    ``only`` names the weights that may be quantised; None: all that deserve it. Raises :class:`EngineError` for a graph
    that is not float32, no feeds, feeds of another shape, and where no convolution deserves it.
    """
    wiring = Wiring(copy_of(model))
    sizes = sizes_on(wiring, feeds)
    scales = scales_of(wiring, sizes, only)
    if not scales:
        raise EngineError(f"graph {model.graph.name}: no convolution deserves int8; export it as fp16")
    return quantised(model, scales, sizes, rest)


def scales_of(wiring: Wiring, sizes: Sizes, only: Collection[str] | None = None) -> Scales:
    """The scales of all convolutions that deserve int8, where tensors are as large as ``sizes`` says."""
    chosen = {
        wiring.weights_of(place): sizes[wiring.nodes[place].input[0]]
        for place in deserving(wiring, sizes)
        if only is None or wiring.weights_of(place) in only
    }
    return {weights: _as_float16(largest / STEPS) for weights, largest in chosen.items() if largest}


def quantised(
    model: onnx.ModelProto, scales: Scales, sizes: Sizes = NOTHING_KNOWN, rest: Rest = "float16"
) -> onnx.ModelProto:
    """``model`` with those of its convolutions in int8 whose weights ``scales`` names; the rest as ``rest`` says.

    So the halves of a cut network take on the scales of the whole, and compute the same.
    """
    copied = copy_of(model)
    lift_constants(copied.graph)
    _insert(copied, scales)
    if rest == "float16":
        return mixed(Wiring(copied), sizes)
    onnx.checker.check_model(copied, full_check=True)
    return copied


def deserving(wiring: Wiring, sizes: Sizes = NOTHING_KNOWN) -> list[int]:
    """The convolutions that are worth eight bits and can bear them: see the top of this file."""
    kept = kept_in_float32(wiring, sizes)
    masks = _of_masks(wiring)
    outputs = {entry.name for entry in wiring.graph.output}
    return [
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type == "Conv"
        and place not in kept
        and place not in masks
        and wiring.weights_of(place)
        and _groups(node) == 1
        and kept.get(wiring.producer.get(node.input[0], -1)) != "pixels"
        and node.input[0] in wiring.producer
        and node.output[0] not in outputs
    ]


def _groups(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _of_masks(wiring: Wiring) -> set[int]:
    """What the modulation of deformable convolutions is made by, back to and including the last convolution."""
    masks = [
        node.input[_MASK_OF_DEFORM_CONV]
        for node in wiring.nodes
        if len(node.input) > _MASK_OF_DEFORM_CONV and node.op_type == "DeformConv"
    ]
    return wiring.upstream(masks, lambda place: wiring.nodes[place].op_type in ("Conv", *SAMPLERS))


def _as_float16(scale: float) -> float:
    """The next float16 that is not smaller: rounding must not move the largest value out of range."""
    half = np.float16(scale)
    return float(half if float(half) >= scale else np.nextafter(half, np.float16(np.inf)))


def _insert(model: onnx.ModelProto, scales: Scales) -> None:
    """Q/DQ before every convolution named, and before the residual sums that read the same tensor; in place."""
    inserting = _Inserting(model, scales)
    for node in list(model.graph.node):
        inserting.visit(node)
    del model.graph.node[:]
    model.graph.node.extend(inserting.nodes)
    inserting.drop_unread()


class _Inserting:
    """One pass over a graph in order of computation."""

    def __init__(self, model: onnx.ModelProto, scales: Scales) -> None:
        self.graph = model.graph
        self.scales = scales
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in scales]
        self.scale_of = {node.input[0]: scales[node.input[1]] for node in self.convolutions}
        self.straight = {node.output[0] for node in self.convolutions}
        self.nodes: list[onnx.NodeProto] = []
        self.pairs: dict[str, str] = {}

    def visit(self, node: onnx.NodeProto) -> None:
        """Append ``node``, reading through pairs what it should."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        if node.op_type == "Conv" and node.input[1] in self.scales:
            copied.input[0] = self._pair(node.input[0])
            copied.input[1] = self._dequantised(node.input[1])
        elif node.op_type == "Add":
            for i, other in ((0, 1), (1, 0)):
                if node.input[other] in self.straight and node.input[i] in self.scale_of:
                    copied.input[i] = self._pair(node.input[i])
        self.nodes.append(copied)

    def _pair(self, name: str) -> str:
        """The tensor after its Q/DQ pair, made where it is first read."""
        if name not in self.pairs:
            scale, zero = self._constant(name + "_scale", np.float32(self.scale_of[name])), self._zero()
            quantised, self.pairs[name] = name + "_int8", name + "_dequantised"
            self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [quantised], name=quantised))
            self._dequantise(quantised, scale, zero, self.pairs[name])
        return self.pairs[name]

    def _dequantised(self, name: str) -> str:
        told = name + "_dequantised"
        if told not in self.pairs:
            values, scales = in_steps(value_of(self.weights[name]))
            zero = self._constant(name + "_zero", np.zeros(len(scales), np.int8))
            self._dequantise(
                self._constant(name + "_int8", values), self._constant(name + "_scale", scales), zero, told, axis=0
            )
            self.pairs[told] = told
        return told

    def _dequantise(self, name: str, scale: str, zero: str, told: str, **attributes: int) -> None:
        self.nodes.append(helper.make_node("DequantizeLinear", [name, scale, zero], [told], name=told, **attributes))

    def _zero(self) -> str:
        return "zero_int8" if "zero_int8" in self.weights else self._constant("zero_int8", np.int8(0))

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def drop_unread(self) -> None:
        """The weights that are read, the new ones among them."""
        read = {name for node in self.nodes for name in node.input} | {entry.name for entry in self.graph.output}
        kept = [tensor for name, tensor in self.weights.items() if name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def in_steps(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (O, …) as int8, and the scale of each output channel (O,), itself a float16.

    The largest weight of a channel is 127 steps: weights are known, nothing has to be cut off to resolve the rest.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = np.array([_as_float16(max(value / STEPS, LEAST_SCALE)) for value in largest], np.float32)
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.clip(steps, -STEPS, STEPS).astype(np.int8), scales
