"""PCK, the percentage of correct keypoints.

A keypoint is correct if its distance to the true one is at most ``alpha`` times the person's size: the longer side of
the true box, as in the evaluation of Penn Action and Sub-JHMDB (Yang and Ramanan, TPAMI 2013, with alpha 0.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.vision.boxes import compute_iou

Floats = NDArray[np.float32] | NDArray[np.float64]

HIDDEN, VISIBLE = 1, 2
"""COCO's visibility flags: annotated but not visible, and visible."""

ALPHAS = (0.05, 0.1, 0.2)
"""Common thresholds, as a share of the longer side of the true box."""


def mean_known(numbers: NDArray[np.float64] | Sequence[float]) -> float:
    """The mean of the numbers that are not NaN; NaN if there are none.

    >>> mean_known([1.0, float("nan"), 3.0]), mean_known([])
    (2.0, nan)
    """
    values = np.asarray(numbers, np.float64)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True)
class Pck:
    """``correct`` of ``total`` keypoints. Counts can be added; ``float(pck)`` is the share, NaN for a total of 0.

    >>> float(Pck(1, 2) + Pck(2, 2))
    0.75
    """

    correct: int = 0
    total: int = 0

    def __add__(self, other: Pck) -> Pck:
        return Pck(self.correct + other.correct, self.total + other.total)

    def __float__(self) -> float:
        return self.correct / self.total if self.total else float("nan")


def find_correct(predicted: Floats, truth: Floats, boxes: Floats, alpha: float = 0.2) -> NDArray[np.bool_]:
    """Which keypoints are correct, (N, K) bool.

    ``predicted`` and ``truth`` are (N, K, 2 or 3), x px, y px first; ``boxes`` (N, 4) px are the true ones.
    """
    size = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0.0)
    distance = np.hypot(*np.moveaxis(predicted[..., :2] - truth[..., :2], -1, 0))
    is_correct: NDArray[np.bool_] = distance <= alpha * size[:, None]
    return is_correct


def compute_pck(predicted: Floats, truth: Floats, boxes: Floats, alpha: float = 0.2, visibility: int = VISIBLE) -> Pck:
    """PCK over the keypoints whose flag in ``truth`` (N, K, 3) is at least ``visibility``; see :func:`find_correct`."""
    counted = truth[..., 2] >= visibility
    is_correct = find_correct(predicted, truth, boxes, alpha)
    return Pck(int((is_correct & counted).sum()), int(counted.sum()))


def compute_matched_pck(boxes: Floats, keypoints: Floats, true_boxes: Floats, truth: Floats, alpha: float = 0.2) -> Pck:
    """:func:`compute_pck` of the people detected in one frame, matched to the true people by their boxes.

    ``boxes`` (N, 4) px and ``keypoints`` (N, K, 2 or 3) px are detected, ``true_boxes`` (M, 4) and ``truth`` (M, K, 3)
    are true. All keypoints of a person that was not detected count as wrong.
    """
    detected, true = match_boxes(boxes, true_boxes)
    matched = np.full((*truth.shape[:2], 2), np.inf, np.float64)
    matched[true] = keypoints[detected, :, :2]
    return compute_pck(matched, truth, true_boxes, alpha)


def match_boxes(boxes: Floats, true_boxes: Floats, min_iou: float = 0.3) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (n,) into ``boxes`` (N, 4) and (n,) into ``true_boxes`` (M, 4) of the same people.

    Pairs are taken greedily, highest intersection over union first, down to ``min_iou``.
    """
    iou = np.array(compute_iou(boxes, true_boxes), np.float64)
    rows, columns = [], []
    while iou.size and iou.max() >= min_iou:
        row, column = np.unravel_index(int(iou.argmax()), iou.shape)
        rows.append(int(row))
        columns.append(int(column))
        iou[row], iou[:, column] = -1, -1
    return np.array(rows, np.int64), np.array(columns, np.int64)
