"""Families of detectors: preprocessing, and decoding of outputs to boxes, in numpy.

A family is given by name, or recognised by its outputs (``detector_trial``):

* ``yolox``: one output (1, cells, 5 + classes) on the grids of strides 8, 16, 32: x, y relative to the cell, logarithms
  of width and height, objectness, classes (Ge et al., "YOLOX", 2021). Person-only exports have one class.
* ``yolox-decoded``: the same after decoding: centre and size in input pixels.
* ``yolov5``: the same with three boxes for each cell (YOLOv5, v7), and preprocessing of its own.
* ``yolov8``: one output (1, 4 + classes, cells) or (1, cells, 4 + classes): centre, size, classes (YOLOv8, 9, 11, 12).
  In fractions of the input's size it is RT-DETR as its Python package ``ultralytics`` exports it, or TFLite: boxes of
  these four families may be in either.
* ``end-to-end``: one output (1, n, 6): corners, score and class, without suppression (YOLOv10, 26).
* ``nanodet``: scores (1, cells, classes) and distances (1, cells, 4 * 8) for each stride; a distance is the mean of a
  distribution over 0..7 strides (Li et al., "Generalized Focal Loss", 2020).
* ``dets-labels``: ``dets`` (1, n, 5), corners in pixels and score, and integer ``labels`` (1, n) (mmdeploy).
* ``boxes-scores``: ``boxes`` (1, n, 4) and ``scores`` (1, n) or (1, n, classes), optionally integer ``labels`` (1, n);
  RT-DETR, D-FINE, RF-DETR, DETR, YOLO-NAS. ``boxes``, ``units`` and ``scores`` of the signature say what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.detector_signature import DetectorSignature, ScoreKind
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Colour, Fit, Triple
from engines.spec.tensors import Array

Floats = NDArray[np.float32]
Detections = tuple[Floats, Floats]
"""Boxes (M, 4) in input pixels and scores (M, classes)."""

Outputs = Mapping[str, Array]
"""All outputs by name, in the file's order."""

Size = tuple[int, int]
STRIDES = (8, 16, 32)
DISTANCE_COLUMNS = 4 * 8
"""NanoDet: four distances, each a distribution over 0..7 strides."""

MOST_CLASSES = 10_000
MOST_QUERIES = 1000
"""More candidates than this come from a grid and overlap, fewer from a network that suppresses them itself."""


@dataclass(frozen=True)
class Preprocessing:
    """``fit`` and ``pad`` as in :func:`engines.vision.letterbox.fit_frame`; the rest as in ``to_tensor`` there."""

    fit: Fit
    pad: int
    colour: Colour
    mean: Triple = (0, 0, 0)
    std: Triple = (1, 1, 1)


