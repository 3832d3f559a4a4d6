"""Numbers in the names of pictures: ``000002.png`` and ``000004.png`` have one between them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from stream.capture.picture_suffixes import is_picture

_MAX_STEPS_PER_PICTURE = 2
"""A folder that lacks more than half of its numbers is a collection of photos, as ``IMG_2034.jpg`` and
``IMG_2071.jpg``, not the frames of a recording."""


def count_missing(paths: Sequence[Path]) -> list[int]:
    """Count the pictures missing before each of ``paths``, by the numbers in their names.

    All must be pictures whose names differ in one number. Every tenth frame is a sequence too: a step is the greatest
    that divides all distances.

    >>> count_missing([Path("f_01.png"), Path("f_02.png"), Path("f_05.png")])
    [0, 0, 2]
    >>> count_missing([Path("f_10.png"), Path("f_20.png"), Path("f_40.png")])
    [0, 0, 1]
    >>> count_missing([Path("IMG_2034.jpg"), Path("IMG_2071.jpg"), Path("IMG_2072.jpg")])
    [0, 0, 0]
    """
    none, numbers = [0] * len(paths), _numbers(paths)
    if len(numbers) < 2:
        return none
    distances = [after - before for before, after in pairwise(numbers)]
    step = math.gcd(*distances)
    if min(distances) <= 0 or sum(distances) > step * _MAX_STEPS_PER_PICTURE * len(paths):
        return none
    return [0, *(distance // step - 1 for distance in distances)]


def _numbers(paths: Sequence[Path]) -> list[int]:
    """Return the number in each name; empty if the names differ in anything else."""
    if not all(map(is_picture, paths)):
        return []
    parts = [re.split(r"(\d+)", str(path.with_suffix("")), flags=re.ASCII) for path in paths]
    if len({len(split) for split in parts}) != 1:
        return []
    differing = [column for column in zip(*parts, strict=True) if len(set(column)) > 1]
    return [int(text) for text in differing[0]] if len(differing) == 1 and differing[0][0].isdecimal() else []
