"""Non-maximum suppression in numpy: greedy, and linear soft-NMS (Bodla et al., ICCV 2017, Eq. 3).

``engines.layers.nms`` is the same in PyTorch; pipelines run without PyTorch. OpenCV's ``softNMSBoxes`` takes only boxes
of whole pixels. Boxes are x1, y1, x2, y2 px.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.spec.picture_signature import Suppression
from engines.vision.boxes import compute_iou

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

MIN_SCORE = 1e-3
"""Soft-NMS drops candidates whose score falls below this, as in the published code."""


def suppress(boxes: Floats, scores: Floats, suppression: Suppression) -> tuple[Indices, Floats]:
    """Indices (n,) of the candidates that are left, best first, and their scores (n,), lowered by soft-NMS.

    ``boxes`` (N, 4), ``scores`` (N,).
    """
    if suppression.kind == "hard":
        kept = nms(boxes, scores, suppression.iou)
        return kept, scores[kept]
    return soft_nms(boxes, scores, suppression.iou)


def nms(boxes: Floats, scores: Floats, iou: float) -> Indices:
    """Indices (n,) of the boxes that are left, best first: none overlaps a better one by more than ``iou``."""
    remaining = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(int(best))
        remaining = remaining[compute_iou(boxes[best, None], boxes[remaining])[0] <= iou]
    return np.array(kept, np.intp)


def soft_nms(boxes: Floats, scores: Floats, iou: float, min_score: float = MIN_SCORE) -> tuple[Indices, Floats]:
    """Indices (n,) in the order in which boxes are taken, and the scores (n,) they then have.

    Each box taken multiplies the score of every remaining box by 1 - overlap if they overlap by at least ``iou``; boxes
    below ``min_score`` are dropped.
    """
    remaining, scores = np.arange(len(scores)), scores.astype(np.float32)
    order: list[int] = []
    while len(remaining):
        best = int(scores[remaining].argmax())
        index, remaining = remaining[best], np.delete(remaining, best)
        order.append(int(index))
        overlap = compute_iou(boxes[index, None], boxes[remaining])[0]
        scores[remaining] *= np.where(overlap >= iou, 1 - overlap, 1)
        remaining = remaining[scores[remaining] >= min_score]
    taken = np.array(order, np.intp)
    return taken, scores[taken]
