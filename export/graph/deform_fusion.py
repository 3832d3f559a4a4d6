"""Fuses ``DeformConv`` nodes, and sums of several of one input, into single nodes of our kernel, for TensorRT only.

What becomes one node:

    [Cast]  ->  DeformConv (+ DeformConv …)  ->  [Cast to float16]  ->  [Relu or LeakyRelu]

The standard graph keeps ``DeformConv`` in float32 between casts, since ONNX requires one type for all inputs. Our
kernel requires only offsets in float32. So if the result is rounded to float16 anyway, ``x``, weights and result are
float16 in the kernel; if not (a heatmap that is decoded next), they stay float32. Modulation keeps its type.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.errors import EngineError
from engines.plugins.deform_conv.packing import pack_bias, pack_weights
from engines.plugins.deform_conv.settings import DOMAIN, format_settings, operator_name
from engines.plugins.deform_conv.spec import MAX_DILATIONS, Activation, DeformConvSpec, DType, MaskType
from export.graph.editing import copy_proto

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

_X, _WEIGHT, _OFFSET, _BIAS, _MASK = range(5)
_ACTIVATIONS: dict[str, Activation] = {"Relu": "relu", "LeakyRelu": "leaky_relu"}
_ONNX_SLOPE = 0.01
"""Slope of a LeakyRelu without the attribute."""


@dataclass
class Term:
    """One ``DeformConv`` with constant weights, and what must agree between terms of one sum."""

    node: onnx.NodeProto
    weight: NDArray[np.generic]
    bias: NDArray[np.generic] | None
    stride: int
    dilation: int
    padding: int
    offset_groups: int

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for all terms of one sum; results of one size need the same padding less extent."""
        growth = 2 * self.padding - self.dilation * (self.weight.shape[2] - 1)
        has_mask = len(self.node.input) > _MASK and bool(self.node.input[_MASK])
        return self.node.input[_X], self.weight.shape, self.stride, self.offset_groups, growth, has_mask


@dataclass
class Sum:
    """Terms that are added, the nodes that add them, and the nodes after that the kernel replaces too."""

    terms: list[Term]
    inner: list[onnx.NodeProto]
    output: str
    half: bool = False
    activation: Activation = "none"
    slope: float = 0.0
    after: list[onnx.NodeProto] = field(default_factory=list)


