"""Suppression of doubles among candidates, in numpy: greedy, and linear soft-NMS (Bodla et al., ICCV 2017, Eq. 3).

What ``engines.layers.nms`` computes in PyTorch; a line runs without PyTorch. (OpenCV's ``softNMSBoxes`` takes boxes of
whole pixels only.) Boxes are x1, y1, x2, y2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.inference.detector_families import overlap, suppress
from engines.spec.picture_signature import Suppression

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

LEAST = 1e-3
"""A candidate whose score soft-NMS takes below this is nobody, as in the published code."""


def survivors(boxes: Floats, scores: Floats, suppression: Suppression) -> tuple[Indices, Floats]:
    """Indices of candidates that are people, best first, and their scores."""
    if suppression.kind == "hard":
        kept = suppress(boxes, scores, suppression.iou)
        return kept, scores[kept]
    return soft_nms(boxes, scores, suppression.iou)


def soft_nms(boxes: Floats, scores: Floats, iou: float, least: float = LEAST) -> tuple[Indices, Floats]:
    """Indices and scores (n,) in the order taken.

    Each box taken multiplies the score of every other that overlaps it by ``iou`` or more by what of it they do not
    share; one whose score falls below ``least`` is never taken.
    """
    left, scores = np.arange(len(scores)), scores.astype(np.float32)
    order: list[int] = []
    while len(left):
        best = int(scores[left].argmax())
        index, left = left[best], np.delete(left, best)
        order.append(int(index))
        shared = overlap(boxes[index], boxes[left])
        scores[left] *= np.where(shared >= iou, 1 - shared, 1)
        left = left[scores[left] >= least]
    taken = np.array(order, np.intp)
    return taken, scores[taken]
