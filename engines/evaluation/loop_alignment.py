"""Align a stream that loops a clip with the clip's frames.

A server that loops a clip sends its frames repeatedly, with timestamps that always increase. A reader that joins the
stream has the time between frames, but not the clip's frame that came first. Only that number is searched for: with it,
every frame follows from its time, modulo the length of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.metrics import match_boxes

Floats = NDArray[np.float32] | NDArray[np.float64]

MAX_RATIO: Final = 0.5
"""A start is unambiguous if its difference is less than half of that of any other start."""


@dataclass(frozen=True)
class Loop:
    """A looped clip: the increasing ``times_ns`` of its frames, and the duration of one turn.

    Frame numbers continue over the turns: frame ``len(times_ns)`` is the first one of the second turn.
    """

    times_ns: tuple[int, ...]
    turn_ns: int

    @classmethod
    def from_times(cls, times_ns: Sequence[int], turn_ns: int | None = None) -> Loop:
        """By default a turn lasts as long as the clip and one more frame of average duration."""
        span_ns, count = times_ns[-1] - times_ns[0], len(times_ns)
        return cls(tuple(times_ns), turn_ns or (round(span_ns * count / (count - 1)) if count > 1 else 1))

    @property
    def step_ns(self) -> float:
        """The average time from one frame to the next."""
        return self.turn_ns / len(self.times_ns)

    def number(self, frame: int) -> int:
        """The number of the frame within the clip."""
        return frame % len(self.times_ns)

    def time_ns(self, frame: int) -> int:
        """The time of a frame, counted on over the turns."""
        turn, number = divmod(frame, len(self.times_ns))
        return self.times_ns[number] + turn * self.turn_ns

    def nearest(self, time_ns: int) -> int:
        """The frame with the nearest time."""
        turn = (time_ns - self.times_ns[0]) // self.turn_ns
        first = turn * len(self.times_ns)
        after = first + int(np.searchsorted(self.times_ns, time_ns - turn * self.turn_ns))
        return min((after, max(after - 1, 0)), key=lambda frame: abs(self.time_ns(frame) - time_ns))

    def frames_after(self, first: int, elapsed_ns: Sequence[int]) -> list[int]:
        """The frames shown at these times after frame ``first``."""
        begin_ns = self.time_ns(first)
        return [self.nearest(begin_ns + passed_ns) for passed_ns in elapsed_ns]

    def deviations_ns(self, first: int, elapsed_ns: Sequence[int]) -> list[int]:
        """The distance of each frame's time from the given one; small unless the stream's clock was adjusted."""
        begin_ns = self.time_ns(first)
        pairs = zip(self.frames_after(first, elapsed_ns), elapsed_ns, strict=True)
        return [abs(self.time_ns(frame) - begin_ns - passed_ns) for frame, passed_ns in pairs]


@dataclass(frozen=True)
class LoopStart:
    """The frame ``first`` at which a stream was joined, the mean ``difference`` of the answers for it, and the
    ``next_difference`` of the second-best frame."""

    first: int
    difference: float
    next_difference: float

    @property
    def is_unambiguous(self) -> bool:
        """Whether no other frame fits about as well."""
        return self.difference < MAX_RATIO * self.next_difference


def find_start(loop: Loop, elapsed_ns: Sequence[int], difference: Callable[[int, int], float]) -> LoopStart:
    """The frame of ``loop`` at which a stream started whose items came after ``elapsed_ns``.

    ``difference(j, n)`` is that of item *j* and the clip's frame *n*; its mean over all items is lowest at the start.
    """
    means = [_mean(loop, first, elapsed_ns, difference) for first in range(len(loop.times_ns))]
    order = np.argsort(means, kind="stable")
    next_difference = means[order[1]] if len(means) > 1 else float("inf")
    return LoopStart(int(order[0]), means[order[0]], next_difference)


def _mean(loop: Loop, first: int, elapsed_ns: Sequence[int], difference: Callable[[int, int], float]) -> float:
    numbers = map(loop.number, loop.frames_after(first, elapsed_ns))
    return float(np.mean([difference(item, number) for item, number in enumerate(numbers)]))


def people_difference(boxes: Floats, keypoints: Floats, other_boxes: Floats, other_keypoints: Floats) -> float:
    """The difference of two sets of people, relative to their size: 0 if they are equal, 1 if no person matches.

    ``boxes`` (N, 4) px, ``keypoints`` (N, K, >=2) px. It is the mean over people of the mean joint distance as a share
    of the box's longer side, at most 1; a person in one of the sets only counts as 1.
    """
    count = max(len(boxes), len(other_boxes))
    if not count:
        return 0.0
    rows, columns = match_boxes(boxes, other_boxes)
    distances = np.linalg.norm(keypoints[rows, :, :2] - other_keypoints[columns, :, :2], axis=-1).mean(axis=1)
    size = np.maximum((boxes[rows, 2:] - boxes[rows, :2]).max(axis=1, initial=1e-9), 1e-9)
    return float((np.minimum(distances / size, 1).sum() + count - len(rows)) / count)
