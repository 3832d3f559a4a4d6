"""Decoding of heatmaps: argmax with a quarter shift (HRNet), and DARK.

DARK is Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020. All functions
are vectorised over N people and K joints, return index coordinates in cells, and equal the published ones, which tests
compare.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Heatmaps = NDArray[np.float32]

FLOOR = 1e-10
"""The least value that DARK takes the logarithm of, as published."""

BLURRED_AT_ONCE = 17
"""Maps: those of one person of COCO. Many more do not fit a core's cache."""


def find_peaks(heatmaps: Heatmaps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The highest cells (N, K, 2), x and y, and their values (N, K), of heatmaps (N, K, h, w).

    The first in reading order wins a tie. A cell whose value is not above 0 is (0, 0), as published.
    """
    people, joints, _, width = heatmaps.shape
    flat = heatmaps.reshape(people, joints, -1)
    best = flat.argmax(axis=2)
    values = np.take_along_axis(flat, best[..., None], axis=2)[..., 0]
    cells = np.stack([best % width, best // width], axis=2).astype(np.float32)
    cells[values <= 0] = 0
    return cells, values


def decode(heatmaps: Heatmaps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (N, K, 2), x and y in cells, and scores (N, K), of heatmaps (N, K, h, w).

    A point is the highest cell, moved a quarter of a cell towards the higher neighbour in x and in y. A maximum in the
    first two or the last column or row is not moved, as published: 1 < x < width - 1.
    """
    cells, values = find_peaks(heatmaps)
    people, joints, columns, rows = _find_inner_cells(cells, heatmaps.shape)
    across = heatmaps[people, joints, rows, columns + 1] - heatmaps[people, joints, rows, columns - 1]
    down = heatmaps[people, joints, rows + 1, columns] - heatmaps[people, joints, rows - 1, columns]
    cells[people, joints] += np.stack([np.sign(across), np.sign(down)], axis=1) * np.float32(0.25)
    return cells, values


def _find_inner_cells(
    cells: NDArray[np.float32], shape: tuple[int, ...], margin: int = 1
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Person, joint, column and row of the cells that are more than ``margin`` cells from the border."""
    height, width = shape[2:]
    columns, rows = cells[..., 0].astype(np.intp), cells[..., 1].astype(np.intp)
    inside = (columns > margin) & (columns < width - margin) & (rows > margin) & (rows < height - margin)
    people, joints = np.nonzero(inside)
    return people, joints, columns[people, joints], rows[people, joints]


def decode_dark(heatmaps: Heatmaps, blur_px: int = 11) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (N, K, 2), x and y in cells, and scores (N, K), of heatmaps (N, K, h, w), by DARK.

    A point is the peak of a Gaussian fitted to the logarithm of the blurred heatmap about its highest cell. ``blur_px``
    is the width of the blur in cells, odd: 11 for heatmaps drawn with sigma 2 (256x192), 17 for sigma 3 (384x288).
    """
    cells, values = find_peaks(heatmaps)
    smooth = _blur(heatmaps, blur_px)
    # Published: the whole map is rescaled to its old maximum and its logarithm taken. Few cells of it are read.
    scales = _divide(values, smooth.max((2, 3)))
    people, joints, columns, rows = _find_inner_cells(cells, heatmaps.shape)
    # A Newton step reads two cells on each side, one more at the far border than the check above leaves.
    height, width = heatmaps.shape[2:]
    inside = (columns < width - 2) & (rows < height - 2)
    people, joints, columns, rows = people[inside], joints[inside], columns[inside], rows[inside]
    around = np.arange(-2, 3)
    person, joint, row, column = (index[:, None, None] for index in (people, joints, rows, columns))
    patches = smooth[person, joint, row + around[:, None], column + around] * scales[person, joint]
    cells[people, joints] += _newton_step(np.log(np.maximum(patches, np.float32(FLOOR))))
    return cells, values


def _newton_step(patches: Heatmaps) -> NDArray[np.float32]:
    """The peak (n, 2), x and y, of the second-order Taylor expansion about the middle of ``patches`` (n, 5, 5).

    It is relative to the middle; 0 if the patch is flat.
    """

    def at(right: int, down: int) -> NDArray[np.float32]:
        return patches[:, 2 + down, 2 + right]

    dx, dy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    dxx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    dyy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    determinant = dxx * dyy - dxy * dxy
    safe = np.where(determinant == 0, 1, determinant)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / safe[:, None]
    return np.where(determinant[:, None] == 0, 0, step).astype(np.float32)


def _blur(heatmaps: Heatmaps, blur_px: int) -> Heatmaps:
    """Each heatmap smoothed by a Gaussian, with zeros beyond its border."""
    height, width = heatmaps.shape[2:]
    border = (blur_px - 1) // 2
    inner = slice(border, border + height), slice(border, border + width)
    maps = heatmaps.reshape(-1, height, width)
    smooth = np.empty_like(maps)
    padded = np.zeros((min(len(maps), BLURRED_AT_ONCE), height + 2 * border, width + 2 * border), np.float32)
    for start in range(0, len(maps), BLURRED_AT_ONCE):
        taken = maps[start : start + BLURRED_AT_ONCE]
        padded[: len(taken), *inner] = taken
        # One picture of these maps, below each other. The zeros keep them apart, and OpenCV's reflected border outside.
        column = cv2.GaussianBlur(padded.reshape(-1, width + 2 * border), (blur_px, blur_px), 0)
        smooth[start : start + len(taken)] = column.reshape(padded.shape)[: len(taken), *inner]
    return smooth.reshape(heatmaps.shape)


def _divide(target: NDArray[np.float32], value: NDArray[np.float32]) -> NDArray[np.float32]:
    """``target / value``, and 1 for a value of 0."""
    scale: NDArray[np.float32] = np.divide(target, value, out=np.ones_like(target), where=value != 0)
    return scale


def cells_to_crop(cells: NDArray[np.float32], stride: tuple[float, float], cell: str) -> NDArray[np.float64]:
    """Cells (..., 2) as index coordinates (..., 2) px of the crop; ``stride`` is crop pixels per cell, (x, y).

    ``cell`` is as in :class:`engines.spec.signature.Signature`.
    """
    step = np.array(stride)
    positions: NDArray[np.float64] = cells.astype(np.float64) * step
    return positions if cell == "corner" else positions + (step - 1) / 2
