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
