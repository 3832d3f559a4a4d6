"""The readings of a detector's outputs that its shapes and numbers allow."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from engines.inference.detector_families import (
    DISTANCE_COLUMNS,
    MOST_QUERIES,
    Floats,
    Outputs,
    Size,
    count_cells,
    orient_rows,
    split_boxes_scores,
)
from engines.spec.detector_signature import BoxKind, DetectorSignature, ScoreKind
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Units

USUAL_CLASSES = (1, 80)
"""A detector of people, and COCO."""

DETR_COLUMNS = (91, 92)
"""The classes of DETR and RF-DETR, which take normalised pictures."""

TABLES = ("yolox-decoded", "yolov5", "yolov8", "end-to-end")
"""The families of one table whose boxes may be in pixels or in fractions."""

POSE_COLUMNS = 1 + 17 * 3
"""A person and 17 keypoints, rather than 52 classes."""

FEW = 0.2
"""The share of boxes that may be inverted by chance: rows that stand for nothing."""

SLACK = 1e-3
"""What half precision adds to a score."""


def list_readings(
    outputs: Outputs, size: Size, classes: Sequence[str], given: DetectorSignature
) -> list[DetectorSignature]:
    """Signatures that fit ``outputs`` of an input of ``size`` px, the likeliest first; empty if none does.

    ``classes`` are the names of the classes, if the file has them. What ``given`` states is kept.
    """
    if given.family != "auto":
        names = [given.family]
    else:
        names = _list_families(outputs, size, len(classes))
    return [option for name in names for option in _list_options(outputs, size, given, name)]


def _list_families(outputs: Outputs, size: Size, classes: int) -> list[str]:
    if _is_nanodet(outputs):
        return ["nanodet"]
    if _is_dets_labels(outputs):
        return ["dets-labels"]
    if _is_boxes_scores(outputs):
        return ["boxes-scores"]
    tables = [array for array in outputs.values() if array.ndim != 5]  # YOLOv5 also returned its maps
    if len(tables) == 1 and tables[0].ndim == 3:
        return _list_table_families(tables[0][0].astype(np.float32), size, classes)
    return []


def _list_table_families(rows: Floats, size: Size, classes: int) -> list[str]:
    """The families of one table (n, columns) or (columns, n)."""
    cells = count_cells(size)
    count, columns = rows.shape
    is_dense = count in cells or count in [3 * number for number in cells]
    if is_dense and columns > 5:
        return _list_dense_families(rows, size, classes)
    if columns == 6 and _is_end_to_end(rows):
        return ["end-to-end"]
    turned = orient_rows(rows, size)
    if turned.shape[1] < 5 or not _is_probable(turned[:, 4:]) or turned.shape[1] - 4 == POSE_COLUMNS != classes:
        return []
    is_queries = len(turned) <= MOST_QUERIES and _find_units(turned[:, :4]) == "fractions"
    return ["yolov8"] if len(turned) in cells or is_queries else []


def _list_dense_families(rows: Floats, size: Size, classes: int) -> list[str]:
    """The families of a table (n, columns) with a row for each cell, or for each of its three boxes."""
    known, columns = ((classes,) if classes else USUAL_CLASSES), rows.shape[1]
    is_large = len(rows) not in count_cells(size)
    if not is_large and _is_relative(rows, size) and not _is_spread(rows):
        return ["yolox"]
    if not _is_probable(rows[:, 4:]):
        return []
    if is_large:
        return ["yolov5"]
    if columns - 5 in known:
        return ["yolox-decoded", "yolov5"]
    return ["yolov8"] if columns - 4 in known else ["yolox-decoded", "yolov5", "yolov8"]


def _is_relative(rows: Floats, size: Size) -> bool:
    """YOLOX before decoding: centres relative to cells are small."""
    return float(np.percentile(rows[:, :2], 90)) <= min(size) / 4


def _is_spread(rows: Floats) -> bool:
    """Fractions of the input's size: centres all over it, and no size below 0, as logarithms of sizes have."""
    low, high = np.percentile(rows[:, :2], (10, 90))
    return bool(high - low >= 0.5 and (rows[:, 2:4] >= 0).all()) and _find_units(rows[:, :4]) == "fractions"


