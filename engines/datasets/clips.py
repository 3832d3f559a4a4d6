"""The common form of all data sets: clips of numbered frames, and the people in the labelled ones.

Coordinates are index coordinates: the centre of the first pixel is 0. Data sets that count from 1 (Sub-JHMDB) are
shifted when they are read; all others are taken as their files have them, as the published trainings do.
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
    """A frame in a file of its own."""

    path: Path


@dataclass(frozen=True)
class VideoFrame:
    """Frame ``number`` of a video, counted from 0 in presentation order."""

    path: Path
    number: int


Source = PictureFile | VideoFrame


@dataclass(frozen=True)
class Person:
    """``box`` (4,) x, y, width, height px; ``joints`` (K, 3) float32: x, y px and visibility, which is 0 if not
    annotated, 1 if hidden or unknown, 2 if visible; ``head`` (4,) x1, y1, x2, y2 px and ``area`` of the body px² if the
    data set has them; ``score`` of a detected box, 1 for a true one."""

    box: Floats
    joints: NDArray[np.float32]
    track: int | None = None
    head: Floats | None = None
    score: float = 1.0
    area: float | None = None


@dataclass(frozen=True)
class Frame:
    """A labelled frame: its number in the clip, its ``name`` and ``id`` in the data set's own files, its size (width,
    height) px; ``ignored`` are polygons (P, 2) px in which not every person is labelled."""

    number: int
    name: str
    size: tuple[int, int]
    people: tuple[Person, ...]
    ignored: tuple[Floats, ...] = ()
    id: Any = None


@dataclass(frozen=True)
class Clip:
    """``pictures`` by number: labelled and unlabelled ones, which serve as neighbours."""

    name: str
    skeleton: str
    pictures: Mapping[int, Source]
    frames: tuple[Frame, ...]

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of the first and the last picture."""
        return min(self.pictures), max(self.pictures)


EXTENT_MARGIN = 0.15
"""Margin of a box computed from joints, as a share of their extent, on every side. It is the rule behind the boxes in
PoseTrack18's own files."""


def enclosing_box(joints: NDArray[np.float32]) -> Floats:
    """(4,) x, y, width, height px of the annotated ``joints`` (K, 3), at least one, with a margin."""
    points = joints[joints[:, 2] > 0, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    margin = EXTENT_MARGIN * (high - low)
    return np.concatenate([low - margin, high - low + 2 * margin])
