"""Drawing of poses on a picture: boxes, ids, limbs and joints, sized to the picture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS, Skeleton
from stream.messages import NO_ID, Poses

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


_GOLDEN = 0.618034
_WHITE: Colour = (255, 255, 255)
_DARK: Colour = (24, 24, 24)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Sub-pixel drawing: coordinates are given in sixteenths.
_SHIFT = 4


def draw(
    poses: Poses,
    *,
    scale: float = 1.0,
    min_score: float = 0.3,
    caption: str = "",
    expected: NDArray[np.float32] | None = None,
) -> Picture:
    """Draw the frame and its people into a new picture, (H * scale, W * scale, 3) uint8 BGR.

    Joints and limbs with scores below ``min_score`` are omitted. ``caption`` is written in the top left corner.
    ``expected`` (M, K, 3) are keypoints that were forecast for this frame, drawn as thin white skeletons.
    """
    picture = _scale(poses.frame.pixels, scale)
    pen = _Pen(picture)
    for row, person in enumerate(poses.ids.tolist()):
        colour = get_colour(person)
        pen.box(poses.boxes[row] * scale, colour)
        pen.skeleton(poses.keypoints[row], poses.skeleton, scale, min_score)
        pen.label(poses.boxes[row] * scale, _label(person, float(poses.scores[row])), colour)
    for keypoints in () if expected is None else expected:
        pen.thin_skeleton(keypoints, poses.skeleton, scale, min_score)
    if caption:
        pen.caption(caption)
    return picture


def get_colour(person: int) -> Colour:
    """The BGR colour of an id: consecutive ids differ clearly; people without an id are grey."""
    if person == NO_ID:
        return 160, 160, 160
    red, green, blue = colorsys.hsv_to_rgb(person * _GOLDEN % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


class _Pen:
    """Draws on a picture, with a line width of 2 px per 720 px of its height."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._width = max(1, round(picture.shape[0] / 360))
        self._font_scale = max(0.35, picture.shape[0] / 1300)

    def box(self, box: NDArray[np.float32], colour: Colour) -> None:
        corners = [_to_fixed_point(box[:2]), _to_fixed_point(box[2:])]
        cv2.rectangle(self._picture, corners[0], corners[1], colour, self._width, cv2.LINE_AA, _SHIFT)

    def skeleton(self, keypoints: NDArray[np.float32], name: str, scale: float, min_score: float) -> None:
        skeleton = SKELETONS.get(name) or _joints_only(len(keypoints))
        seen = keypoints[:, 2] >= min_score
        points = [_to_fixed_point(point * scale) for point in keypoints[:, :2]]
        for start, end in skeleton.limbs:
            if seen[start] and seen[end]:
                colour = _limb_colour(skeleton, start, end)
                cv2.line(self._picture, points[start], points[end], colour, self._width + 1, cv2.LINE_AA, _SHIFT)
        for point, is_seen, colour in zip(points, seen, skeleton.colours, strict=True):
            if is_seen:
                self._dot(point, colour)

    def thin_skeleton(self, keypoints: NDArray[np.float32], name: str, scale: float, min_score: float) -> None:
        """White limbs of one pixel."""
        skeleton = SKELETONS.get(name) or _joints_only(len(keypoints))
        seen = keypoints[:, 2] >= min_score
        points = [_to_fixed_point(point * scale) for point in keypoints[:, :2]]
        for start, end in skeleton.limbs:
            if seen[start] and seen[end]:
                cv2.line(self._picture, points[start], points[end], _WHITE, 1, cv2.LINE_AA, _SHIFT)

    def label(self, box: NDArray[np.float32], text: str, colour: Colour) -> None:
        """Write ``text`` on a background of ``colour``, above the box or, if there is no room, inside it."""
        (width, height), below = cv2.getTextSize(text, _FONT, self._font_scale, 1)
        left, top = (round(float(number)) for number in box[:2])
        bottom = top if top - height - below >= 0 else top + height + below
        self._fill((left, bottom - height - below), (left + width, bottom), colour)
        self._text(text, (left, bottom - below // 2), _DARK)

    def caption(self, text: str) -> None:
        (width, height), below = cv2.getTextSize(text, _FONT, self._font_scale, 1)
        self._fill((0, 0), (width + 2 * below, height + 2 * below), _DARK)
        self._text(text, (below, height + below), _WHITE)

    def _dot(self, point: tuple[int, int], colour: Colour) -> None:
        for radius, fill in ((self._width + 2, _WHITE), (self._width + 1, colour)):
            cv2.circle(self._picture, point, radius << _SHIFT, fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def _fill(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        cv2.rectangle(self._picture, start, end, colour, cv2.FILLED)

    def _text(self, text: str, at: tuple[int, int], colour: Colour) -> None:
        cv2.putText(self._picture, text, at, _FONT, self._font_scale, colour, 1, cv2.LINE_AA)


def _scale(pixels: Picture, scale: float) -> Picture:
    """Copy and resize the pixels."""
    if scale == 1.0:
        return pixels.copy()
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _to_fixed_point(point: NDArray[np.float32]) -> tuple[int, int]:
    """Convert continuous px to OpenCV's fixed-point pixel indices: the first pixel's centre is 0.5 here and 0 there."""
    # Clipped far outside the picture, since OpenCV's lines overflow beyond 2**15 px.
    x, y = np.clip(np.round((point - 0.5) * (1 << _SHIFT)), -(2**18), 2**18).tolist()
    return int(x), int(y)


def _limb_colour(skeleton: Skeleton, start: int, end: int) -> Colour:
    """The colour of the limb's side; that of the middle if it connects both sides."""
    colours = skeleton.colours
    if colours[start] == colours[end]:
        return colours[start]
    sides = {joint.partition("_")[0] for joint in (skeleton.joints[start], skeleton.joints[end])}
    if {"left", "right"} <= sides:
        return 255, 153, 51
    return colours[start if skeleton.joints[start].startswith(("left_", "right_")) else end]


def _joints_only(count: int) -> Skeleton:
    """An unknown skeleton: joints without limbs."""
    return Skeleton("", tuple(str(joint) for joint in range(count)), ())


def _label(person: int, score: float) -> str:
    return f"{score:.2f}" if person == NO_ID else f"#{person} {score:.2f}"
