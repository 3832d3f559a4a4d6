"""Decoded pictures that are converted to BGR directly into their destination, without a copy in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]


class Picture(Protocol):
    """A picture that can be written as uint8 BGR into an array of its ``shape`` (H, W, 3)."""

    @property
    def shape(self) -> Shape: ...

    def copy_to(self, slot: Pixels) -> None:
        """Write the pixels into ``slot``, which has this ``shape``."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and its times.

    ``pts_ns`` is the presentation time in the file or stream, or None if it has none; ``duration_ns`` is how long the
    picture is shown; ``captured_ns`` is the wall clock time at which its last byte arrived. ``file`` is the path of its
    file, empty for a camera; ``missing`` counts the pictures known to be lost before it.
    """

    picture: Picture
    pts_ns: int | None
    duration_ns: int
    captured_ns: int
    file: str = ""
    missing: int = 0

    @property
    def begin_ns(self) -> int:
        """``pts_ns``, or 0 if it is None."""
        return self.pts_ns or 0

    @property
    def end_ns(self) -> int:
        """The time at which the next picture is due."""
        return self.begin_ns + self.duration_ns

    def shift(self, offset_ns: int) -> Shot:
        """Return the same picture with ``offset_ns`` added to its time."""
        return replace(self, pts_ns=self.begin_ns + offset_ns)

    def at(self, pts_ns: int) -> Shot:
        """Return the same picture with its time set to ``pts_ns``."""
        return replace(self, pts_ns=pts_ns)


@dataclass(frozen=True, slots=True)
class ArrayPicture:
    """BGR pixels that OpenCV has decoded."""

    pixels: Pixels

    @property
    def shape(self) -> Shape:
        height, width = self.pixels.shape[:2]
        return height, width, 3

    def copy_to(self, slot: Pixels) -> None:
        np.copyto(slot, self.pixels)


Rotation = Callable[[Pixels, Pixels], object]
"""Writes the first array, rotated or mirrored, into the second."""

_ROTATIONS: dict[tuple[int, int, int, int], Rotation] = {
    (-1, 0, 0, -1): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_180, slot),
    (0, 1, -1, 0): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE, slot),
    (0, -1, 1, 0): lambda pixels, slot: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE, slot),
    (-1, 0, 0, 1): lambda pixels, slot: cv2.flip(pixels, 1, slot),
    (1, 0, 0, -1): lambda pixels, slot: cv2.flip(pixels, 0, slot),
    (0, 1, 1, 0): cv2.transpose,
    (0, -1, -1, 0): lambda pixels, slot: cv2.flip(cv2.transpose(pixels), -1, slot),
}
"""The seven rotations and reflections a container may ask for, by the signs of its display matrix (a, b, c, d):
x' = a x + c y, y' = b x + d y. Other angles are ignored, as players do."""


class VideoPicture:
    """One ``av.VideoFrame``, rotated as its container asks, with square pixels.

    ``aspect`` is the width of a stored pixel relative to its height. The picture is enlarged in one direction, as
    players do, so that none of it is lost. ``threads`` is how many the conversion may have; 0 for one on each core.

    It keeps the decoder's planes and converts them only in :meth:`copy_to`, so dropping it costs nothing. Libswscale
    converts colours with the frame's own matrix and range, which gives the same bytes as ``cv2.VideoCapture``
    (measured on a BT.709 clip, difference 0).
    """

    __slots__ = ("_frame", "_orientation", "_reformatter", "_size", "_threads")

    def __init__(self, frame: Any, reformatter: Any, aspect: Fraction = Fraction(1), threads: int = 0) -> None:
        self._frame, self._reformatter, self._threads = frame, reformatter, threads
        self._orientation = _read_orientation(frame)
        self._size = round(frame.width * max(aspect, 1)), round(frame.height / min(aspect, 1))

    @property
    def shape(self) -> Shape:
        width, height = self._size
        return (width, height, 3) if self._orientation in _TRANSPOSED else (height, width, 3)

    def copy_to(self, slot: Pixels) -> None:
        converted = self._reformatter.reformat(self._frame, *self._size, format="bgr24", threads=self._threads)
        pixels = _plane(converted)
        rotate = _ROTATIONS.get(self._orientation)
        np.copyto(slot, pixels) if rotate is None else rotate(pixels, slot)


_UPRIGHT = (1, 0, 0, 1)
_TRANSPOSED = {matrix for matrix in _ROTATIONS if matrix[0] == 0}


def _read_orientation(frame: Any) -> tuple[int, int, int, int]:
    data = _find_display_matrix(frame)
    if data is None:
        return _UPRIGHT
    a, b, _, c, d = np.sign(np.frombuffer(data, np.int32)[:5]).tolist()
    return a, b, c, d


def _find_display_matrix(frame: Any) -> Any:
    """Return the display matrix among the frame's side data, or None.

    PyAV refuses all of a frame's side data if one entry is of a kind it does not know (EXIF, as of FFmpeg 8). The
    entries before that one are read nevertheless, and decoders attach the matrix first.
    """
    from av.sidedata.sidedata import SideDataContainer

    entries: Any = SideDataContainer.__new__(SideDataContainer)
    with suppress(ValueError):
        entries.__init__(frame)
    return entries.get("DISPLAYMATRIX")


def _plane(frame: Any) -> Pixels:
    """Return the only plane of a packed frame as (H, W, 3), without the padding of its rows."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
