"""Mixed precision as types in the graph: float16 where it suffices, float32 where a lost bit is a lost pixel.

A float16 has 11 bits. Coordinates suffer first: between 64 and 128 the spacing is 1/16. So these stay float32, each for
its reason (:func:`find_float32_nodes` gives it for every node):

* *coordinates*: nodes that compute offsets of a ``DeformConv`` or grids of a ``GridSample``, back to and including the
  last convolution, whose sums would otherwise be rounded before they are added to a position. The sampling layers are
  float32 too: ONNX and TensorRT's importer require one type for all inputs of ``DeformConv``, and offset and position
  are added in it. Sums of deformable convolutions (several dilations) stay with them;
* *outputs*: nodes that decode the outputs, back to and including the last convolution: an arg-max over a rounded map
  may find two maxima, an index above 2048 is not a float16, DARK takes differences of logarithms;
* *pixels*: normalisation, up to the first weights: 123.675 is not a float16;
* *sums*: softmax, normalisation layers, reductions and exponentials: many small terms, or few that overflow;
* *range*: whatever exceeds float16 (65504) or vanishes below it, in the weights or on the given frames;
* *operator*: operators for which ONNX has no float16.

Each float16 input of a float32 node passes one ``Cast``, shared by all readers, and each of its outputs that a float16
node reads passes one ``Cast`` back. Maps cached between the two halves of a split network (graph inputs and outputs
named ``maps_…``) are float16; all other inputs and outputs keep their type.

Why not a library: onnxruntime.transformers.float16 and onnxconverter-common round values between two nodes that both
stay float32, which coordinates do not survive; NVIDIA's modelopt installs a PyTorch of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import onnx

from engines.errors import EngineError
from export.graph.editing import copy_proto
from export.precision.ranges import Feed, largest_values
from export.precision.retyping import retype
from export.precision.wiring import PRODUCTS, Wiring, to_array

KEPT_MAPS = "maps_"
"""The prefix of inputs and outputs that are cached between the halves of a split network."""

LARGEST = 65504.0
"""The largest float16."""
SMALLEST = 2.0**-14
"""The smallest normal float16: below it bits are lost one by one."""

Sizes = Mapping[str, float]
"""The largest absolute value of tensors, by name."""

NO_SIZES: Sizes = MappingProxyType({})

SAMPLERS = {"DeformConv": 2, "GridSample": 1}
"""Operators that read a map at computed positions, and the index of the input with the positions."""

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
    """``model`` (float32, weights inside) in mixed precision; ``model`` itself is not changed.

    With ``feeds``, inputs of the graph by name, the float32 graph is run on them, and what leaves the range of float16
    stays float32. Raises :class:`EngineError` for a graph that is not float32 and if a cached map leaves the range.
    """
    wiring = Wiring(copy_proto(model))
    inputs = list(feeds)
    return to_mixed(wiring, measure_sizes(wiring, inputs) if inputs else {})


def to_mixed(wiring: Wiring, sizes: Sizes) -> onnx.ModelProto:
    """The graph in mixed precision; ``sizes`` are the largest values of its tensors, where known."""
    kept = find_float32_nodes(wiring, sizes)
    half = {place for place in range(len(wiring.nodes)) if place not in kept}
    return retype(wiring, half, {name for name in _find_interface(wiring) if name.startswith(KEPT_MAPS)})


def find_float32_nodes(wiring: Wiring, sizes: Sizes = NO_SIZES) -> dict[int, str]:
    """The nodes that stay float32, and the reason of each, a word from the top of this file."""
    kept: dict[int, str] = {}
    for reason, places in (
        ("operator", _find_without_float16(wiring)),
        ("pixels", _find_pixel_nodes(wiring)),
        ("coordinates", _find_coordinate_nodes(wiring)),
        ("outputs", _find_output_nodes(wiring)),
        ("sums", {place for place, node in enumerate(wiring.nodes) if node.op_type in _SUMS}),
        ("range", _find_out_of_range(wiring, sizes)),
    ):
        kept |= dict.fromkeys(sorted(places - kept.keys()), reason)
    return kept


def measure_sizes(wiring: Wiring, feeds: Iterable[Feed]) -> dict[str, float]:
    """The largest absolute value of every node's results on ``feeds``, which must not be empty."""
    names = [name for node in wiring.nodes for name in node.output if name and wiring.is_float(name)]
    return largest_values(wiring.model, names, feeds)


