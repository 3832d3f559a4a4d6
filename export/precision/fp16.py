"""Mixed precision by types in the graph: float16 where it suffices, float32 where a bit lost is a pixel lost.

A float16 has 11 bits. Coordinates feel it first: between 64 and 128 two neighbours are 1/16 apart. So these stay
float32, each for its reason (:func:`kept_in_float32` names it for every node):

* *coordinates*: what offsets of a ``DeformConv`` and grids of a ``GridSample`` are computed by, back to and including
  the last convolution, whose sums would else be rounded before they are added to a place. The layers that sample are
  float32 too: ONNX and TensorRT's importer want one type for all inputs of ``DeformConv``, and inside, offset and place
  are added in it. Sums of deformable convolutions (several dilations) stay with them;
* *outputs*: what the outputs are decoded by, back to and including the last convolution: an arg-max over a map whose
  top is rounded finds two tops, an index above 2048 is no float16 at all, DARK takes differences of logarithms;
* *pixels*: normalisation, until the first weights: 123.675 itself is no float16;
* *sums*: softmax, normalisation layers, reductions and exponentials: many small terms, or few that overflow;
* *range*: whatever exceeds float16 (65504) or vanishes below it, in the weights or on the frames given;
* *operator*: what ONNX has no float16 for.

An island is always made the same way: each float16 input passes one ``Cast`` to float32, shared by all who read it, and
each output that a float16 node reads passes one ``Cast`` back. Maps kept between the two halves of a cut network (graph
inputs and outputs named ``maps_…``) are float16; all other inputs and outputs keep their type.

Own and not a library's: onnxruntime.transformers.float16 and onnxconverter-common round the values that pass between
two nodes which both stay float32, where coordinates need them whole; NVIDIA's modelopt brings a PyTorch of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import onnx

from engines.errors import EngineError
from export.precision.ranges import Feed, largest_values
from export.precision.retyping import retyped
from export.precision.wiring import PRODUCTS, Wiring, copy_of, value_of

KEPT_MAPS = "maps_"
"""How inputs and outputs begin that are kept between the halves of a cut network."""

LARGEST = 65504.0
"""Of float16."""
SMALLEST = 2.0**-14
"""Below this a float16 loses its bits one by one."""

Sizes = Mapping[str, float]
"""The largest absolute value of tensors, by name."""

NOTHING_KNOWN: Sizes = MappingProxyType({})

SAMPLERS = {"DeformConv": 2, "GridSample": 1}
"""Operators that read a map at computed places, and which of their inputs says where."""

_SUMS = frozenset(
    {
        *("Softmax", "LogSoftmax", "Hardmax", "Softplus", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "CumSum"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"),
        *("LpNormalization", "LRN", "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2"),
        *("ReduceProd", "ReduceLogSum", "ReduceLogSumExp"),
    }
)
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def to_fp16(model: onnx.ModelProto, feeds: Iterable[Feed] = ()) -> onnx.ModelProto:
    """``model`` (float32, weights inside) in mixed precision; ``model`` itself is left as it is.

    With ``feeds``, inputs of the graph by name, the float32 graph is run on them and what leaves the range of float16
    stays float32. Raises :class:`EngineError` for a graph that is not float32 and where a kept map leaves the range.
    """
    wiring = Wiring(copy_of(model))
    given = list(feeds)
    return mixed(wiring, sizes_on(wiring, given) if given else {})


def mixed(wiring: Wiring, sizes: Sizes) -> onnx.ModelProto:
    """The graph in mixed precision, where its tensors are as large as ``sizes`` says of those it names."""
    kept = kept_in_float32(wiring, sizes)
    half = {place for place in range(len(wiring.nodes)) if place not in kept}
    return retyped(wiring, half, {name for name in _interface(wiring) if name.startswith(KEPT_MAPS)})


def kept_in_float32(wiring: Wiring, sizes: Sizes = NOTHING_KNOWN) -> dict[int, str]:
    """The nodes that stay float32 and the reason of each, one word as at the top of this file."""
    kept: dict[int, str] = {}
    for reason, places in (
        ("operator", _without_float16(wiring)),
        ("pixels", _before_the_first_weights(wiring)),
        ("coordinates", _of_coordinates(wiring)),
        ("outputs", _of_outputs(wiring)),
        ("sums", {place for place, node in enumerate(wiring.nodes) if node.op_type in _SUMS}),
        ("range", _out_of_range(wiring, sizes)),
    ):
        kept |= dict.fromkeys(sorted(places - kept.keys()), reason)
    return kept


def sizes_on(wiring: Wiring, feeds: Iterable[Feed]) -> dict[str, float]:
    """The largest absolute value of every tensor that a node makes, on ``feeds``, which may not be empty."""
    names = [name for node in wiring.nodes for name in node.output if name and wiring.is_float(name)]
    return largest_values(wiring.model, names, feeds)


def _interface(wiring: Wiring) -> list[str]:
    return [entry.name for entry in (*wiring.graph.input, *wiring.graph.output) if wiring.is_float(entry.name)]


def _without_float16(wiring: Wiring) -> set[int]:
    """Nodes that read no float, that are themselves a change of type, or whose floats must be float32."""
    return {
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type == "Cast" or not (wiring.convertible_inputs(place) and _all_outputs_convertible(wiring, place))
    }


def _all_outputs_convertible(wiring: Wiring, place: int) -> bool:
    floats = [i for i, name in enumerate(wiring.nodes[place].output) if wiring.is_float(name)]
    return floats == wiring.convertible_outputs(place)


def _before_the_first_weights(wiring: Wiring) -> set[int]:
    """Nodes that have seen nothing but pixels and constants."""
    pixels = {entry.name for entry in wiring.graph.input if not entry.name.startswith(KEPT_MAPS)}
    found = set()
    for place, node in enumerate(wiring.nodes):
        read = [name for name in node.input if name and name not in wiring.initializers]
        if node.op_type not in PRODUCTS and read and pixels.issuperset(read):
            pixels.update(node.output)
            found.add(place)
    return found


def _is_source(wiring: Wiring, place: int) -> bool:
    """Where the way back from coordinates ends: at a convolution, where a map was sampled, or asked for its shape."""
    return wiring.nodes[place].op_type in ("Conv", "ConvTranspose", "Shape", "Size", *SAMPLERS)


def _of_coordinates(wiring: Wiring) -> set[int]:
    samplers = {place for place, node in enumerate(wiring.nodes) if node.op_type in SAMPLERS}
    where = [wiring.nodes[place].input[SAMPLERS[wiring.nodes[place].op_type]] for place in sorted(samplers)]
    made = wiring.upstream(where, lambda place: _is_source(wiring, place))
    return _with_sums(wiring, samplers) | made


def _with_sums(wiring: Wiring, samplers: set[int]) -> set[int]:
    """``samplers`` and every ``Add`` of nothing but deformable convolutions and such sums."""
    found = set(samplers)
    deformed = {place for place in samplers if wiring.nodes[place].op_type == "DeformConv"}
    for place, node in enumerate(wiring.nodes):
        if node.op_type == "Add" and deformed.issuperset(wiring.producer.get(name, -1) for name in node.input):
            deformed.add(place)
    return found | deformed


def _of_outputs(wiring: Wiring) -> set[int]:
    names = [entry.name for entry in wiring.graph.output if not entry.name.startswith(KEPT_MAPS)]
    return wiring.upstream(names, lambda place: _is_source(wiring, place))


def _out_of_range(wiring: Wiring, sizes: Sizes) -> set[int]:
    """The nodes that read or make a tensor which float16 cannot hold."""
    outside = _outside(_sizes_of_constants(wiring) | dict(sizes))
    for name in outside:
        if name.startswith(KEPT_MAPS) and name in _interface(wiring):
            raise EngineError(
                f"graph {wiring.graph.name}: kept map {name!r} reaches beyond float16 ({LARGEST:.0f}) on the frames "
                "given; export this network as fp32"
            )
    return {
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type not in _QUANTISERS and not outside.isdisjoint((*node.input, *node.output))
    }


def _outside(sizes: dict[str, float]) -> set[str]:
    return {name for name, size in sizes.items() if size > LARGEST or 0 < size < SMALLEST}


def _sizes_of_constants(wiring: Wiring) -> dict[str, float]:
    floats = [(name, value_of(tensor)) for name, tensor in wiring.initializers.items() if wiring.is_float(name)]
    return {name: float(np.abs(value).max(initial=0)) for name, value in floats}
