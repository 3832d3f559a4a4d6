"""Requests to an engine: windows of frames, and the people in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, int]
"""``(camera, seq)``, which identifies a frame."""

Keypoints = NDArray[np.float32]

NO_ID = -1
"""The id of a person whom no tracker follows."""


@dataclass(frozen=True)
class PersonWindows:
    """One window of frames and the N people in its key frame.

    ``frames`` are T = past + 1 + future arrays (H, W, 3) uint8 BGR, oldest first, ``keys`` their keys. ``boxes`` (N, 4)
    x1, y1, x2, y2 px are those of the key frame and crop every frame of the window. ``ids`` (N,) identify the people,
    :data:`NO_ID` if unknown. Keys and ids let an engine reuse cached features.
    """

    frames: tuple[NDArray[np.uint8], ...]
    keys: tuple[Key, ...]
    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Person:
    """One person of a window; ``index`` is their row in ``boxes`` and ``ids``."""

    window: PersonWindows
    index: int

    @property
    def box(self) -> NDArray[np.float32]:
        """(4,) px in the key frame."""
        box: NDArray[np.float32] = self.window.boxes[self.index]
        return box

    @property
    def identity(self) -> int:
        """The tracker's id, or :data:`NO_ID`."""
        return int(self.window.ids[self.index])


def list_people(windows: Sequence[PersonWindows]) -> list[Person]:
    """All people, window by window."""
    return [Person(window, index) for window in windows for index in range(len(window))]
