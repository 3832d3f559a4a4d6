"""Heatmaps to keypoints: the highest cell, a quarter of a cell towards the higher neighbour, or DARK.

Coordinates here are cells of the heatmap (index coordinates); ``engines.inference.engine`` takes them to the frame.
All are vectorised over people N and joints K, and equal the published functions (HRNet; Zhang et al.,
"Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020), judged by goldens made with those
functions.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Heatmaps = NDArray[np.float32]

FLOOR = 1e-10
"""DARK takes a logarithm: nothing below this, as published."""


def find_peaks(heatmaps: Heatmaps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first highest cell in reading order, x and y (N, K, 2), and its value (N, K).

    Where the highest value is not above 0 the cell is (0, 0), as published.
    """
    people, joints, _, width = heatmaps.shape
    flat = heatmaps.reshape(people, joints, -1)
    best = flat.argmax(axis=2)
    values = np.take_along_axis(flat, best[..., None], axis=2)[..., 0]
    cells = np.stack([best % width, best // width], axis=2).astype(np.float32)
    cells[values <= 0] = 0
    return cells, values


def decode(heatmaps: Heatmaps) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The highest cells moved a quarter of a cell towards the higher neighbour in x and in y: (N, K, 2), (N, K).

    A maximum in the first two columns or rows, or in the last, stays where it is: 1 < x < width - 1, as published.
    """
    cells, values = find_peaks(heatmaps)
    people, joints, columns, rows = _where_neighbours_count(cells, heatmaps.shape)
    across = heatmaps[people, joints, rows, columns + 1] - heatmaps[people, joints, rows, columns - 1]
    down = heatmaps[people, joints, rows + 1, columns] - heatmaps[people, joints, rows - 1, columns]
    cells[people, joints] += np.stack([np.sign(across), np.sign(down)], axis=1) * np.float32(0.25)
    return cells, values


def _where_neighbours_count(
    cells: NDArray[np.float32], shape: tuple[int, ...], margin: int = 1
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Person, joint, column and row of the cells far enough from the border."""
    height, width = shape[2:]
    columns, rows = cells[..., 0].astype(np.intp), cells[..., 1].astype(np.intp)
    inside = (columns > margin) & (columns < width - margin) & (rows > margin) & (rows < height - margin)
    people, joints = np.nonzero(inside)
    return people, joints, columns[people, joints], rows[people, joints]


def decode_dark(heatmaps: Heatmaps, blur_px: int = 11) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The peak of the Gaussian that fits the logarithm of the blurred map around its highest cell: (N, K, 2), (N, K).

    ``blur_px`` is the width of the blur, odd: 11 for maps drawn with sigma 2 (256x192), 17 for sigma 3 (384x288).
    """
    cells, values = find_peaks(heatmaps)
    logarithms = np.log(np.maximum(_blurred(heatmaps, blur_px), np.float32(FLOOR)))
    people, joints, columns, rows = _where_neighbours_count(cells, heatmaps.shape)
    # One Newton step reads two cells to each side; the comparison above leaves one too few at the far border.
    height, width = heatmaps.shape[2:]
    near = (columns < width - 2) & (rows < height - 2)
    people, joints, columns, rows = people[near], joints[near], columns[near], rows[near]
    cells[people, joints] += _newton_step(logarithms, people, joints, columns, rows)
    return cells, values


def _newton_step(
    maps: Heatmaps,
    people: NDArray[np.intp],
    joints: NDArray[np.intp],
    columns: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Where the second-order expansion of each map about its cell has its top, relative to the cell; 0 where flat."""

    def at(right: int, down: int) -> NDArray[np.float32]:
        return maps[people, joints, rows + down, columns + right]

    dx, dy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    dxx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    dyy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    dxy = 0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1))
    determinant = dxx * dyy - dxy * dxy
    safe = np.where(determinant == 0, 1, determinant)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / safe[:, None]
    return np.where(determinant[:, None] == 0, 0, step).astype(np.float32)


def _blurred(heatmaps: Heatmaps, blur_px: int) -> Heatmaps:
    """Each map smoothed by a Gaussian, zero beyond its border, and scaled back to its own maximum."""
    border = (blur_px - 1) // 2
    padded = np.pad(heatmaps, ((0, 0), (0, 0), (border, border), (border, border)))
    smooth = np.empty_like(heatmaps)
    for place in np.ndindex(heatmaps.shape[:2]):
        # Padding first, so that OpenCV's reflected border lies beyond what is kept.
        smooth[place] = cv2.GaussianBlur(padded[place], (blur_px, blur_px), 0)[border:-border, border:-border]
    return smooth * _ratio(heatmaps.max((2, 3)), smooth.max((2, 3)))[:, :, None, None]


def _ratio(wanted: NDArray[np.float32], present: NDArray[np.float32]) -> NDArray[np.float32]:
    """``wanted / present``, and 1 where there is nothing to scale."""
    scale: NDArray[np.float32] = np.divide(wanted, present, out=np.ones_like(wanted), where=present != 0)
    return scale


def cells_to_crop(cells: NDArray[np.float32], stride: tuple[float, float], cell: str) -> NDArray[np.float64]:
    """Cells (..., 2) as index coordinates in the crop; ``stride`` is crop pixels a cell, x and y.

    ``cell`` is as in :class:`engines.spec.signature.Signature`.
    """
    step = np.array(stride)
    positions: NDArray[np.float64] = cells.astype(np.float64) * step
    return positions if cell == "corner" else positions + (step - 1) / 2