def _is_probable(scores: Floats) -> bool:
    return bool(((scores >= -SLACK) & (scores <= 1 + SLACK)).all())


def _is_end_to_end(rows: Floats) -> bool:
    classes = rows[:, 5]
    return _is_probable(rows[:, 4]) and bool((classes == np.rint(classes)).all()) and _count_inverted(rows) <= FEW


def _count_inverted(boxes: Floats) -> float:
    """The share of boxes (n, >= 4) that are no corners: the second is above or left of the first."""
    return float((boxes[:, 2:4] < boxes[:, :2]).any(axis=1).mean()) if len(boxes) else 0.0


def _is_nanodet(outputs: Outputs) -> bool:
    widths = [array.shape[-1] for array in outputs.values() if array.ndim == 3]
    return len(outputs) in (6, 8) and widths.count(DISTANCE_COLUMNS) == len(outputs) / 2


def _is_dets_labels(outputs: Outputs) -> bool:
    kinds = sorted((array.ndim, array.shape[-1] == 5, array.dtype.kind in "iu") for array in outputs.values())
    return len(kinds) == 2 and kinds[0][::2] == (2, True) and kinds[1] == (3, True, False)


def _is_boxes_scores(outputs: Outputs) -> bool:
    boxes = [array for array in outputs.values() if array.ndim in (2, 3) and array.shape[-1] == 4]
    if not boxes or len(outputs) not in (2, 3):
        return False
    count = boxes[0].shape[-2]
    return all(array.ndim in (1, 2, 3) and count in array.shape for array in outputs.values())


def _list_options(outputs: Outputs, size: Size, given: DetectorSignature, name: str) -> list[DetectorSignature]:
    """The signatures of family ``name``: kinds of boxes and scores, where the family leaves them open."""
    if name in TABLES:
        rows = next(array for array in outputs.values() if array.ndim == 3)[0]
        boxes = orient_rows(rows, size)[:, :4] if name == "yolov8" else rows[:, :4]
        return [msgspec.structs.replace(given, family=name, units=given.units or _find_units(boxes))]
    if name != "boxes-scores":
        return [msgspec.structs.replace(given, family=name)]
    boxes, scores, _ = split_boxes_scores(outputs)
    kind = given.scores or _find_score_kind(scores)
    if scores.shape[1] in DETR_COLUMNS and given.mean is given.std is None:
        given = msgspec.structs.replace(given, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return [
        msgspec.structs.replace(given, family=name, boxes=box, units=given.units or _find_units(boxes), scores=kind)
        for box in ([given.boxes] if given.boxes else _list_box_kinds(outputs, boxes, kind))
    ]


def _find_units(boxes: Floats) -> Units:
    """Fractions of the input's size, if no box exceeds the input by its size."""
    return "fractions" if boxes.size and 0 < float(np.abs(boxes).max()) <= 2 else "pixels"


def _find_score_kind(scores: Floats) -> ScoreKind:
    """DETR's 91 classes and nothing are a softmax; other numbers outside 0..1 are logits of a sigmoid."""
    if _is_probable(scores):
        return "probabilities"
    return "softmax" if scores.shape[1] == 92 else "logits"


def _list_box_kinds(outputs: Outputs, boxes: Floats, scores: ScoreKind) -> list[BoxKind]:
    """Corners are never inverted. Networks that give logits give centres, as DETR's heads do."""
    is_inverted = _count_inverted(boxes) > FEW
    has_sizes = bool((boxes[:, 2:] >= 0).mean() > 1 - FEW) if len(boxes) else True
    if is_inverted or "pred_boxes" in outputs:
        return ["centres"] if has_sizes else []
    if scores == "probabilities":
        return ["corners"] if len(boxes) else ["corners", "centres"]
    return ["centres", "corners"]
