"""A picture with one drawn person at a known place, on which a network shows how its outputs are to be read.

Networks that learned from photographs find this person: YOLOX-nano, NanoDet-m and a person-only YOLOX with scores of
0.79 to 0.93, and nothing if the scaling is not theirs. It is drawn, so that no photograph has to be distributed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[int, int]

SKIN, SHIRT, TROUSERS, HAIR, MOUTH = (120, 150, 200), (60, 40, 150), (110, 60, 40), (30, 35, 45), (60, 60, 140)
GROUND = (90, 110, 100)

UNITS = 140
"""A person of 89 units: YOLOX-nano does not find one that fills the picture."""

SMALLER = 280
"""For networks that know people from afar, or were made for smaller pictures than they are given."""


def draw_person(size: tuple[int, int], units: int = UNITS) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A picture (height, width, 3) uint8 BGR of ``size`` (width, height) px, and the person's box (4,) px.

    The picture's shorter side has ``units``, of which the person's height takes 89.
    """
    pen = _Pen(size, units)
    for side in (-1, 1):
        pen.line((side * 5, 55), (side * 6, 74), TROUSERS, 9)
        pen.line((side * 6, 74), (side * 7, 90), TROUSERS, 7)
        pen.line((side * 7, 91), (side * 10, 92), HAIR, 5)
        pen.line((side * 10, 29), (side * 15, 43), SHIRT, 6)
        pen.line((side * 15, 43), (side * 15, 55), SKIN, 5)
    corners = [pen.place(*at) for at in ((-11, 26), (11, 26), (9, 57), (-9, 57))]
    cv2.fillConvexPoly(pen.pixels, np.array(corners), SHIRT)
    pen.line((0, 20), (0, 27), SKIN, 6)
    pen.ellipse((0, 14), (6, 8), 0, SKIN)
    pen.ellipse((0, 10), (6, 5), 180, HAIR)
    for side in (-1, 1):
        pen.ellipse((side * 2.3, 14), (0.8, 0.8), 0, HAIR)
    pen.line((-2, 18.5), (2, 18.5), MOUTH, 0.8)
    return pen.pixels, np.array([*pen.place(-18.5, 5.5), *pen.place(18.5, 94.5)], np.float32)


class _Pen:
    """Draws in units of which the picture's shorter side has ``units``: x from its middle, y is 50 there."""

    def __init__(self, size: tuple[int, int], units: int) -> None:
        self._width, self._height = size
        self._unit = min(size) / units
        self.pixels = self._draw_background()

    def _draw_background(self) -> NDArray[np.uint8]:
        rows, columns = np.mgrid[: self._height, : self._width]
        blue, green = 150 + 60 * rows / self._height, 140 + 30 * columns / self._width
        pixels = np.stack([blue, green, np.full_like(blue, 130)], axis=2).astype(np.uint8)
        pixels[int(self._height * 0.72) :] = GROUND
        return np.ascontiguousarray(pixels)

    def place(self, x: float, y: float) -> Point:
        return int(self._width / 2 + x * self._unit), int(self._height / 2 + (y - 50) * self._unit)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: float) -> None:
        cv2.line(self.pixels, self.place(*start), self.place(*end), colour, self._length(width))

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], start: int, colour: Colour) -> None:
        axes = self._length(radii[0]), self._length(radii[1])
        cv2.ellipse(self.pixels, self.place(*centre), axes, 0, start, 360, colour, -1)

    def _length(self, units: float) -> int:
        return max(1, int(units * self._unit))
