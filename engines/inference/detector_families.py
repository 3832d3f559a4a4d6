"""Families of detectors: preprocessing, and decoding of outputs to boxes, in numpy.

A family is given by name or recognised by the shapes of the outputs:

* ``yolox``: one output (1, cells, 5 + classes) on the grids of strides 8, 16, 32: x, y relative to the cell, logarithms
  of width and height, objectness, classes (Ge et al., "YOLOX", 2021). Person-only exports have one class.
* ``yolox-decoded``: the same after decoding: centre and size in input pixels.
* ``nanodet``: scores (1, cells, classes) and distances (1, cells, 4 * 8) for each stride; a distance is the mean of a
  distribution over 0..7 strides (Li et al., "Generalized Focal Loss", 2020).
* ``boxes-scores``: ``boxes`` (1, n, 4) corners and ``scores`` (1, n) or (1, n, classes), optionally integer ``labels``
  (1, n), without suppression (RT-DETR, D-FINE). Boxes are relative to the input's size if none exceeds 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.signature import Colour, Fit, Triple
from engines.spec.tensors import Tensor

Floats = NDArray[np.float32]
Detections = tuple[Floats, Floats]
"""Boxes (M, 4) in input pixels and scores (M, classes)."""

Size = tuple[int, int]
STRIDES = (8, 16, 32)
DISTANCE_COLUMNS = 4 * 8
"""NanoDet: four distances, each a distribution over 0..7 strides."""


@dataclass(frozen=True)
class Family:
    """Preprocessing and decoding of one family.

    ``decode`` takes the outputs, in the file's order, and the (width, height) px of the input; ``recognises`` their
    descriptions. ``fit`` and ``pad`` are as in :func:`engines.vision.letterbox.fit_frame`, ``colour``, ``mean`` and
    ``std`` as in :func:`engines.vision.letterbox.to_tensor`. ``overlapping`` if the outputs need suppression.
    """

    name: str
    decode: Callable[[Sequence[NDArray[Any]], Size], Detections]
    recognises: Callable[[Sequence[Tensor], Size], bool]
    fit: Fit
    pad: int
    colour: Colour
    mean: Triple
    std: Triple
    overlapping: bool = True


def make_grid(size: Size, strides: Sequence[int] = STRIDES) -> Floats:
    """(cells, 3): x, y of each cell's top-left corner in cells, and its stride px; row by row, small strides first."""
    grids = []
    for stride in strides:
        y, x = np.mgrid[: -(-size[1] // stride), : -(-size[0] // stride)]
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def decode_yolox(outputs: Sequence[NDArray[Any]], size: Size) -> Detections:
    """Decode centres relative to cells and logarithms of sizes."""
    rows: Floats = outputs[0][0]
    cells = make_grid(size)
    centres = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
    # Sizes overflow only in cells without a person, whose scores are 0.
    sizes = np.exp(np.minimum(rows[:, 2:4], 20)) * cells[:, 2:]
    return _to_corners(centres, sizes), rows[:, 4:5] * rows[:, 5:]


def decode_yolox_decoded(outputs: Sequence[NDArray[Any]], size: Size) -> Detections:  # noqa: ARG001
    """Decode centres and sizes in input pixels."""
    rows: Floats = outputs[0][0]
    return _to_corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:]


def decode_nanodet(outputs: Sequence[NDArray[Any]], size: Size) -> Detections:
    """Decode scores and distributions of distances, one pair per stride, in either order."""
    scores, distances = _split_by_stride(outputs)
    strides = [_find_stride(len(table), size) for table in scores]
    cells = make_grid(size, strides)
    # The published centre is index * stride + (stride - 1) / 2 in index coordinates, half a pixel less than here.
    centres = (cells[:, :2] + 0.5) * cells[:, 2:]
    distances_px = _compute_means(np.concatenate(distances)) * cells[:, 2:]
    return np.concatenate([centres - distances_px[:, :2], centres + distances_px[:, 2:]], axis=1), np.concatenate(
        scores
    )


def decode_boxes_scores(outputs: Sequence[NDArray[Any]], size: Size) -> Detections:
    """Take corners and scores as they are; with labels, scores are 0 for every class but the label's."""
    boxes = next(array for array in outputs if array.ndim > 1 and array.shape[-1] == 4).reshape(-1, 4)
    numbers = [array for array in outputs if array.ndim < 3 or array.shape[-1] != 4]
    scores = next(array for array in numbers if array.dtype.kind == "f").reshape(len(boxes), -1)
    labels = next((array.reshape(-1) for array in numbers if array.dtype.kind in "iu"), None)
    if labels is not None:
        scores = scores[:, :1] * (labels[:, None] == np.arange(max(1, int(labels.max(initial=0)) + 1)))
    return _to_pixels(boxes.astype(np.float32), size), scores.astype(np.float32)


def _to_corners(centres: Floats, sizes: Floats) -> Floats:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _split_by_stride(outputs: Sequence[NDArray[Any]]) -> tuple[list[Floats], list[Floats]]:
    """NanoDet's scores and distances, each from the smallest stride to the largest."""
    tables = sorted((output[0] for output in outputs), key=len, reverse=True)
    scores = [table for table in tables if table.shape[1] != DISTANCE_COLUMNS]
    return scores, [table for table in tables if table.shape[1] == DISTANCE_COLUMNS]


def _find_stride(cells: int, size: Size) -> int:
    return next(stride for stride in (*STRIDES, 64) if cells == -(-size[0] // stride) * -(-size[1] // stride))


def _compute_means(distributions: Floats) -> Floats:
    """Mean distances (cells, 4) in strides: left, up, right, down."""
    logits = distributions.reshape(len(distributions), 4, -1)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    bins = np.arange(logits.shape[2], dtype=np.float32)
    means: Floats = (weights / weights.sum(axis=2, keepdims=True)) @ bins
    return means


def _to_pixels(boxes: Floats, size: Size) -> Floats:
    return boxes * np.tile(size, 2).astype(np.float32) if boxes.size and boxes.max() <= 2 else boxes


def _is_yolox(outputs: Sequence[Tensor], size: Size) -> bool:
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return False
    _, cells, columns = outputs[0].shape
    return cells in (None, len(make_grid(size))) and columns is not None and columns > 5


def _is_nanodet(outputs: Sequence[Tensor], size: Size) -> bool:  # noqa: ARG001
    widths = [tensor.shape[-1] for tensor in outputs if len(tensor.shape) == 3]
    return len(outputs) in (6, 8) and widths.count(DISTANCE_COLUMNS) == len(outputs) / 2


def _is_boxes_scores(outputs: Sequence[Tensor], size: Size) -> bool:  # noqa: ARG001
    boxes = [tensor for tensor in outputs if len(tensor.shape) in (2, 3) and tensor.shape[-1] == 4]
    return len(boxes) == 1 and len(outputs) in (2, 3)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("yolox", decode_yolox, _is_yolox, "top-left", 114, "bgr", (0, 0, 0), (1, 1, 1)),
        Family("yolox-decoded", decode_yolox_decoded, _is_yolox, "top-left", 114, "bgr", (0, 0, 0), (1, 1, 1)),
        Family(
            "nanodet",
            decode_nanodet,
            _is_nanodet,
            "centre",
            0,
            "bgr",
            (103.53, 116.28, 123.675),
            (57.375, 57.12, 58.395),
        ),
        Family(
            "boxes-scores",
            decode_boxes_scores,
            _is_boxes_scores,
            "stretch",
            0,
            "rgb",
            (0, 0, 0),
            (255, 255, 255),
            False,
        ),
    )
}


def get_family(name: str) -> Family:
    """The family called ``name``. Raises :class:`EngineError` listing the families."""
    if name not in FAMILIES:
        raise EngineError(f"family {name!r} is not one of auto, {', '.join(FAMILIES)}")
    return FAMILIES[name]


def recognise_family(model: str, outputs: Sequence[Tensor], size: Size) -> Family:
    """The family with outputs of these shapes, for an input of ``size`` (width, height) px.

    Raises :class:`EngineError` listing outputs and families.
    """
    for family in FAMILIES.values():
        if family.recognises(outputs, size):
            return family
    shapes = ", ".join(f"{tensor.name!r} {tensor}" for tensor in outputs)
    raise EngineError(
        f"detector {model}: no family has outputs {shapes} for an input of {size[0]}x{size[1]}; "
        f"give family=, one of {', '.join(FAMILIES)}, or export it as boxes and scores"
    )
