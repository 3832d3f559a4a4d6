"""What a network makes of a few windows, to be looked at: the key frame with the truth, and beside it what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.metrics import VISIBLE
from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD
from engines.training.batches import Batch
from engines.training.objective import Objective
from engines.training.synthetic_validation import keypoints_in

Picture = NDArray[np.uint8]

COLUMNS: Final = 4
_HEIGHT_PX: Final = 256
_BORDER_PX: Final = 4
_WHITE: Final = 255
# Sub-pixel drawing: coordinates are given in sixteenths.
_SHIFT: Final = 4


def sheet(objective: Objective, batch: Batch, key: int, skeleton: str) -> Picture:
    """(H, W, 3) BGR: of each window of ``batch`` frame ``key`` twice, left the truth and right what the network says.

    Only joints that the truth knows are drawn, on both sides; hidden ones as rings.
    """
    found, _ = keypoints_in(objective, batch.crops)
    tiles = [
        _pair(crop, truth, points, SKELETONS[skeleton])
        for crop, truth, points in zip(batch.crops[:, key].numpy(), batch.joints.numpy(), found, strict=True)
    ]
    return _grid(tiles)


def _pixels(crop: NDArray[np.float32]) -> Picture:
    """(3, h, w) as the network takes it, as a picture of _HEIGHT_PX rows."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = np.clip(crop * std + mean, 0, 255).round().astype(np.uint8)[::-1].transpose(1, 2, 0)
    size = (round(pixels.shape[1] * _HEIGHT_PX / pixels.shape[0]), _HEIGHT_PX)
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _pair(
    crop: NDArray[np.float32], truth: NDArray[np.float32], found: NDArray[np.float64], skeleton: Skeleton
) -> Picture:
    pixels, zoom = _pixels(crop), _HEIGHT_PX / crop.shape[1]
    told = np.concatenate([found, truth[:, 2:]], axis=1)
    sides = [_drawn(pixels, joints, zoom, skeleton) for joints in (truth, told)]
    margin = (_BORDER_PX, _BORDER_PX)
    return np.pad(np.hstack(sides), (margin, margin, (0, 0)), constant_values=_WHITE)


def _drawn(pixels: Picture, joints: NDArray[np.floating], zoom: float, skeleton: Skeleton) -> Picture:
    picture = pixels.copy()
    # Index coordinates: the middle of a pixel stays in the middle when pixels grow.
    grown = np.rint((joints[:, :2] * zoom + (zoom - 1) / 2) * 2**_SHIFT).astype(int)
    places = [(int(x), int(y)) for x, y in grown]
    for start, end in skeleton.limbs:
        if joints[start, 2] and joints[end, 2]:
            cv2.line(picture, places[start], places[end], skeleton.colours[end], 2, cv2.LINE_AA, _SHIFT)
    for place, colour, seen in zip(places, skeleton.colours, joints[:, 2], strict=True):
        if seen:
            width = -1 if seen == VISIBLE else 1
            cv2.circle(picture, place, 4 << _SHIFT, colour, width, cv2.LINE_AA, _SHIFT)
    return picture


def _grid(tiles: Sequence[Picture]) -> Picture:
    blank = np.full_like(tiles[0], _WHITE)
    filled = [*tiles, *[blank] * (-len(tiles) % min(COLUMNS, len(tiles)))]
    width = min(COLUMNS, len(tiles))
    return np.vstack([np.hstack(filled[i : i + width]) for i in range(0, len(filled), width)])
