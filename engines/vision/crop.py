"""Affine transforms between a frame and the crop of one person.

posestream's coordinates are *continuous*: the centre of the top-left pixel is (0.5, 0.5). The published functions
(HRNet and its descendants) and ``cv2.warpAffine`` use *index* coordinates, where it is (0, 0):

* A **box** enters the published rule with its numbers unchanged. It only selects a region, and the crops are bit for
  bit those that published networks were trained and evaluated on.
* A **point** from a crop is in index coordinates, so half a pixel is added (:func:`to_frame`); half a pixel is
  subtracted from a point that goes into a crop (:func:`to_crop`).

All other functions are in index coordinates and equal the published ones, which tests compare. The published rule: the
box is widened to the aspect ratio of the input, its centre goes to (W/2, H/2), and its width sets the scale. The rule
``dark`` uses W-1 and H-1, and one pixel less of the box. FAMI-Pose crops by ``dark`` and decodes by ``standard``, which
shifts its keypoints by half a pixel; both are as published.
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
"""The unit of published scales, a person's nominal height in MPII."""

HALF_PIXEL = 0.5


def box_to_center_scale(
    box_xywh: NDArray[np.float64], input_size: tuple[int, int], enlarge: float = 1.25
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre (2,) px and scale (2,) in units of 200 px, float32, of a box x, y, width, height px.

    The box is widened to the aspect ratio of ``input_size`` (width, height) and multiplied by ``enlarge``.
    """
    x, y, width, height = (float(value) for value in box_xywh)
    aspect = input_size[0] / input_size[1]
    center = np.array([x + width * 0.5, y + height * 0.5], np.float32)
    widened = np.array([max(width, height * aspect), max(height, width / aspect)])
    scale = (widened / SCALE_UNIT_PX).astype(np.float32)
    return center, (scale * enlarge).astype(np.float32) if center[0] != -1 else scale


def center_scale_to_box(center: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """The box (4,) x, y, width, height px of a centre and scale."""
    size = scale.astype(np.float64) * SCALE_UNIT_PX
    return np.concatenate([center - size * 0.5, size])


def clip_to_frame(box_xywh: NDArray[np.float64], frame_size: tuple[int, int]) -> NDArray[np.float64] | None:
    """An annotated box x, y, width, height px clipped to its frame (width, height) px; None if nothing is left.

    Its size shrinks by 1 px, as in the published data loaders.
    """
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
    """The affine (2, 3) from a frame to a crop of ``output_size`` (width, height) px.

    ``center`` and ``scale`` are as in :func:`box_to_center_scale`. ``rotation_degrees`` rotates the region about its
    centre; ``shift`` moves it, as a share of its size.
    """
    source, target = _make_point_pairs(center, scale, output_size, rotation_degrees, shift, rule)
    return np.asarray(cv2.getAffineTransform(source, target), np.float64)


def _make_point_pairs(
    center: Floats,
    scale: Floats,
    output_size: tuple[int, int],
    rotation_degrees: float,
    shift: tuple[float, float],
    rule: AffineRule,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    inset = 1.0 if rule == "dark" else 0.0
    # In the given precision, so that single-precision scales round as in the published function.
    size: Floats = scale * SCALE_UNIT_PX
    offset = size * np.asarray(shift, np.float32)
    up = _rotate_up(float(size[0] - inset) * 0.5, np.deg2rad(rotation_degrees))
    width, height = output_size[0] - inset, output_size[1] - inset
    source = _make_right_angle(center, up, offset)
    target = _make_right_angle(np.array([width * 0.5, height * 0.5]), np.array([0.0, -width * 0.5]), np.zeros(2))
    return source, target


def _rotate_up(length: float, radians: float) -> NDArray[np.float64]:
    """A vector of ``length`` px that points up in the image, rotated."""
    return np.array([length * np.sin(radians), -length * np.cos(radians)])


def _make_right_angle(center: Floats, up: NDArray[np.float64], offset: Floats) -> NDArray[np.float32]:
    """Three points (3, 2) shifted by ``offset``: the centre, the end of ``up``, and one at a right angle to it."""
    corners = np.zeros((3, 2), np.float32)
    corners[0] = center + offset
    corners[1] = center + up + offset
    direction = corners[0] - corners[1]
    corners[2] = corners[1] + np.array([-direction[1], direction[0]], np.float32)
    return corners


def invert(affine: Affine) -> Affine:
    """The inverse affine (2, 3)."""
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def transform(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) transformed by an affine (2, 3), float64."""
    return points.astype(np.float64) @ affine[:, :2].T + affine[:, 2]


def box_to_affine(
    box_xyxy: Floats,
    output_size: tuple[int, int],
    *,
    enlarge: float = 1.25,
    rule: AffineRule = "standard",
    aspect: tuple[int, int] | None = None,
) -> Affine:
    """The affine (2, 3) from a frame to the crop, or heatmap, of ``output_size`` px of a box (4,) x1, y1, x2, y2 px.

    The box is widened to the ratio of ``aspect`` (width, height), by default that of ``output_size``.
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    xywh = np.array([x1, y1, x2 - x1, y2 - y1])
    center, scale = box_to_center_scale(xywh, aspect or output_size, enlarge)
    return crop_affine(center, scale, output_size, rule=rule)


def crop(
    pixels: NDArray[np.uint8], affine: Affine, output_size: tuple[int, int], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The crop (height, width, 3) uint8 of ``pixels``, bilinear, black outside the frame; in ``out``, if given.

    OpenCV 4 interpolates in steps of 1/32 px and differs from exact interpolation by several grey levels, OpenCV 5 by
    one.
    """
    warped = cv2.warpAffine(pixels, affine, output_size, out, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    return cast(NDArray[np.uint8], warped)


def to_frame(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) in index coordinates of a crop, transformed to continuous coordinates of the frame."""
    return transform(points, invert(affine)) + HALF_PIXEL


def to_frame_each(points: Floats, affines: NDArray[np.float64]) -> NDArray[np.float64]:
    """As :func:`to_frame` for the points (N, K, 2) of N crops, whose affines are (N, 2, 3)."""
    inverses = np.stack([invert(affine) for affine in affines])
    turned = points.astype(np.float64) @ inverses[:, :, :2].swapaxes(1, 2)
    moved: NDArray[np.float64] = turned + inverses[:, None, :, 2] + HALF_PIXEL
    return moved


def to_crop(points: Floats, affine: Affine) -> NDArray[np.float64]:
    """Points (..., 2) in continuous coordinates of the frame, transformed to index coordinates of a crop."""
    return transform(points - HALF_PIXEL, affine)