class Network:
    """A graph whose nodes are replaced; its external weights are in the folder ``base``."""

    def __init__(self, model: onnx.ModelProto, base: Path) -> None:
        self.graph = model.graph
        self.base = base
        self.nodes = [copy_proto(node) for node in model.graph.node]
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.results = {entry.name for entry in self.graph.output}
        typed = (*self.graph.value_info, *self.graph.input, *self.graph.output)
        self.halves = {entry.name for entry in typed if entry.type.tensor_type.elem_type == HALF}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor; None if there are several or it is an output of the graph."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.results else None

    def value(self, name: str) -> NDArray[np.generic]:
        """A weight as an array."""
        return np.asarray(numpy_helper.to_array(self.weights[name], base_dir=str(self.base)))

    def add_weight(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a weight of this name to the graph itself."""
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def replace(self, old: Sequence[onnx.NodeProto], nodes: Sequence[onnx.NodeProto]) -> None:
        """Put ``nodes`` at the last of the ``old``, where all their inputs exist."""
        outputs = {node.output[0] for node in old}
        last = max(place for place, node in enumerate(self.nodes) if node.output[0] in outputs)
        self.nodes[last:last] = nodes
        added = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) in added or node.output[0] not in outputs]

    def write_back(self) -> None:
        """Write the nodes back into the model."""
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)


def fuse(model: onnx.ModelProto, base: Path) -> tuple[DeformConvSpec, ...]:
    """Replace in ``model`` what the kernel supports, and return the spec of every new node."""
    network = Network(model, base)
    specs = [spec for found in _find_sums(network) if (spec := _replace(network, found)) is not None]
    if specs:
        network.write_back()
        model.opset_import.append(helper.make_operatorsetid(DOMAIN, 1))
    return tuple(specs)


def _find_sums(network: Network) -> list[Sum]:
    """Every largest sum of terms, in order of computation."""
    open_sums: dict[str, Sum] = {}
    for node in network.nodes:
        if node.op_type == "DeformConv" and (term := _read_term(network, node)) is not None:
            open_sums[node.output[0]] = Sum([term], [], node.output[0])
        elif node.op_type == "Add" and (joined := _join(network, node, open_sums)) is not None:
            for name in node.input:
                del open_sums[name]
            open_sums[node.output[0]] = joined
    for found in open_sums.values():
        _extend(network, found)
    return list(open_sums.values())


def _read_term(network: Network, node: onnx.NodeProto) -> Term | None:
    """None for what the kernel does not support: computed weights, groups, asymmetric geometry."""
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    names = [name for name in (node.input[_WEIGHT], *node.input[_BIAS : _BIAS + 1]) if name]
    if attributes.get("group", 1) != 1 or any(name not in network.weights for name in names):
        return None
    sides = [{*attributes.get(key, [default])} for key, default in (("strides", 1), ("dilations", 1), ("pads", 0))]
    if any(len(values) != 1 for values in sides):
        return None
    weight = network.value(names[0])
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        return None
    stride, dilation, padding = (int(values.pop()) for values in sides)
    bias = network.value(names[1]) if len(names) > 1 else None
    return Term(node, weight, bias, stride, dilation, padding, int(attributes.get("offset_group", 1)))


def _join(network: Network, node: onnx.NodeProto, open_sums: dict[str, Sum]) -> Sum | None:
    """The sum that an ``Add`` makes of two that no other node reads."""
    first, second = (open_sums.get(name) for name in node.input)
    if first is None or second is None or first is second:
        return None
    terms = [*first.terms, *second.terms]
    are_unshared = all(network.only_reader(name) is node for name in node.input)
    if not are_unshared or len(terms) > MAX_DILATIONS or len({term.kind for term in terms}) > 1:
        return None
    return Sum(terms, [*first.inner, *second.inner, node], node.output[0])


def _extend(network: Network, found: Sum) -> None:
    """Include the cast and the activation that follow, in either order, once each."""
    while (node := network.only_reader(found.output)) is not None:
        if node.op_type in _ACTIVATIONS and found.activation == "none":
            found.activation = _ACTIVATIONS[node.op_type]
            found.slope = _read_slope(node)
        elif node.op_type == "Cast" and not found.half and node.attribute[0].i == HALF:
            found.half = True
        else:
            return
        found.after.append(node)
        found.output = node.output[0]


def _read_slope(node: onnx.NodeProto) -> float:
    attributes = {entry.name: entry.f for entry in node.attribute}
    return attributes.get("alpha", _ONNX_SLOPE) if node.op_type == "LeakyRelu" else 0.0


def _replace(network: Network, found: Sum) -> DeformConvSpec | None:
    """Replace ``found`` by one node; returns None and changes nothing if the kernel does not support it."""
    masks, mask_type = _find_masks(network, found)
    spec = _make_spec(found, mask_type)
    if spec is None:
        return None
    name = f"{found.terms[0].node.name}_fused"
    x, casts = _cast_x(network, found, spec)
    offsets = (term.node.input[_OFFSET] for term in found.terms)
    weights = pack_weights(spec, [term.weight for term in found.terms])
    bias = pack_bias(spec, [term.bias for term in found.terms if term.bias is not None])
    constants = (network.add_weight(f"{name}.weight", weights), network.add_weight(f"{name}.bias", bias))
    node = _make_node(spec, name, (x, *offsets, *masks, *constants), found.output)
    network.replace([*(term.node for term in found.terms), *found.inner, *found.after], [*casts, node])
    return spec


def _make_spec(found: Sum, mask: MaskType) -> DeformConvSpec | None:
    first = found.terms[0]
    out_channels, channels, height, width = first.weight.shape
    dtype: DType = "fp16" if found.half else "fp32"
    try:
        return DeformConvSpec(
            channels=channels,
            out_channels=out_channels,
            kernel=(height, width),
            stride=first.stride,
            offset_groups=first.offset_groups,
            dilations=tuple(term.dilation for term in found.terms),
            paddings=tuple(term.padding for term in found.terms),
            dtype=dtype,
            mask=mask,
            activation=found.activation,
            slope=found.slope,
        )
    except EngineError:
        return None  # such as channels that need more shared memory than a block has


def _make_node(spec: DeformConvSpec, name: str, inputs: Sequence[str], output: str) -> onnx.NodeProto:
    """TensorRT's parser finds the plugin by operator and namespace; ``aot`` selects the compiled kernel."""
    return helper.make_node(
        operator_name(spec),
        inputs,
        [output],
        name=name,
        domain=DOMAIN,
        settings=format_settings(spec),
        plugin_namespace=DOMAIN,
        plugin_version="1",
        aot=1,
    )


def _cast_x(network: Network, found: Sum, spec: DeformConvSpec) -> tuple[str, list[onnx.NodeProto]]:
    """``x`` in the kernel's type: before its cast to float32, or after a new cast to float16, also returned."""
    x = str(found.terms[0].node.input[_X])
    if spec.dtype == "fp32":
        return x, []
    if (source := _find_cast_source(network, x)) is not None:
        return source, []
    name = f"{found.terms[0].node.name}_x_fp16"
    return name, [helper.make_node("Cast", [x], [name], name=name, to=HALF)]


def _find_masks(network: Network, found: Sum) -> tuple[list[str], MaskType]:
    """The modulation of every term, in float16 if all of it was computed so."""
    names = [term.node.input[_MASK] for term in found.terms if len(term.node.input) > _MASK and term.node.input[_MASK]]
    if not names:
        return [], "none"
    halves = [source for name in names if (source := _find_cast_source(network, name)) is not None]
    return (halves, "fp16") if len(halves) == len(names) else (names, "fp32")


def _find_cast_source(network: Network, name: str) -> str | None:
    """The float16 tensor that ``name`` is cast from, or None."""
    node = network.producer.get(name)
    if node is None or node.op_type != "Cast" or node.attribute[0].i != FLOAT:
        return None
    source = str(node.input[0])
    return source if source in network.halves else None
