"""The loss of a box head: generalised intersection over union (Rezatofighi et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

_EPS = 1e-7


def giou_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """1 - GIoU of each pair of boxes (n, 4) x1, y1, x2, y2 px: (n,), from 0 for equal ones to 2.

    >>> box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> [round(float(giou_loss(box, box + shift)), 3) for shift in (0.0, 2.0)]
    [0.0, 1.5]
    """
    shared = _area(torch.maximum(predicted[:, :2], wanted[:, :2]), torch.minimum(predicted[:, 2:], wanted[:, 2:]))
    hull = _area(torch.minimum(predicted[:, :2], wanted[:, :2]), torch.maximum(predicted[:, 2:], wanted[:, 2:]))
    union = _area(predicted[:, :2], predicted[:, 2:]) + _area(wanted[:, :2], wanted[:, 2:]) - shared
    return 1 - shared / (union + _EPS) + (hull - union) / (hull + _EPS)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(1)
