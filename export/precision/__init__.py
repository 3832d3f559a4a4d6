"""Lower precision as types in the graph: float16 and int8, what each keeps in float32, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from export.precision.fp16 import to_fp16
from export.precision.inspecting import prove
from export.precision.int8 import calibrated, deserving, quantised, to_int8
from export.precision.wiring import Wiring, copy_of

if TYPE_CHECKING:
    import onnx

    from engines.manifest import Part, Precision
    from export.precision.ranges import Feed

__all__ = ["lowered", "to_fp16", "to_int8"]


def lowered(
    models: Mapping[Part, onnx.ModelProto], precision: Precision, feeds: Mapping[Part, Sequence[Feed]]
) -> dict[Part, onnx.ModelProto]:
    """All graphs of one network in ``precision``, each proven to be; ``feeds`` are those of each part, of real crops.

    The halves of a cut network compute what the whole does: int8 is calibrated once, on the whole, and only what both
    the whole and the backbone count as deserving is quantised; the head stays float16, in both.
    """
    if precision == "fp32":
        return dict(models)
    result = _in_int8(models, feeds) if precision == "int8" else _in_fp16(models, feeds)
    for part, model in result.items():
        prove(model, "fp16" if part == "head" else precision)
    return result


def _in_fp16(
    models: Mapping[Part, onnx.ModelProto], feeds: Mapping[Part, Iterable[Feed]]
) -> dict[Part, onnx.ModelProto]:
    return {part: to_fp16(model, feeds.get(part, ())) for part, model in models.items()}


def _in_int8(
    models: Mapping[Part, onnx.ModelProto], feeds: Mapping[Part, Iterable[Feed]]
) -> dict[Part, onnx.ModelProto]:
    backbone = Wiring(copy_of(models.get("backbone", models["fused"])))
    weights = {backbone.weights_of(place) for place in deserving(backbone)}
    scales = calibrated(models["fused"], feeds["fused"], weights)
    return {part: quantised(model, scales, feeds.get(part, ())) for part, model in models.items()}
