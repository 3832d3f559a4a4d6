"""How right keypoints are: PCK, the percentage of correct keypoints.

A keypoint is correct when it lies within ``alpha`` times the person's size of the truth; the size is the longer side of
the true box, as in the evaluation of Penn Action and Sub-JHMDB (Yang and Ramanan, TPAMI 2013, with alpha 0.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

HIDDEN, VISIBLE = 1, 2

ALPHAS = (0.05, 0.1, 0.2)
"""Of the longer side of the true box."""


@dataclass(frozen=True)
class Pck:
    """Counts that add up over frames; ``float(pck)`` is the share, NaN where nothing was judged."""

    correct: int = 0
    judged: int = 0

    def __add__(self, other: Pck) -> Pck:
        return Pck(self.correct + other.correct, self.judged + other.judged)

    def __float__(self) -> float:
        return self.correct / self.judged if self.judged else float("nan")


def find_correct(predicted: Floats, truth: Floats, boxes: Floats, alpha: float = 0.2) -> NDArray[np.bool_]:
    """(N, K) whether each keypoint is near enough; ``predicted``, ``truth`` (N, K, >=2) px, ``boxes`` (N, 4) px."""
    size = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0.0)
    distance = np.hypot(*np.moveaxis(predicted[..., :2] - truth[..., :2], -1, 0))
    near: NDArray[np.bool_] = distance <= alpha * size[:, None]
    return near


def pck(predicted: Floats, truth: Floats, boxes: Floats, alpha: float = 0.2, visibility: int = VISIBLE) -> Pck:
    """Over the keypoints whose visibility in ``truth`` (N, K, 3) is at least ``visibility``."""
    judged = truth[..., 2] >= visibility
    near = find_correct(predicted, truth, boxes, alpha)
    return Pck(int((near & judged).sum()), int(judged.sum()))


def compute_matched_pck(boxes: Floats, keypoints: Floats, true_boxes: Floats, truth: Floats, alpha: float = 0.2) -> Pck:
    """:func:`pck` of one frame's people, of whom nobody says who is who: a person who was not found is all wrong.

    ``boxes`` (N, 4) px and ``keypoints`` (N, K, >=2) px were found, ``true_boxes`` (M, 4) and ``truth`` (M, K, 3) are.
    """
    found, true = match_boxes(boxes, true_boxes)
    nearest = np.full((*truth.shape[:2], 2), np.inf, np.float64)
    nearest[true] = keypoints[found, :, :2]
    return pck(nearest, truth, true_boxes, alpha)


def match_boxes(
    boxes: Floats, true_boxes: Floats, least_iou: float = 0.3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (indices into each) of boxes that mean the same person: greedily by intersection over union."""
    iou = _ious(boxes, true_boxes)
    rows, columns = [], []
    while iou.size and iou.max() >= least_iou:
        row, column = np.unravel_index(int(iou.argmax()), iou.shape)
        rows.append(int(row))
        columns.append(int(column))
        iou[row], iou[:, column] = -1, -1
    return np.array(rows, np.int64), np.array(columns, np.int64)


def _ious(a: Floats, b: Floats) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float64)
