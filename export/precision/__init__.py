"""Lower precision as types in the graph: float16 and int8, with float32 where it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from export.graph.editing import copy_proto
from export.precision.fp16 import find_float32_nodes, measure_sizes, to_fp16
from export.precision.inspection import check_precision, node_name
from export.precision.int8 import compute_scales, find_quantisable, quantise, to_int8
from export.precision.wiring import Wiring

if TYPE_CHECKING:
    import onnx

    from engines.spec.manifest import Part, Precision
    from export.precision.ranges import Feed

    Models = Mapping[Part, onnx.ModelProto]

__all__ = ["lowered", "to_fp16", "to_int8"]


def lower_precision(
    models: Models, precision: Precision, feeds: Mapping[Part, Sequence[Feed]]
) -> dict[Part, onnx.ModelProto]:
    """All graphs of one network in ``precision``, each checked; ``feeds`` are inputs of each part, from real crops.

    The halves of a split network compute what the whole does: int8 is calibrated once, on the whole, and only
    convolutions that are quantisable in both the whole and the backbone are quantised; the head stays float16.
    """
    if precision == "fp32":
        return dict(models)
    return _to_int8(models, feeds) if precision == "int8" else _to_fp16(models, feeds)


def _to_fp16(models: Models, feeds: Mapping[Part, Iterable[Feed]]) -> dict[Part, onnx.ModelProto]:
    result = {part: to_fp16(model, feeds.get(part, ())) for part, model in models.items()}
    for part, model in result.items():
        check_precision(model, "float16", _find_half_layers(models[part]))
    return result


def _to_int8(models: Models, feeds: Mapping[Part, Iterable[Feed]]) -> dict[Part, onnx.ModelProto]:
    wirings = {part: Wiring(copy_proto(model)) for part, model in models.items()}
    sizes = {part: measure_sizes(wiring, feeds[part]) for part, wiring in wirings.items()}
    backbone = wirings.get("backbone", wirings["fused"])
    weights = {backbone.weights_name(place) for place in find_quantisable(backbone)}
    scales = compute_scales(wirings["fused"], sizes["fused"], weights)
    result = {part: quantise(model, scales, sizes[part]) for part, model in models.items()}
    for part, model in result.items():
        quantised = _find_readers(models[part], weights)
        check_precision(model, "int8", quantised)
        check_precision(model, "float16", _find_half_layers(models[part]) - quantised)
    return result


def _find_readers(model: onnx.ModelProto, weights: set[str]) -> set[str]:
    """The names of the convolutions that use any of ``weights``."""
    return {node_name(node) for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights}


def _find_half_layers(model: onnx.ModelProto) -> set[str]:
    """The names of the layers that no rule keeps in float32, whatever their values."""
    wiring = Wiring(copy_proto(model))
    kept = find_float32_nodes(wiring)
    return {node_name(node) for place, node in enumerate(wiring.nodes) if place not in kept}
