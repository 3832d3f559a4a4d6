"""Heatmap decoding inside the graph: ``engines.vision.heatmaps`` in operations that export to ONNX.

Heatmaps then stay on the device: 17 maps of 96x72 cells become 51 numbers.
"""

from __future__ import annotations

from typing import Literal

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.vision.heatmaps import FLOOR

Decoding = Literal["heatmap", "dark"]

NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Steps (columns, rows) to the right, left, lower and upper neighbour."""
NEWTON_CELLS = (*NEIGHBOURS, (0, 0), (2, 0), (-2, 0), (0, 2), (0, -2), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""The cells that one Newton step reads, relative to the peak."""


def blur_width_px(input_size: tuple[int, int]) -> int:
    """Width of DARK's Gaussian blur in cells, as published: 11 for 256x192 (sigma 2), 17 for 384x288 (sigma 3)."""
    return 17 if input_size[0] >= 288 else 11


class Points(nn.Module):
    """``heatmaps (N, K, h, w) -> points (N, K, 3)``: x and y, index coordinates in the crop, px, and the score.

    Equal to ``engines.vision.heatmaps``: the first highest cell in reading order, (0, 0) if no cell is above 0, then a
    quarter of a cell towards the higher neighbour, or DARK's Newton step. ``input_size`` is (width, height) of the
    crop. Cell i lies on crop pixel i * stride (``Signature.cell="corner"``).
    """

    def __init__(self, how: Decoding, input_size: tuple[int, int], blur_px: int = 11) -> None:
        super().__init__()
        self.how, self.input_size = how, input_size
        # OpenCV's own weights, so that the blur equals the published one.
        taps = torch.from_numpy(cv2.getGaussianKernel(blur_px, 0, cv2.CV_32F)).flatten()
        self.register_buffer("taps", taps, persistent=False)
        self.register_buffer("floor", torch.tensor(FLOOR), persistent=False)
        self.taps: Tensor
        self.floor: Tensor

    def forward(self, heatmaps: Tensor) -> Tensor:
        height, width = heatmaps.shape[2:]
        best, score = find_peaks(heatmaps)
        rows = torch.div(best, width, rounding_mode="trunc")
        columns = best - rows * width
        step = self._newton(heatmaps, best) if self.how == "dark" else quarter_step(heatmaps, best)
        inside = self._inside(columns, rows, width, height)
        cells = torch.cat((columns, rows), dim=2).to(heatmaps.dtype) + torch.where(inside, step, 0.0)
        x, y = cells.split(1, dim=2)
        return torch.cat((x * (self.input_size[0] / width), y * (self.input_size[1] / height), score), dim=2)

    def _inside(self, columns: Tensor, rows: Tensor, width: int, height: int) -> Tensor:
        """Cells far enough from the border, as published: 1 < x < width - 1; for DARK, 1 < x < width - 2."""
        far = 2 if self.how == "dark" else 1
        return (columns > 1) & (columns < width - far) & (rows > 1) & (rows < height - far)

    def _newton(self, heatmaps: Tensor, best: Tensor) -> Tensor:
        """DARK's step (N, K, 2): the maximum of the log-heatmap's second-order expansion; 0 where it is flat."""
        around = read_cells(torch.log(torch.maximum(self._blur(heatmaps), self.floor)), best, NEWTON_CELLS)
        right, left, down, up, here, right2, left2, down2, up2, rd, ru, ld, lu = around.split(1, dim=2)
        dx, dy = 0.5 * (right - left), 0.5 * (down - up)
        dxx, dyy = 0.25 * (right2 - 2 * here + left2), 0.25 * (down2 - 2 * here + up2)
        dxy = 0.25 * (rd - ru - ld + lu)
        determinant = dxx * dyy - dxy * dxy
        is_flat = determinant == 0
        step = torch.cat((dxy * dy - dyy * dx, dxy * dx - dxx * dy), dim=2) / torch.where(is_flat, 1.0, determinant)
        return torch.where(is_flat, 0.0, step)

    def _blur(self, heatmaps: Tensor) -> Tensor:
        """Smooth by a Gaussian with zero padding, and scale each map back to its own maximum."""
        n, k, height, width = heatmaps.shape
        border = len(self.taps) // 2
        smooth = F.conv2d(heatmaps.reshape(-1, 1, height, width), self.taps[None, None, None], padding=(0, border))
        smooth = F.conv2d(smooth, self.taps[None, None, :, None], padding=(border, 0)).reshape(n, k, height, width)
        wanted, present = heatmaps.amax((2, 3), keepdim=True), smooth.amax((2, 3), keepdim=True)
        is_empty = present == 0
        return smooth * torch.where(is_empty, 1.0, wanted / torch.where(is_empty, 1.0, present))


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The first highest cell in reading order (N, K, 1) and its value (N, K, 1); cell 0 where that is not above 0."""
    flat = heatmaps.flatten(2)
    best = flat.argmax(dim=2, keepdim=True)
    score = flat.gather(2, best)
    return torch.where(score > 0, best, 0), score


def read_cells(maps: Tensor, cells: Tensor, around: tuple[tuple[int, int], ...]) -> Tensor:
    """Values (N, K, P) of ``maps`` at the steps ``around`` from ``cells`` (N, K, 1); arbitrary beyond the map."""
    height, width = maps.shape[2:]
    # Python numbers: a tensor made here would be copied to the device in every call, which CUDA graphs do not allow.
    beside = torch.cat([cells + (row * width + column) for column, row in around], dim=2)
    return maps.flatten(2).gather(2, beside.clamp(0, height * width - 1))


def quarter_step(heatmaps: Tensor, best: Tensor) -> Tensor:
    """A quarter of a cell (N, K, 2) towards the higher neighbour across and down."""
    right, left, down, up = read_cells(heatmaps, best, NEIGHBOURS).split(1, dim=2)
    return torch.cat((torch.sign(right - left), torch.sign(down - up)), dim=2) * 0.25
