"""Residual Steps Block: Learning Delicate Local Representations for Multi-Person Pose Estimation, Cai et al., 2020.

A 1×1 convolution splits its result into four slices; slice i passes i+1 3×3 convolutions, and every step also adds the
output of the step above it (Fig. 3), so that one block combines many receptive fields.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLICES = 4


class ConvBN(nn.Module):
    """Convolution with bias, batch normalisation, and ReLU unless ``relu`` is False."""

    def __init__(self, cin: int, cout: int, kernel: int, *, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(cout)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return F.relu(y) if self.relu else y


class ResidualStepsBlock(nn.Module):
    """``(B, cin, h, w) -> (B, cout, h, w)``; each slice is ``cin·26 // 64`` channels wide."""

    def __init__(self, cin: int, cout: int, *, project: bool) -> None:
        super().__init__()
        width = cin * 26 // 64
        self.split = ConvBN(cin, SLICES * width, 1)
        self.steps = nn.ModuleList(nn.ModuleList(ConvBN(width, width, 3) for _ in range(i + 1)) for i in range(SLICES))
        self.join = ConvBN(SLICES * width, cout, 1, relu=False)
        self.skip = ConvBN(cin, cout, 1, relu=False) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        above: list[Tensor] = []
        ends = []
        for piece, steps in zip(self.split(x).chunk(SLICES, dim=1), self.steps, strict=True):
            y, here = piece, []
            for i, step in enumerate(steps.children()):
                y = step(y + above[i]) if i < len(above) else step(y)
                here.append(y)
            above = here
            ends.append(y)
        return F.relu(self.join(torch.cat(ends, dim=1)) + self.skip(x))


def rsb_chain(cin: int, cout: int, blocks: int) -> nn.Sequential:
    """``blocks`` blocks in a row; the first one changes the channels."""
    return nn.Sequential(
        ResidualStepsBlock(cin, cout, project=True),
        *(ResidualStepsBlock(cout, cout, project=False) for _ in range(blocks - 1)),
    )
