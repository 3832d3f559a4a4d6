"""``smooth``: takes the jitter out of keypoints and leaves fast motion its speed, with the One-Euro filter.

Casiez, Roussel, Vogel: "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012, pp. 2527-2530. A low-pass filter whose cut-off frequency rises with speed: a joint at rest is held still, one
that moves is followed closely.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses

_NOBODY = -1
Points = NDArray[np.float64]


@dataclass
class Smooth(Transform):
    """Smooths x and y of every joint of every id; scores, boxes and people without an id pass as they are.

    Time is ``pts_ns``, so that dropped frames and a varying frame rate do no harm. A person starts afresh when it was
    away for longer than ``max_gap_ms``, and everybody does when this stage is restarted. With the defaults, at 30
    frames a second, a third of the jitter of a joint at rest is left, and one that moves at 300 px/s is shown 16 ms
    late (measured; its tests hold it).
    """

    sink = Caps("people/poses")
    src = Caps("people/poses")

    min_cutoff: Annotated[float, Meta(gt=0, description="cut-off at rest, Hz; less is smoother, and later")] = 1.0
    beta: Annotated[float, Meta(ge=0, description="Hz of cut-off for each px/s of speed; more follows faster")] = 0.02
    d_cutoff: Annotated[float, Meta(gt=0, description="cut-off of the speed itself, Hz")] = 1.0
    max_gap_ms: Annotated[float, Meta(gt=0, description="a person away for longer starts afresh")] = 500.0

    def __post_init__(self) -> None:
        self._filters: dict[str, dict[int, _Filter]] = {}

    def __enter__(self) -> Self:
        self._filters = {}
        return self

    def process(self, item: Poses) -> Iterator[Poses]:
        known = self._filters.setdefault(item.frame.camera, {})
        keypoints = item.keypoints.copy()
        for row, person in enumerate(item.ids.tolist()):
            if person != _NOBODY:
                keypoints[row, :, :2] = self._smoothed(known, person, item.keypoints[row, :, :2], item.frame.pts_ns)
        self._forget(known, item.frame.pts_ns)
        yield dataclasses.replace(item, keypoints=keypoints)

    def flush(self, camera: str | None = None) -> Iterator[Poses]:
        """Holds nothing back; forgets whose stream has ended."""
        for name in [camera] if camera is not None else list(self._filters):
            self._filters.pop(name, None)
        yield from ()

    def _smoothed(
        self, known: dict[int, _Filter], person: int, points: NDArray[np.float32], pts_ns: int
    ) -> Points | NDArray[np.float32]:
        held = known.get(person)
        if held is None or not held.continues(points, pts_ns, self.max_gap_ms):
            known[person] = _Filter(points, pts_ns)
            return points
        return held.step(points, pts_ns, self.min_cutoff, self.beta, self.d_cutoff)

    def _forget(self, known: dict[int, _Filter], pts_ns: int) -> None:
        """Drop those who would start afresh anyway, so that ids long gone take no room."""
        for person in [person for person, held in known.items() if held.age_ms(pts_ns) > self.max_gap_ms]:
            del known[person]


class _Filter:
    """One person's joints: the last filtered positions (K, 2) px and speeds (K, 2) px/s, and when that was."""

    def __init__(self, points: NDArray[np.float32], pts_ns: int) -> None:
        self._at: Points = points.astype(np.float64)
        self._speed: Points = np.zeros_like(self._at)
        self._pts_ns = pts_ns

    def age_ms(self, pts_ns: int) -> float:
        """How long ago the last step was."""
        return (pts_ns - self._pts_ns) / 1e6

    def continues(self, points: NDArray[np.float32], pts_ns: int, max_gap_ms: float) -> bool:
        """True when ``points`` is a later position of the same joints, soon enough after the last."""
        return points.shape == self._at.shape and 0 < self.age_ms(pts_ns) <= max_gap_ms

    def step(self, points: NDArray[np.float32], pts_ns: int, min_cutoff: float, beta: float, d_cutoff: float) -> Points:
        """Algorithm 1 of the paper, on all coordinates at once."""
        period_s = (pts_ns - self._pts_ns) / 1e9
        speed = (points - self._at) / period_s
        self._speed += _alpha(np.float64(d_cutoff), period_s) * (speed - self._speed)
        cutoff = min_cutoff + beta * np.abs(self._speed)
        self._at = self._at + _alpha(cutoff, period_s) * (points - self._at)
        self._pts_ns = pts_ns
        return self._at


def _alpha(cutoff: Points | np.float64, period_s: float) -> Points | np.float64:
    """How much of a new sample a first-order low-pass filter of ``cutoff`` Hz takes."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * period_s))
