"""A picture that has been decoded but is not yet BGR in memory of ours: it is converted straight into a slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]


class Picture(Protocol):
    """Something that can be written into an array of its ``shape`` (H, W, 3) as uint8 BGR."""

    @property
    def shape(self) -> Shape: ...

    def copy_to(self, slot: Pixels) -> None:
        """Write the pixels into ``slot``, which has this ``shape``."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and when it was taken.

    ``pts_ns`` is the time that the file or stream gives it, None where it gives none; ``duration_ns`` is how long it
    lasts; ``captured_ns`` is the wall clock when its bytes had come.
    """

    picture: Picture
    pts_ns: int | None
    duration_ns: int
    captured_ns: int

    @property
    def begin_ns(self) -> int:
        """``pts_ns``, 0 where there is none."""
        return self.pts_ns or 0

    @property
    def end_ns(self) -> int:
        """When the next picture is due."""
        return self.begin_ns + self.duration_ns

    def later(self, by_ns: int) -> Shot:
        """The same picture, to be shown ``by_ns`` later."""
        return replace(self, pts_ns=self.begin_ns + by_ns)

    def at(self, pts_ns: int) -> Shot:
        """The same picture, to be shown at ``pts_ns``."""
        return replace(self, pts_ns=pts_ns)


@dataclass(frozen=True, slots=True)
class ArrayPicture:
    """BGR pixels that somebody else has decoded (OpenCV)."""

    pixels: Pixels

    @property
    def shape(self) -> Shape:
        height, width = self.pixels.shape[:2]
        return height, width, 3

    def copy_to(self, slot: Pixels) -> None:
        np.copyto(slot, self.pixels)


Turn = Callable[[Pixels, Pixels], object]
"""Writes the first array, turned or mirrored, into the second."""

_TURNS: dict[tuple[int, int, int, int], Turn] = {
    (-1, 0, 0, -1): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_180, slot),
    (0, 1, -1, 0): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE, slot),
    (0, -1, 1, 0): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE, slot),
    (-1, 0, 0, 1): lambda pixels, slot: cv2.flip(pixels, 1, slot),
    (1, 0, 0, -1): lambda pixels, slot: cv2.flip(pixels, 0, slot),
    (0, 1, 1, 0): cv2.transpose,
    (0, -1, -1, 0): lambda pixels, slot: cv2.flip(cv2.transpose(pixels), -1, slot),
}
"""The seven ways in which a container may ask for a picture to be turned, by the signs of its display matrix
(a, b, c, d): x' = a x + c y, y' = b x + d y. Any other angle is left alone, as players do."""


class VideoPicture:
    """One ``av.VideoFrame``, turned as its container asks; it holds the decoder's planes, so dropping it costs nothing.

    Colours are converted by libswscale with the frame's own matrix and range: the same bytes as ``cv2.VideoCapture``
    gives (measured on a BT.709 clip, difference 0).
    """

    __slots__ = ("_frame", "_reformatter", "_turn")

    def __init__(self, frame: Any, reformatter: Any) -> None:
        self._frame, self._reformatter = frame, reformatter
        self._turn = _turn_of(frame)

    @property
    def shape(self) -> Shape:
        width, height = self._frame.width, self._frame.height
        return (width, height, 3) if self._turn in _TRANSPOSING else (height, width, 3)

    def copy_to(self, slot: Pixels) -> None:
        pixels = _plane(self._reformatter.reformat(self._frame, format="bgr24"))
        turn = _TURNS.get(self._turn)
        np.copyto(slot, pixels) if turn is None else turn(pixels, slot)


_UPRIGHT = (1, 0, 0, 1)
_TRANSPOSING = {matrix for matrix in _TURNS if matrix[0] == 0}


def _turn_of(frame: Any) -> tuple[int, int, int, int]:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _UPRIGHT
    a, b, _, c, d = np.sign(np.frombuffer(data, np.int32)[:5]).tolist()
    return a, b, c, d


def _plane(frame: Any) -> Pixels:
    """The only plane of a packed frame as (H, W, 3); its rows may be padded."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
