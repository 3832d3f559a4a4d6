"""Draws poses on a picture: boxes, ids, limbs and joints, sized to the picture; knows no files and no windows."""

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


def draw(poses: Poses, *, scale: float = 1.0, min_score: float = 0.3, caption: str = "") -> Picture:
    """A new picture (H * scale, W * scale, 3) uint8 BGR of the frame and everybody in it.

    Joints and limbs that score below ``min_score`` are left out. ``caption`` goes into the top left corner.
    """
    picture = _scaled(poses.frame.pixels, scale)
    pen = _Pen(picture)
    for row, person in enumerate(poses.ids.tolist()):
        colour = colour_of(person)
        pen.box(poses.boxes[row] * scale, colour)
        pen.skeleton(poses.keypoints[row], poses.skeleton, scale, min_score)
        pen.label(poses.boxes[row] * scale, _label(person, float(poses.scores[row])), colour)
    if caption:
        pen.caption(caption)
    return picture


def colour_of(person: int) -> Colour:
    """The BGR colour of an id: neighbours differ much; grey for nobody in particular."""
    if person == NO_ID:
        return 160, 160, 160
    red, green, blue = colorsys.hsv_to_rgb(person * _GOLDEN % 1.0, 0.75, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


class _Pen:
    """Lines as wide as suits the picture: 2 px for each 720 of its height."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._width = max(1, round(picture.shape[0] / 360))
        self._font_scale = max(0.35, picture.shape[0] / 1300)

    def box(self, box: NDArray[np.float32], colour: Colour) -> None:
        corners = [_fixed(box[:2]), _fixed(box[2:])]
        cv2.rectangle(self._picture, corners[0], corners[1], colour, self._width, cv2.LINE_AA, _SHIFT)

    def skeleton(self, keypoints: NDArray[np.float32], name: str, scale: float, min_score: float) -> None:
        skeleton = SKELETONS.get(name) or _joints_only(len(keypoints))
        seen = keypoints[:, 2] >= min_score
        points = [_fixed(point * scale) for point in keypoints[:, :2]]
        for start, end in skeleton.limbs:
            if seen[start] and seen[end]:
                colour = _limb_colour(skeleton, start, end)
                cv2.line(self._picture, points[start], points[end], colour, self._width + 1, cv2.LINE_AA, _SHIFT)
        for point, is_seen, colour in zip(points, seen, skeleton.colours, strict=True):
            if is_seen:
                self._dot(point, colour)

    def label(self, box: NDArray[np.float32], text: str, colour: Colour) -> None:
        """``text`` on a plate of ``colour``, above the box or, where there is no room, in it."""
        (width, height), below = cv2.getTextSize(text, _FONT, self._font_scale, 1)
        left, top = (round(float(number)) for number in box[:2])
        bottom = top if top - height - below >= 0 else top + height + below
        self._plate((left, bottom - height - below), (left + width, bottom), colour)
        self._text(text, (left, bottom - below // 2), _DARK)

    def caption(self, text: str) -> None:
        (width, height), below = cv2.getTextSize(text, _FONT, self._font_scale, 1)
        self._plate((0, 0), (width + 2 * below, height + 2 * below), _DARK)
        self._text(text, (below, height + below), _WHITE)

    def _dot(self, point: tuple[int, int], colour: Colour) -> None:
        for radius, fill in ((self._width + 2, _WHITE), (self._width + 1, colour)):
            cv2.circle(self._picture, point, radius << _SHIFT, fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def _plate(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        cv2.rectangle(self._picture, start, end, colour, cv2.FILLED)

    def _text(self, text: str, at: tuple[int, int], colour: Colour) -> None:
        cv2.putText(self._picture, text, at, _FONT, self._font_scale, colour, 1, cv2.LINE_AA)


def _scaled(pixels: Picture, scale: float) -> Picture:
    """A copy that may be drawn on."""
    if scale == 1.0:
        return pixels.copy()
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _fixed(point: NDArray[np.float32]) -> tuple[int, int]:
    """Continuous px as OpenCV's fixed-point pixel indices: the centre of the first pixel is 0.5 here and 0 there."""
    # Far outside is outside; OpenCV's lines overflow beyond 2**15 px.
    x, y = np.clip(np.round((point - 0.5) * (1 << _SHIFT)), -(2**18), 2**18).tolist()
    return int(x), int(y)


def _limb_colour(skeleton: Skeleton, start: int, end: int) -> Colour:
    """The colour of its side; that of the middle where it joins two."""
    colours = skeleton.colours
    if colours[start] == colours[end]:
        return colours[start]
    sides = {joint.partition("_")[0] for joint in (skeleton.joints[start], skeleton.joints[end])}
    if {"left", "right"} <= sides:
        return 255, 153, 51
    return colours[start if skeleton.joints[start].startswith(("left_", "right_")) else end]


def _joints_only(count: int) -> Skeleton:
    """For a skeleton that nobody has told of: dots without limbs."""
    return Skeleton("", tuple(str(joint) for joint in range(count)), ())


def _label(person: int, score: float) -> str:
    return f"{score:.2f}" if person == NO_ID else f"#{person} {score:.2f}"
