"""Heatmaps as probability distributions: the last convolution of a network trained with cross-entropy.

Most cells of a heatmap are empty, and under a squared error a small network first learns to predict zero everywhere. A
softmax over the cells (as in integral regression, Sun et al., ECCV 2018) avoids that: the empty cells need no fitting.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class SoftmaxHeatmaps(nn.Conv2d):
    """``(B, C, h, w) -> heatmaps (B, J, h, w)``: a convolution, a softmax over the cells of each map, a scale.

    Each map sums to 2πσ², as a Gaussian of ``sigma`` cells with a peak of 1 does. A joint located as sharply as the
    target peaks at 1; one with two equally likely positions peaks at 0.5 in each. The peak is therefore a score, and
    these heatmaps decode like published ones. Names and shapes of parameters are those of a plain convolution.
    """

    def __init__(self, cin: int, joints: int, kernel: int, sigma: float) -> None:
        super().__init__(cin, joints, kernel, padding=kernel // 2)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return softmax_heatmaps(super().forward(x), self.sigma)


def softmax_heatmaps(logits: Tensor, sigma: float) -> Tensor:
    """Maps (B, J, h, w) as distributions, scaled as those of :class:`SoftmaxHeatmaps`."""
    return 2 * math.pi * sigma**2 * F.softmax(logits.flatten(2), dim=-1).unflatten(2, logits.shape[2:])


def heatmap_layer(cin: int, joints: int, kernel: int, sigma: float | None) -> nn.Conv2d:
    """The last layer of a network: a plain convolution, or with ``sigma`` a :class:`SoftmaxHeatmaps`."""
    if sigma is not None:
        return SoftmaxHeatmaps(cin, joints, kernel, sigma)
    return nn.Conv2d(cin, joints, kernel, padding=kernel // 2)
