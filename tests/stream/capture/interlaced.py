"""Frames as interlaced cameras record them, for the tests of what makes whole pictures of them."""

from __future__ import annotations

import numpy as np

from stream.testing.videos import numbered_picture
from tests.stream.capture.turned import Pixels


def moving_bar(number: int) -> Pixels:
    """Two instants in one frame: the bar is further right in every other line, as interlaced cameras record it."""
    pixels = numbered_picture(number)
    pixels[32:] = 0
    for field, shift in ((0, 0), (1, 12)):
        begin = 40 + 24 * number + shift
        pixels[32 + field :: 2, begin : begin + 40] = 255
    return pixels


def combing(pixels: Pixels) -> float:
    """The mean difference of a line from its neighbours, below the number; large where fields alternate."""
    lines = pixels[40:, :, 1].astype(int)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())
