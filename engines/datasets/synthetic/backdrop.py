"""The background of a scene: a wall, a floor, furniture and light, rendered once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def render_backdrop(rng: np.random.Generator, width: int, height: int, horizon: float) -> Picture:
    """(height, width, 3) uint8 BGR; the floor begins a little below the row ``horizon``."""
    edge = int(np.clip(horizon + 0.12 * height, 0, height))
    picture = np.empty((height, width, 3), np.float32)
    picture[:edge] = rng.uniform(70, 215) + rng.normal(0, 14, 3)
    picture[edge:] = rng.uniform(50, 190) + rng.normal(0, 14, 3)
    picture += _texture(rng, width, height, 26.0)[..., None]
    _draw_furniture(rng, picture, edge)
    picture *= _light(rng, width, height)[..., None]
    picture += rng.normal(0, 3, picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, width: int, height: int, strength: float) -> NDArray[np.float32]:
    total = np.zeros((height, width), np.float32)
    for cells in (4, 11, 29):
        coarse = rng.normal(0, strength / np.sqrt(cells), (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _draw_furniture(rng: np.random.Generator, picture: NDArray[np.float32], edge: int) -> None:
    """Boxes and posts in front of the wall: edges that do not belong to people."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(5, 14))):
        w = rng.uniform(0.02, 0.25) * width
        h = rng.uniform(0.08, 0.5) * height
        x, base = rng.uniform(-0.1, 1.0) * width, edge + rng.uniform(-0.3, 0.06) * height
        colour = rng.uniform(25, 230) + rng.normal(0, 25, 3)
        corners = np.array([[x, base - h], [x + w, base - h], [x + w, base], [x, base]])
        corners += rng.normal(0, 0.006 * width, corners.shape)
        cv2.fillConvexPoly(picture, np.rint(corners).astype(np.int32), colour.tolist(), cv2.LINE_AA)
        if rng.random() < 0.5:
            cv2.polylines(picture, [np.rint(corners).astype(np.int32)], True, (colour * 0.6).tolist(), 2, cv2.LINE_AA)


def _light(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    xs = np.linspace(-1, 1, width, dtype=np.float32)
    ys = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = rng.normal(0, 0.12, 2).astype(np.float32)
    light: NDArray[np.float32] = 1 + slope[0] * xs + slope[1] * ys - 0.08 * (xs**2 + ys**2)
    return light
