"""Drawing, and what is seen: parts become pixels, and a map of parts tells which joints are hidden.

Coordinates are continuous px, the centre of the top-left pixel at (0.5, 0.5); OpenCV counts that centre as (0, 0), so
half a pixel is taken off at its border and nowhere else.
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

# Which parts a joint may lie under and still be seen: those it belongs to.
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


def fixed(outline: Floats) -> NDArray[np.int32]:
    """OpenCV's fixed-point coordinates of an outline."""
    return np.rint((outline - 0.5) * _ONE).astype(np.int32)


def paint(picture: NDArray[np.uint8], parts: list[Part], light: float) -> None:
    """Draw parts far to near, each with a darker rim and a lighter middle, as round things look."""
    for part in parts:
        if not part.shade:
            cv2.fillConvexPoly(picture, fixed(part.outline), part.colour, cv2.LINE_AA, _SHIFT)
            continue
        middle = part.outline.mean(0)
        for size, brightness in ((1.0, 0.72), (0.82, 0.9), (0.5, 1.04)):
            inner = middle + size * (part.outline - middle)
            cv2.fillConvexPoly(picture, fixed(inner), _lit(part.colour, light * brightness), cv2.LINE_AA, _SHIFT)


def _lit(colour: Colour, factor: float) -> Colour:
    b, g, r = (min(255.0, factor * channel) for channel in colour)
    return b, g, r


def label(plane: NDArray[np.int32], parts: list[Part], first: int) -> None:
    """Write ``first + i`` where part i is on top; the plane is (height, width) int32."""
    for i, part in enumerate(parts):
        cv2.fillConvexPoly(plane, fixed(part.outline), first + i, cv2.LINE_8, _SHIFT)


def box_of(parts: list[Part], width: int, height: int) -> NDArray[np.float32]:
    """x1, y1, x2, y2 px of what lies in the picture of a silhouette; all 0 where nothing does."""
    outline = np.concatenate([part.outline for part in parts])
    if outline.min() < 0 or (outline.max(0) > (width, height)).any():
        outline = np.concatenate([_within(part.outline, width, height) for part in parts])
    if outline.size == 0:
        return np.zeros(4, np.float32)
    return np.concatenate([outline.min(0), outline.max(0)]).astype(np.float32)


def _within(outline: Floats, width: int, height: int) -> Floats:
    """(n, 2) the convex part of an outline that lies in the picture; (0, 2) where none does."""
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, shared = cv2.intersectConvexConvex(outline.astype(np.float32), picture)
    return np.asarray(shared if area > 0 else [], np.float64).reshape(-1, 2)


def visibility(plane: NDArray[np.int32], joints: Floats, depths: Floats, parts: list[Part], first: int) -> Floats:
    """(17,) 0 outside the picture, 1 hidden, 2 visible. ``joints`` (17, 2) px, ``depths`` (17,) m."""
    height, width = plane.shape
    seen = np.zeros(len(COCO))
    for k, name in enumerate(COCO):
        column, row = int(np.floor(joints[k, 0])), int(np.floor(joints[k, 1]))
        if 0 <= column < width and 0 <= row < height:
            seen[k] = 2 if _on_top(int(plane[row, column]) - first, name, float(depths[k]), parts) else 1
    return seen


_COVER_M: Final = 0.05
"""A part hides a joint of the same body when it lies nearer by more than this: less is the joint's own flesh."""


def _on_top(index: int, name: str, depth: float, parts: list[Part]) -> bool:
    if not 0 <= index < len(parts):
        return False  # somebody else's, or nothing of it was drawn
    part = parts[index]
    if part.name in _OWN[name]:
        return True
    facial = name == "nose" or name.endswith("_eye")
    return not facial and part.depth > depth - _COVER_M
