"""Limbs keep about their length: a bound on forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SLACK = 0.1
"""A forecast may make a limb shorter or longer than it was seen lately by this fraction."""

_TINY = 1e-9


class Limbs:
    """The ``pairs`` of joints that limbs connect; without any, nothing is bounded."""

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        self.pairs = pairs
        self._starts, self._ends = np.array(pairs, np.intp).reshape(-1, 2).T
        self._pull: Floats = np.zeros((0, 0))

    def measure(self, points: Floats) -> Floats:
        """The lengths (M, L) of the limbs between ``points`` (2, M, K)."""
        return measure_lengths(self._along(points))

    def keep(self, forecasts: Floats, shortest: Floats, longest: Floats, seen: Floats) -> Floats:
        """Move ``forecasts`` (2, M, K) towards lengths between ``shortest`` and ``longest`` (M, L), less the slack.

        Both ends of a limb move by half; a joint of several limbs moves by the mean. Limbs with an end that was not
        ``seen`` (M, K) are left alone.
        """
        if not len(self._starts):
            return forecasts
        along = self._along(forecasts)
        length = measure_lengths(along)
        wanted = np.minimum(np.maximum(length, (1 - SLACK) * shortest), (1 + SLACK) * longest)
        if (wanted == length).all():
            return forecasts
        both = seen[:, self._starts] * seen[:, self._ends]
        change = along * (both * (0.5 * (wanted / np.maximum(length, _TINY) - 1)))
        moved: Floats = forecasts + change @ self._get_pull(forecasts.shape[2])
        return moved

    def _along(self, points: Floats) -> Floats:
        """From the start of each limb to its end, (2, M, L)."""
        along: Floats = points.take(self._ends, 2) - points.take(self._starts, 2)
        return along

    def _get_pull(self, joints: int) -> Floats:
        """How much of the change of each limb moves each joint, (L, K)."""
        if self._pull.shape[1] != joints:
            self._pull, number = np.zeros((len(self._starts), joints)), np.arange(len(self._starts))
            self._pull[number, self._ends], self._pull[number, self._starts] = 1.0, -1.0
            self._pull /= np.maximum(np.abs(self._pull).sum(0), 1)
        return self._pull


def measure_lengths(vectors: Floats) -> Floats:
    """The lengths (M, …) of ``vectors`` (2, M, …)."""
    x, y = vectors
    lengths: Floats = np.sqrt(x * x + y * y)
    return lengths
