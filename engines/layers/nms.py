"""Non-maximum suppression: greedy, and linear soft-NMS (Bodla et al., ICCV 2017, Eq. 3). Boxes are x1, y1, x2, y2."""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou_with(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of one box (4,) with others (N, 4); NaN between two of no area."""
    corner = torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])
    inter = corner.clamp(min=0).prod(1)
    return inter / (area(box[None]) + area(boxes) - inter)


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices kept, best first: a box goes when its IoU with a better one exceeds ``threshold``."""
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        kept.append(order[0])
        rest = order[1:]
        order = rest[~(iou_with(boxes[order[0]], boxes[rest]) > threshold)]
    return torch.stack(kept) if kept else order


def soft_nms(boxes: Tensor, scores: Tensor, threshold: float, min_score: float) -> tuple[Tensor, Tensor]:
    """Linear soft-NMS: ``(indices, scores)`` in the order taken.

    Each box taken multiplies the score of every other with IoU >= ``threshold`` by (1 - IoU); one whose score falls
    below ``min_score`` is never taken.
    """
    left = torch.arange(len(scores), device=scores.device)
    scores = scores.clone()
    order, values = [], []
    while len(left):
        best = int(scores[left].argmax())
        index = left[best]
        order.append(index)
        values.append(scores[index].clone())
        left = torch.cat((left[:best], left[best + 1 :]))
        iou = iou_with(boxes[index], boxes[left])
        scores[left] *= torch.where(iou >= threshold, 1 - iou, torch.ones_like(iou))
        left = left[scores[left] >= min_score]
    if not order:
        return left, scores[:0]
    return torch.stack(order), torch.stack(values)