@dataclass(frozen=True)
class Family:
    """Decoding and preprocessing of one family.

    ``decode`` takes the outputs, the (width, height) px of the input, and the signature. ``preprocessing`` are those of
    published networks, the usual one first. ``overlapping`` if the outputs need suppression.
    """

    name: str
    decode: Callable[[Outputs, Size, DetectorSignature], Detections]
    preprocessing: tuple[Preprocessing, ...]
    overlapping: bool = True

    def read(self, outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:
        """As ``decode``; numbers that are not finite stay so, without a warning."""
        with np.errstate(all="ignore"):
            return self.decode(outputs, size, signature)


def make_grid(size: Size, strides: Sequence[int] = STRIDES) -> Floats:
    """(cells, 3): x, y of each cell's top-left corner in cells, and its stride px; row by row, small strides first."""
    grids = []
    for stride in strides:
        y, x = np.mgrid[: -(-size[1] // stride), : -(-size[0] // stride)]
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def get_rows(outputs: Outputs) -> Floats:
    """The rows (n, columns) of the first output (1, n, columns)."""
    rows: Floats = next(array for array in outputs.values() if array.ndim == 3)[0].astype(np.float32)
    return rows


def decode_yolox(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:  # noqa: ARG001
    """Decode centres relative to cells and logarithms of sizes."""
    rows = get_rows(outputs)
    cells = make_grid(size)
    centres = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
    # Sizes overflow only in cells without a person, whose scores are 0.
    sizes = np.exp(np.minimum(rows[:, 2:4], 20)) * cells[:, 2:]
    return _to_corners(centres, sizes), rows[:, 4:5] * rows[:, 5:]


def decode_objectness(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:
    """Decode centres and sizes, in ``units``, objectness and classes."""
    rows = get_rows(outputs)
    boxes = _to_corners(rows[:, :2], rows[:, 2:4])
    return _to_pixels(boxes, size, signature), rows[:, 4:5] * rows[:, 5:]


def decode_yolov8(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:
    """Decode centres and sizes, in ``units``, and classes; columns come first or last."""
    rows = orient_rows(get_rows(outputs), size)
    return _to_pixels(_to_corners(rows[:, :2], rows[:, 2:4]), size, signature), rows[:, 4:]


def orient_rows(rows: Floats, size: Size) -> Floats:
    """Rows (n, columns) as they are, or turned if they are (columns, n): n is the number of cells, or the larger."""
    cells = count_cells(size)
    if (rows.shape[0] in cells) != (rows.shape[1] in cells):
        return rows if rows.shape[0] in cells else rows.T
    return rows if rows.shape[0] >= rows.shape[1] else rows.T


def count_cells(size: Size) -> tuple[int, ...]:
    """The numbers of cells of an input of ``size`` px, for strides up to 32, and up to 64."""
    return len(make_grid(size)), len(make_grid(size, (*STRIDES, 64)))


def decode_end_to_end(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:
    """Corners, in ``units``, score and class."""
    rows = get_rows(outputs)
    return _to_pixels(rows[:, :4], size, signature), _spread(rows[:, 4], rows[:, 5])


def decode_dets_labels(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:  # noqa: ARG001
    """Corners in input pixels and score; labels."""
    rows = get_rows(outputs)
    labels = next(array for array in outputs.values() if array.ndim == 2)
    return rows[:, :4], _spread(rows[:, 4], labels.reshape(-1))


def decode_nanodet(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:  # noqa: ARG001
    """Decode scores and distributions of distances, one pair per stride, in either order."""
    scores, distances = _split_by_stride([array.astype(np.float32) for array in outputs.values()])
    strides = [_find_stride(len(table), size) for table in scores]
    cells = make_grid(size, strides)
    # The published centre is index * stride + (stride - 1) / 2 in index coordinates, half a pixel less than here.
    centres = (cells[:, :2] + 0.5) * cells[:, 2:]
    distances_px = _compute_means(np.concatenate(distances)) * cells[:, 2:]
    return np.concatenate([centres - distances_px[:, :2], centres + distances_px[:, 2:]], axis=1), np.concatenate(
        scores
    )


def decode_boxes_scores(outputs: Outputs, size: Size, signature: DetectorSignature) -> Detections:
    """Boxes and scores of the kinds in the signature; with labels, scores are 0 for every class but the label's."""
    boxes, scores, labels = split_boxes_scores(outputs)
    if signature.boxes == "centres":
        boxes = _to_corners(boxes[:, :2], boxes[:, 2:])
    boxes = _to_pixels(boxes, size, signature)
    scores = _to_probabilities(scores, signature.scores or "probabilities")
    return boxes, scores if labels is None else _spread(scores[:, 0], labels)


def split_boxes_scores(outputs: Outputs) -> tuple[Floats, Floats, NDArray[np.int64] | None]:
    """Boxes (n, 4), scores (n, classes) and labels (n,), if there are any."""
    name = find_boxes(outputs)
    boxes = outputs[name].reshape(-1, 4).astype(np.float32)
    others = [(key, array) for key, array in outputs.items() if key != name]
    labels = next((array for key, array in others if _is_labels(key, array, len(others))), None)
    scores = next(array for _, array in others if array is not labels).reshape(len(boxes), -1).astype(np.float32)
    return boxes, scores, None if labels is None else labels.reshape(-1).astype(np.int64)


def find_boxes(outputs: Outputs) -> str:
    """The name of the output of boxes (1, n, 4), or (n, 4) if the batch was left out."""
    found = [name for name, array in outputs.items() if array.ndim in (2, 3) and array.shape[-1] == 4]
    return next((name for name in found if "box" in name), max(found, key=lambda name: outputs[name].ndim))


def _is_labels(name: str, array: Array, others: int) -> bool:
    """Integers; or, beside scores, floats that a name calls labels."""
    if array.dtype.kind in "iu":
        return True
    return others == 2 and array.ndim < 3 and any(word in name for word in ("label", "class"))


def _spread(scores: Floats, labels: Array) -> Floats:
    """Scores (n,) as (n, classes), 0 for every class but the label's; labels that are no class pad the rows."""
    known = np.where((labels >= 0) & (labels < MOST_CLASSES), labels, -1)
    classes = max(1, int(known.max(initial=0)) + 1)
    return np.where(known[:, None] == np.arange(classes), scores[:, None], 0).astype(np.float32)


def _to_probabilities(scores: Floats, kind: ScoreKind) -> Floats:
    if kind == "probabilities":
        return scores
    if kind == "logits":
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -60, 60))), np.float32)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray((weights / weights.sum(axis=1, keepdims=True))[:, :-1], np.float32)


def _to_corners(centres: Floats, sizes: Floats) -> Floats:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _split_by_stride(outputs: Sequence[Floats]) -> tuple[list[Floats], list[Floats]]:
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


def _to_pixels(boxes: Floats, size: Size, signature: DetectorSignature) -> Floats:
    return boxes * np.tile(size, 2).astype(np.float32) if signature.units == "fractions" else boxes


WHITE: Triple = (255, 255, 255)
_YOLOX = Preprocessing("top-left", 114, "bgr")
_YOLO = Preprocessing("centre", 114, "rgb", std=WHITE)
_RTMDET = Preprocessing("top-left", 114, "bgr", IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])
_NANODET = Preprocessing("centre", 0, "bgr", IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])
_DETR = Preprocessing("stretch", 0, "rgb", std=WHITE)
_DETR_IMAGENET = Preprocessing("stretch", 0, "rgb", IMAGENET_MEAN, IMAGENET_STD)

_ALL = (_YOLO, _YOLOX, _DETR_IMAGENET)
"""Unit values, grey levels and normalised values: what a network of any family may have been trained with."""

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("yolox", decode_yolox, (_YOLOX, *_ALL)),
        Family("yolox-decoded", decode_objectness, (_YOLOX,)),
        Family("yolov5", decode_objectness, (_YOLO, *_ALL)),
        Family("yolov8", decode_yolov8, (_YOLO, *_ALL)),
        Family("end-to-end", decode_end_to_end, (_YOLO, *_ALL), False),
        Family("nanodet", decode_nanodet, (_NANODET, *_ALL)),
        Family("dets-labels", decode_dets_labels, (_RTMDET, *_ALL), False),
        Family("boxes-scores", decode_boxes_scores, (_DETR, _DETR_IMAGENET, *_ALL), False),
    )
}


def get_family(name: str) -> Family:
    """The family called ``name``. Raises :class:`EngineError` listing the families."""
    if name not in FAMILIES:
        raise EngineError(f"family {name!r} is not one of auto, {', '.join(FAMILIES)}")
    return FAMILIES[name]
