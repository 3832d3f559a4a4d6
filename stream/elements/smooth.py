"""``smooth``: removes jitter from keypoints with little lag, with the One-Euro filter.

Casiez, Roussel, Vogel: "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012, pp. 2527-2530. A low-pass filter whose cut-off frequency rises with speed: strong smoothing at rest, little
lag in motion.
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
from stream.messages import NO_ID, Poses

Points = NDArray[np.float64]


@dataclass
class Smooth(Transform):
    """Smooths x and y of every joint of every id; scores, boxes and people without an id are unchanged.

    Time is ``pts_ns``, so dropped frames and a varying frame rate are handled. The filter of a person is reset after an
    absence longer than ``max_gap_ms``, and all filters when its part is restarted. With the defaults, at 30 frames per
    second, a third of the jitter of a joint at rest remains, and one that moves at 300 px/s lags by 16 ms (measured and
    tested).
    """

    sink = Caps("people/poses")
    src = Caps("people/poses")

    min_cutoff: Annotated[float, Meta(gt=0, description="cut-off at rest, Hz; lower is smoother but lags more")] = 1.0
    beta: Annotated[float, Meta(ge=0, description="Hz of cut-off per px/s of speed; higher lags less")] = 0.02
    d_cutoff: Annotated[float, Meta(gt=0, description="cut-off of the speed itself, Hz")] = 1.0
    max_gap_ms: Annotated[float, Meta(gt=0, description="absence after which a person's filter is reset")] = 500.0

    def __post_init__(self) -> None:
        self._filters: dict[str, dict[int, _Filter]] = {}

    def __enter__(self) -> Self:
        self._filters = {}
        return self

    def process(self, item: Poses) -> Iterator[Poses]:
        filters = self._filters.setdefault(item.frame.camera, {})
        keypoints = item.keypoints.copy()
        for row, person in enumerate(item.ids.tolist()):
            if person != NO_ID:
                keypoints[row, :, :2] = self._smooth(filters, person, item.keypoints[row, :, :2], item.frame.pts_ns)
        self._drop_old(filters, item.frame.pts_ns)
        yield dataclasses.replace(item, keypoints=keypoints)

    def flush(self, camera: str | None = None) -> Iterator[Poses]:
        """Drop the filters of ``camera``; nothing is held back."""
        for name in [camera] if camera is not None else list(self._filters):
            self._filters.pop(name, None)
        yield from ()

    def _smooth(
        self, filters: dict[int, _Filter], person: int, points: NDArray[np.float32], pts_ns: int
    ) -> Points | NDArray[np.float32]:
        last = filters.get(person)
        if last is None or not last.sink_caps(points, pts_ns, self.max_gap_ms):
            filters[person] = _Filter(points, pts_ns)
            return points
        return last.step(points, pts_ns, self.min_cutoff, self.beta, self.d_cutoff)

    def _drop_old(self, filters: dict[int, _Filter], pts_ns: int) -> None:
        """Drop the filters that would be reset anyway, so that memory stays bounded."""
        for person in [person for person, last in filters.items() if last.age_ms(pts_ns) > self.max_gap_ms]:
            del filters[person]


class _Filter:
    """One person's joints: the last filtered positions (K, 2) px and speeds (K, 2) px/s, and their time."""

    def __init__(self, points: NDArray[np.float32], pts_ns: int) -> None:
        self._position: Points = points.astype(np.float64)
        self._speed: Points = np.zeros_like(self._position)
        self._pts_ns = pts_ns

    def age_ms(self, pts_ns: int) -> float:
        """Time from the last step to ``pts_ns``, in ms."""
        return (pts_ns - self._pts_ns) / 1e6

    def sink_caps(self, points: NDArray[np.float32], pts_ns: int, max_gap_ms: float) -> bool:
        """True if ``points`` has as many joints as the last step and comes at most ``max_gap_ms`` after it."""
        return points.shape == self._position.shape and 0 < self.age_ms(pts_ns) <= max_gap_ms

    def step(self, points: NDArray[np.float32], pts_ns: int, min_cutoff: float, beta: float, d_cutoff: float) -> Points:
        """Algorithm 1 of the paper, on all coordinates at once."""
        period_s = (pts_ns - self._pts_ns) / 1e9
        speed = (points - self._position) / period_s
        self._speed += _alpha(np.float64(d_cutoff), period_s) * (speed - self._speed)
        cutoff = min_cutoff + beta * np.abs(self._speed)
        self._position = self._position + _alpha(cutoff, period_s) * (points - self._position)
        self._pts_ns = pts_ns
        return self._position


def _alpha(cutoff: Points | np.float64, period_s: float) -> Points | np.float64:
    """The weight of a new sample in a first-order low-pass filter of ``cutoff`` Hz."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff * period_s))
