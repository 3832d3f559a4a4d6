"""What an engine is asked: windows of frames, and the people in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, int]
"""``(camera, seq)``: names one frame."""

Keypoints = NDArray[np.float32]

NOBODY = -1
"""The id of whom nobody follows."""


@dataclass(frozen=True)
class PersonWindows:
    """One window and its people.

    ``frames``: T = past + 1 + future of (H, W, 3) uint8 BGR, oldest first; ``keys`` name them, one each, and ``ids``
    (N,) name the people, so that an engine may recognise what it has computed before. ``boxes`` (N, 4) px are the key
    frame's, and crop every frame of the window.
    """

    frames: tuple[NDArray[np.uint8], ...]
    keys: tuple[Key, ...]
    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Person:
    """One row of a batch: its window and which of the window's people it is."""

    window: PersonWindows
    place: int

    @property
    def box(self) -> NDArray[np.float32]:
        """(4,) px in the key frame."""
        box: NDArray[np.float32] = self.window.boxes[self.place]
        return box

    @property
    def identity(self) -> int:
        """Who it is, as the tracker says; :data:`NOBODY` where it does not."""
        return int(self.window.ids[self.place])


def list_people(windows: Sequence[PersonWindows]) -> list[Person]:
    """Everybody, window by window."""
    return [Person(window, place) for window in windows for place in range(len(window))]
