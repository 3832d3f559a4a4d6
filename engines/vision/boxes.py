"""Boxes (N, 4): x1, y1, x2, y2 px."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def clip_boxes(boxes: NDArray[np.float32], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Boxes (N, 4) cut off at the edges of the frame ``pixels`` (H, W, 3)."""
    height, width = pixels.shape[:2]
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


MIN_SIDE_PX = 1.0
"""The least width and height of a person's box in the frame."""

SCORE_SLACK = 1e-3
"""How far above 1 half precision rounds a score."""


def find_people(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], pixels: NDArray[np.uint8], min_score: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Indices (n,) of the boxes (N, 4) that can be people in the frame ``pixels`` (H, W, 3); these boxes, and scores.

    A person's score (N,) is at least ``min_score`` and in 0..1, and their box, cut off at the frame's edges, has a
    width and a height: boxes that are inverted, without area, outside the frame or not finite are dropped.
    """
    # Compared so that NaN is never in order.
    is_scored = (scores >= min_score) & (scores <= 1 + SCORE_SLACK) & (scores >= 0)
    is_finite = np.asarray(np.isfinite(boxes).all(axis=1))
    clipped = clip_boxes(np.where(is_finite[:, None], boxes, 0), pixels)
    has_area = (clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE_PX).all(axis=1)
    found = np.nonzero(is_scored & is_finite & has_area)[0]
    return found, clipped[found].astype(np.float32), np.minimum(scores[found], 1).astype(np.float32)


def compute_iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4); 0 for two boxes without area.

    >>> compute_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [2, 2, 4, 4]])).round(2).tolist()
    [[0.33, 0.0]]
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    iou: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
