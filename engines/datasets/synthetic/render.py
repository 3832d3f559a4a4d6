"""Rendering of parts to pixels, and the visibility of joints from a map of parts.

Coordinates are continuous px, the centre of the top-left pixel at (0.5, 0.5); OpenCV counts that centre as (0, 0), so
half a pixel is subtracted where coordinates are passed to it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.appearance import Colour
from engines.datasets.synthetic.body import COCO, Floats
from engines.datasets.synthetic.figure import Part

_SHIFT: Final = 4
_ONE: Final = 1 << _SHIFT
NOTHING: Final = 0

# The parts that a joint belongs to, which do not hide it.
_OWN: Final = {
    **{f"{s}_shoulder": {f"{s}_upper_arm", "trunk"} for s in ("left", "right")},
    **{f"{s}_elbow": {f"{s}_upper_arm", f"{s}_forearm"} for s in ("left", "right")},
    **{f"{s}_wrist": {f"{s}_forearm", f"{s}_hand"} for s in ("left", "right")},
    **{f"{s}_hip": {"trunk", f"{s}_thigh"} for s in ("left", "right")},
    **{f"{s}_knee": {f"{s}_thigh", f"{s}_shin"} for s in ("left", "right")},
    **{f"{s}_ankle": {f"{s}_shin", f"{s}_foot"} for s in ("left", "right")},
    **{f"{s}_eye": {f"{s}_eye"} for s in ("left", "right")},
    **{f"{s}_ear": {f"{s}_ear", "hair", "face"} for s in ("left", "right")},
    "nose": {"nose"},
}  # fmt: skip


def to_fixed_point(outline: Floats) -> NDArray[np.int32]:
    """An outline in OpenCV's fixed-point coordinates."""
    return np.rint((outline - 0.5) * _ONE).astype(np.int32)


def paint(picture: NDArray[np.uint8], parts: list[Part], light: float) -> None:
    """Paint parts from far to near, each with a darker rim and a lighter middle, for a round look."""
    for part in parts:
        if not part.shade:
            cv2.fillConvexPoly(picture, to_fixed_point(part.outline), part.colour, cv2.LINE_AA, _SHIFT)
            continue
        middle = part.outline.mean(0)
        for size, brightness in ((1.0, 0.72), (0.82, 0.9), (0.5, 1.04)):
            inner = middle + size * (part.outline - middle)
            cv2.fillConvexPoly(
                picture, to_fixed_point(inner), _brighten(part.colour, light * brightness), cv2.LINE_AA, _SHIFT
            )


def _brighten(colour: Colour, factor: float) -> Colour:
    b, g, r = (min(255.0, factor * channel) for channel in colour)
    return b, g, r


def label(plane: NDArray[np.int32], parts: list[Part], first: int) -> None:
    """Write ``first + i`` into ``plane`` (height, width) int32 where part i is visible."""
    for i, part in enumerate(parts):
        cv2.fillConvexPoly(plane, to_fixed_point(part.outline), first + i, cv2.LINE_8, _SHIFT)


def enclosing_box(parts: list[Part], width: int, height: int) -> NDArray[np.float32]:
    """x1, y1, x2, y2 px of the part of a silhouette that is inside the picture; all 0 if there is none."""
    outline = np.concatenate([part.outline for part in parts])
    if outline.min() < 0 or (outline.max(0) > (width, height)).any():
        outline = np.concatenate([_clip(part.outline, width, height) for part in parts])
    if outline.size == 0:
        return np.zeros(4, np.float32)
    return np.concatenate([outline.min(0), outline.max(0)]).astype(np.float32)


def _clip(outline: Floats, width: int, height: int) -> Floats:
    """(n, 2) the part of a convex outline that is inside the picture; (0, 2) if there is none."""
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, shared = cv2.intersectConvexConvex(outline.astype(np.float32), picture)
    return np.asarray(shared if area > 0 else [], np.float64).reshape(-1, 2)


def find_visibility(plane: NDArray[np.int32], joints: Floats, depths: Floats, parts: list[Part], first: int) -> Floats:
    """(17,) 0 outside the picture, 1 hidden, 2 visible. ``joints`` (17, 2) px, ``depths`` (17,) m."""
    height, width = plane.shape
    result = np.zeros(len(COCO))
    for k, name in enumerate(COCO):
        column, row = int(np.floor(joints[k, 0])), int(np.floor(joints[k, 1]))
        if 0 <= column < width and 0 <= row < height:
            result[k] = 2 if _is_visible(int(plane[row, column]) - first, name, float(depths[k]), parts) else 1
    return result


_COVER_M: Final = 0.05
"""A part hides a joint of the same body if it is nearer by more than this; less is the joint's own thickness."""


def _is_visible(index: int, name: str, depth: float, parts: list[Part]) -> bool:
    if not 0 <= index < len(parts):
        return False  # another person, an obstacle or the background
    part = parts[index]
    if part.name in _OWN[name]:
        return True
    facial = name == "nose" or name.endswith("_eye")
    return not facial and part.depth > depth - _COVER_M
