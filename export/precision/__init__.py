"""Lower precision as types in the graph: float16 and int8, what each keeps in float32, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from export.precision.fp16 import kept_in_float32, sizes_on, to_fp16
from export.precision.inspecting import name_of, prove
from export.precision.int8 import deserving, quantised, scales_of, to_int8
from export.precision.wiring import Wiring, copy_of

if TYPE_CHECKING:
    import onnx

    from engines.spec.manifest import Part, Precision
    from export.precision.ranges import Feed

    Models = Mapping[Part, onnx.ModelProto]

__all__ = ["lowered", "to_fp16", "to_int8"]


def lowered(models: Models, precision: Precision, feeds: Mapping[Part, Sequence[Feed]]) -> dict[Part, onnx.ModelProto]:
    """All graphs of one network in ``precision``, each proven to be; ``feeds`` are those of each part, of real crops.

    The halves of a cut network compute what the whole does: int8 is calibrated once, on the whole, and only what both
    the whole and the backbone count as deserving is quantised; the head stays float16, in both.
    """
    if precision == "fp32":
        return dict(models)
    return _in_int8(models, feeds) if precision == "int8" else _in_fp16(models, feeds)


def _in_fp16(models: Models, feeds: Mapping[Part, Iterable[Feed]]) -> dict[Part, onnx.ModelProto]:
    result = {part: to_fp16(model, feeds.get(part, ())) for part, model in models.items()}
    for part, model in result.items():
        prove(model, "float16", _halves(models[part]))
    return result


def _in_int8(models: Models, feeds: Mapping[Part, Iterable[Feed]]) -> dict[Part, onnx.ModelProto]:
    wirings = {part: Wiring(copy_of(model)) for part, model in models.items()}
    sizes = {part: sizes_on(wiring, feeds[part]) for part, wiring in wirings.items()}
    backbone = wirings.get("backbone", wirings["fused"])
    weights = {backbone.weights_of(place) for place in deserving(backbone)}
    scales = scales_of(wirings["fused"], sizes["fused"], weights)
    result = {part: quantised(model, scales, sizes[part]) for part, model in models.items()}
    for part, model in result.items():
        eighths = _reading(models[part], weights)
        prove(model, "int8", eighths)
        prove(model, "float16", _halves(models[part]) - eighths)
    return result


def _reading(model: onnx.ModelProto, weights: set[str]) -> set[str]:
    """The convolutions that multiply by any of ``weights``."""
    return {name_of(node) for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights}


def _halves(model: onnx.ModelProto) -> set[str]:
    """The layers that no rule keeps in float32, whatever their values."""
    wiring = Wiring(copy_of(model))
    kept = kept_in_float32(wiring)
    return {name_of(node) for place, node in enumerate(wiring.nodes) if place not in kept}