def _find_interface(wiring: Wiring) -> list[str]:
    return [entry.name for entry in (*wiring.graph.input, *wiring.graph.output) if wiring.is_float(entry.name)]


def _find_without_float16(wiring: Wiring) -> set[int]:
    """Nodes without float inputs, casts, and nodes whose floats must be float32."""
    return {
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type == "Cast" or not (wiring.convertible_inputs(place) and _all_outputs_convertible(wiring, place))
    }


def _all_outputs_convertible(wiring: Wiring, place: int) -> bool:
    floats = [i for i, name in enumerate(wiring.nodes[place].output) if wiring.is_float(name)]
    return floats == wiring.convertible_outputs(place)


def _find_pixel_nodes(wiring: Wiring) -> set[int]:
    """Nodes that depend only on pixels and constants."""
    pixels = {entry.name for entry in wiring.graph.input if not entry.name.startswith(KEPT_MAPS)}
    found = set()
    for place, node in enumerate(wiring.nodes):
        read = [name for name in node.input if name and name not in wiring.initializers]
        if node.op_type not in PRODUCTS and read and pixels.issuperset(read):
            pixels.update(node.output)
            found.add(place)
    return found


def _is_source(wiring: Wiring, place: int) -> bool:
    """Where the search back from coordinates ends: at a convolution, a sampled map, or a shape."""
    return wiring.nodes[place].op_type in ("Conv", "ConvTranspose", "Shape", "Size", *SAMPLERS)


def _find_coordinate_nodes(wiring: Wiring) -> set[int]:
    samplers = {place for place, node in enumerate(wiring.nodes) if node.op_type in SAMPLERS}
    positions = [wiring.nodes[place].input[SAMPLERS[wiring.nodes[place].op_type]] for place in sorted(samplers)]
    sources = wiring.upstream(positions, lambda place: _is_source(wiring, place))
    return _add_sums(wiring, samplers) | sources


def _add_sums(wiring: Wiring, samplers: set[int]) -> set[int]:
    """``samplers`` and every ``Add`` of only deformable convolutions and such sums."""
    found = set(samplers)
    deformed = {place for place in samplers if wiring.nodes[place].op_type == "DeformConv"}
    for place, node in enumerate(wiring.nodes):
        if node.op_type == "Add" and deformed.issuperset(wiring.producer.get(name, -1) for name in node.input):
            deformed.add(place)
    return found | deformed


def _find_output_nodes(wiring: Wiring) -> set[int]:
    names = [entry.name for entry in wiring.graph.output if not entry.name.startswith(KEPT_MAPS)]
    return wiring.upstream(names, lambda place: _is_source(wiring, place))


def _find_out_of_range(wiring: Wiring, sizes: Sizes) -> set[int]:
    """The nodes that read or compute a tensor that float16 cannot hold."""
    outside = _filter_outside(_measure_constants(wiring) | dict(sizes))
    for name in outside:
        if name.startswith(KEPT_MAPS) and name in _find_interface(wiring):
            raise EngineError(
                f"graph {wiring.graph.name}: cached map {name!r} exceeds float16 ({LARGEST:.0f}) on the given "
                "frames; export this network as fp32"
            )
    return {
        place
        for place, node in enumerate(wiring.nodes)
        if node.op_type not in _QUANTISERS and not outside.isdisjoint((*node.input, *node.output))
    }


def _filter_outside(sizes: dict[str, float]) -> set[str]:
    return {name for name, size in sizes.items() if size > LARGEST or 0 < size < SMALLEST}


def _measure_constants(wiring: Wiring) -> dict[str, float]:
    floats = [(name, to_array(tensor)) for name, tensor in wiring.initializers.items() if wiring.is_float(name)]
    return {name: float(np.abs(value).max(initial=0)) for name, value in floats}
