"""Box → crop → back: the affine by which a person is cut out of a frame, and by which keypoints return.

Two conventions meet here. The project's coordinates are *continuous*: the centre of the top-left pixel is (0.5, 0.5).
The published functions (HRNet and its descendants) and ``cv2.warpAffine`` use *index* coordinates: there it is (0, 0).
They meet in two rules:

* A **box** enters the published rule with its numbers as they stand. It only chooses a region, and half a pixel of
  choice is no error; the crops stay, bit for bit, those that published networks were trained and evaluated on.
* A **point** that comes back from a crop is an index, so half a pixel is added (:func:`to_frame`); a point that goes
  into a crop loses it first (:func:`to_crop`).

Everything else in this module is in index coordinates and equals the published functions (judged by goldens made with
those functions). The rule, as published: the box is widened to the aspect ratio of the input, its centre goes to
(W/2, H/2), and its width alone sets the scale. ``dark`` uses W-1 and H-1, and one pixel less of the box: FAMI-Pose
crops so, yet decodes by ``standard``, which displaces its keypoints by half a pixel; both are kept as published.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import AffineRule

Floats = NDArray[np.float32] | NDArray[np.float64]
Affine = NDArray[np.float64]
"""(2, 3) float64, from index coordinates to index coordinates."""

SCALE_UNIT_PX = 200.0
"""Published scales are in units of 200 px, a person's nominal height in MPII."""

HALF_PIXEL = 0.5


def box_to_center_scale(
    box_xywh: NDArray[np.float64], input_size: tuple[int, int], enlarge: float = 1.25
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre (2,) px and scale (2,) in units of 200 px of a box widened to the input's aspect ratio and enlarged."""
    x, y, width, height = (float(value) for value in box_xywh)
    aspect = input_size[0] / input_size[1]
    center = np.array([x + width * 0.5, y + height * 0.5], np.float32)
    widened = np.array([max(width, height * aspect), max(height, width / aspect)])
    scale = (widened / SCALE_UNIT_PX).astype(np.float32)
    return center, (scale * enlarge).astype(np.float32) if center[0] != -1 else scale


def center_scale_to_box(center: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """(4,) x, y, width, height of the region that a centre and scale stand for."""
    size = scale.astype(np.float64) * SCALE_UNIT_PX
    return np.concatenate([center - size * 0.5, size])


def clip_to_frame(box_xywh: NDArray[np.float64], frame_size: tuple[int, int]) -> NDArray[np.float64] | None:
    """The loader's cut of an annotated box to its frame (its width shrinks by 1, as published); None if empty."""
    x, y, width, height = (float(value) for value in box_xywh)
    left, top = max(0.0, x), max(0.0, y)
    right = min(frame_size[0] - 1.0, left + max(0.0, width - 1))
    bottom = min(frame_size[1] - 1.0, top + max(0.0, height - 1))
    if right < left or bottom < top:
        return None
    return np.array([left, top, right - left, bottom - top])


def crop_affine(
    center: Floats,
    scale: Floats,
    output_size: tuple[int, int],
    *,
    rotation_degrees: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    rule: AffineRule = "standard",
) -> Affine:
    """The affine that takes a region to a picture of ``output_size`` (width, height).

    ``rotation_degrees`` turns the region about its centre; ``shift`` moves it, in parts of its size.
    """
    source, target = _three_points(center, scale, output_size, rotation_degrees, shift, rule)
    return np.asarray(cv2.getAffineTransform(source, target), np.float64)


def _three_points(
    center: Floats,
    scale: Floats,
    output_size: tuple[int, int],
    rotation_degrees: float,
    shift: tuple[float, float],
    rule: AffineRule,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    less = 1.0 if rule == "dark" else 0.0
    # In the precision given, as published: single-precision scales must round where theirs did.
    size: Floats = scale * SCALE_UNIT_PX
    moved = size * np.asarray(shift, np.float32)
    up = _turned_up(float(size[0] - less) * 0.5, np.deg2rad(rotation_degrees))
    width, height = output_size[0] - less, output_size[1] - less
    source = _frame_of_reference(center, up, moved)
    target = _frame_of_reference(np.array([width * 0.5, height * 0.5]), np.array([0.0, -width * 0.5]), np.zeros(2))
    return source, target


def _turned_up(length: float, radians: float) -> NDArray[np.float64]:
    """A vector that points up in the picture, turned."""
    return np.array([length * np.sin(radians), -length * np.cos(radians)])


def _frame_of_reference(middle: Floats, up: NDArray[np.float64], moved: Floats) -> NDArray[np.float32]:
    """Three points (3, 2): the middle, up from it, and the corner of the right angle between; all of them moved."""
    corners = np.zeros((3, 2), np.float32)
    corners[0] = middle + moved
    corners[1] = middle + up + moved
    direction = corners[0] - corners[1]
    corners[2] = corners[1] + np.array([-direction[1], direction[0]], np.float32)
    return corners


def invert(affine: Affine) -> Affine:
    """The affine that undoes another."""
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def transform(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) through an affine, in float64."""
    return points.astype(np.float64) @ affine[:, :2].T + affine[:, 2]


def box_to_affine(
    box_xyxy: Floats,
    output_size: tuple[int, int],
    *,
    enlarge: float = 1.25,
    rule: AffineRule = "standard",
    aspect: tuple[int, int] | None = None,
) -> Affine:
    """The affine of a person's box (4,) x1, y1, x2, y2 to a crop, or to a heatmap, of ``output_size``."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    xywh = np.array([x1, y1, x2 - x1, y2 - y1])
    center, scale = box_to_center_scale(xywh, aspect or output_size, enlarge)
    return crop_affine(center, scale, output_size, rule=rule)


def crop(pixels: NDArray[np.uint8], affine: Affine, output_size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 cut out of ``pixels``, bilinear; black outside the picture.

    OpenCV 4 works with 1/32 of a pixel and differs from exact interpolation by several grey levels; 5 by one.
    """
    warped = cv2.warpAffine(pixels, affine, output_size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return cast(NDArray[np.uint8], warped)


def to_frame(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) in index coordinates of a crop as the project's coordinates in the frame it was cut from."""
    return transform(points, invert(affine)) + HALF_PIXEL


def to_crop(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) in the project's coordinates of a frame as index coordinates in its crop."""
    return transform(points - HALF_PIXEL, affine)
