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
        self._difference: Floats = np.zeros((0, 0))
        self._pull: Floats = np.zeros((0, 0))

    def measure(self, points: Floats) -> Floats:
        """The lengths (M, L) of the limbs between ``points`` (M, K, 2)."""
        return _length(self._along(points))

    def keep(self, forecasts: Floats, shortest: Floats, longest: Floats, seen: Floats) -> Floats:
        """Move ``forecasts`` (M, K, 2) towards lengths between ``shortest`` and ``longest`` (M, L), less the slack.

        Both ends of a limb move by half; a joint of several limbs moves by the mean. Limbs with an end that was not
        ``seen`` (M, K) are left alone.
        """
        if not len(self._starts):
            return forecasts
        along = self._along(forecasts)
        length = _length(along)
        wanted = np.minimum(np.maximum(length, (1 - SLACK) * shortest), (1 + SLACK) * longest)
        if (wanted == length).all():
            return forecasts
        both = seen[:, self._starts] * seen[:, self._ends]
        change = along * (both * (0.5 * (wanted / np.maximum(length, _TINY) - 1)))[..., None]
        moved: Floats = forecasts + self._pull @ change
        return moved

    def _along(self, points: Floats) -> Floats:
        """From the start of each limb to its end, (M, L, 2)."""
        joints = points.shape[1]
        if self._difference.shape[1] != joints:
            self._difference, number = np.zeros((len(self._starts), joints)), np.arange(len(self._starts))
            self._difference[number, self._ends], self._difference[number, self._starts] = 1.0, -1.0
            limbs_of_joint = np.abs(self._difference).sum(0)[:, None]
            self._pull = self._difference.T / np.maximum(limbs_of_joint, 1)
        along: Floats = self._difference @ points
        return along


def _length(vectors: Floats) -> Floats:
    squares = vectors * vectors
    return np.sqrt(squares[..., 0] + squares[..., 1])
