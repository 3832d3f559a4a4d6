"""What every data set comes down to: clips of numbered frames, and the people of those that somebody labelled.

Coordinates are index coordinates: the centre of the first pixel is 0. Data sets that count from 1 (Sub-JHMDB) are moved
when they are read; all others are taken as their files have them, as the published trainings do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PictureFile:
    """A frame that is a file of its own."""

    path: Path


@dataclass(frozen=True)
class VideoFrame:
    """The ``number``-th frame of a video, counted from 0 in the order of showing."""

    path: Path
    number: int


Source = PictureFile | VideoFrame


@dataclass(frozen=True)
class Person:
    """``box`` (4,) x, y, width, height px; ``joints`` (K, 3) float32: px, then 0 where not annotated, 1 where hidden or
    where nobody said, 2 where visible; ``head`` (4,) x1, y1, x2, y2 px and ``area`` of the body px² where the data set
    has them; ``score`` of a detected box, 1 for a true one."""

    box: Floats
    joints: NDArray[np.float32]
    track: int | None = None
    head: Floats | None = None
    score: float = 1.0
    area: float | None = None


@dataclass(frozen=True)
class Frame:
    """A labelled frame: its place in the clip, its ``name`` and ``id`` in the data set's own files, its size (width,
    height) px; ``ignored`` are polygons (P, 2) px in which not everybody was labelled."""

    number: int
    name: str
    size: tuple[int, int]
    people: tuple[Person, ...]
    ignored: tuple[Floats, ...] = ()
    id: Any = None


@dataclass(frozen=True)
class Clip:
    """``pictures`` by number: all that there are, labelled or not, so that they serve as neighbours."""

    name: str
    skeleton: str
    pictures: Mapping[int, Source]
    frames: tuple[Frame, ...]

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of the first and the last picture."""
        return min(self.pictures), max(self.pictures)


EXTENT_GROWTH = 0.15
"""Where a data set has no boxes they are made of the joints: their extent, and this share of it on every side. It is
the rule behind the boxes in PoseTrack18's own files."""


def box_of_joints(joints: NDArray[np.float32]) -> Floats:
    """(4,) x, y, width, height px about the annotated of ``joints`` (K, 3), of which there must be one."""
    points = joints[joints[:, 2] > 0, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    margin = EXTENT_GROWTH * (high - low)
    return np.concatenate([low - margin, high - low + 2 * margin])
