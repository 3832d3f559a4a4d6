"""Which frame of a clip is it that a stream shows, when all that is known is how much time has passed?

A server that loops a clip sends its frames again and again, under a clock of its own that never goes back. A reader who
joins somewhere knows the time between frames exactly, and not where in the clip the first one stood. That one number is
all that is to be found: with it, every frame follows from its time, modulo the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.metrics import match_boxes

Floats = NDArray[np.float32] | NDArray[np.float64]

CLEARLY: Final = 0.5
"""The first frame is found when it disagrees less than half as much as any other would."""


@dataclass(frozen=True)
class Loop:
    """A clip that begins again: ``times_ns`` of its frames, rising, and how long one turn is.

    Frames are counted on over the turns: frame ``len(times_ns)`` is the first one of the second turn.
    """

    times_ns: tuple[int, ...]
    turn_ns: int

    @classmethod
    def of(cls, times_ns: Sequence[int], turn_ns: int | None = None) -> Loop:
        """A turn lasts, where nobody says, as long as the clip and one frame more, of middling length."""
        span_ns, count = times_ns[-1] - times_ns[0], len(times_ns)
        return cls(tuple(times_ns), turn_ns or (round(span_ns * count / (count - 1)) if count > 1 else 1))

    @property
    def step_ns(self) -> float:
        """The time from one frame to the next, on average."""
        return self.turn_ns / len(self.times_ns)

    def number(self, frame: int) -> int:
        """Which of the clip's frames it is."""
        return frame % len(self.times_ns)

    def time_ns(self, frame: int) -> int:
        """When it is shown, on the clip's clock that runs on."""
        turn, number = divmod(frame, len(self.times_ns))
        return self.times_ns[number] + turn * self.turn_ns

    def nearest(self, time_ns: int) -> int:
        """The frame whose time is nearest."""
        turn = (time_ns - self.times_ns[0]) // self.turn_ns
        first = turn * len(self.times_ns)
        after = first + int(np.searchsorted(self.times_ns, time_ns - turn * self.turn_ns))
        return min((after, max(after - 1, 0)), key=lambda frame: abs(self.time_ns(frame) - time_ns))

    def placed(self, first: int, elapsed_ns: Sequence[int]) -> list[int]:
        """The frames that are shown so long after frame ``first``."""
        begin_ns = self.time_ns(first)
        return [self.nearest(begin_ns + passed_ns) for passed_ns in elapsed_ns]

    def strayed_ns(self, first: int, elapsed_ns: Sequence[int]) -> list[int]:
        """How far each of them lies from where its time says it should; small, unless the stream's clock was set."""
        begin_ns = self.time_ns(first)
        pairs = zip(self.placed(first, elapsed_ns), elapsed_ns, strict=True)
        return [abs(self.time_ns(frame) - begin_ns - passed_ns) for frame, passed_ns in pairs]


@dataclass(frozen=True)
class Begin:
    """Where a stream joined its clip: the frame ``first``, how much answers ``disagree`` if so, and how much they
    would at the next likely frame, ``otherwise``."""

    first: int
    disagree: float
    otherwise: float

    @property
    def is_clear(self) -> bool:
        """Whether no other frame would do about as well."""
        return self.disagree < CLEARLY * self.otherwise


def begin_of(loop: Loop, elapsed_ns: Sequence[int], disagreement: Callable[[int, int], float]) -> Begin:
    """Where in ``loop`` a stream began whose items came after ``elapsed_ns``.

    ``disagreement`` says how far item *j* is from what is known of the clip's frame *n*; the beginning is where the
    mean of it over all items is least.
    """
    means = [_mean(loop, first, elapsed_ns, disagreement) for first in range(len(loop.times_ns))]
    order = np.argsort(means, kind="stable")
    otherwise = means[order[1]] if len(means) > 1 else float("inf")
    return Begin(int(order[0]), means[order[0]], otherwise)


def _mean(loop: Loop, first: int, elapsed_ns: Sequence[int], disagreement: Callable[[int, int], float]) -> float:
    numbers = map(loop.number, loop.placed(first, elapsed_ns))
    return float(np.mean([disagreement(item, number) for item, number in enumerate(numbers)]))


def apart(boxes: Floats, keypoints: Floats, other_boxes: Floats, other_keypoints: Floats) -> float:
    """How far two answers about people are apart, in sizes of a person: 0 where they are equal, 1 where nobody of one
    is in the other.

    ``boxes`` (N, 4) px, ``keypoints`` (N, K, >=2) px. A person's distance is the mean over the joints, as a share of
    the box's longer side, 1 at the most; a person whom only one of them has counts 1.
    """
    most = max(len(boxes), len(other_boxes))
    if not most:
        return 0.0
    rows, columns = match_boxes(boxes, other_boxes)
    far = np.linalg.norm(keypoints[rows, :, :2] - other_keypoints[columns, :, :2], axis=-1).mean(axis=1)
    size = np.maximum((boxes[rows, 2:] - boxes[rows, :2]).max(axis=1, initial=1e-9), 1e-9)
    return float((np.minimum(far / size, 1).sum() + most - len(rows)) / most)
