"""Motion of a handheld camera: the displacement of the picture at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.datasets.synthetic.body import Floats


@dataclass(frozen=True)
class Handheld:
    """Sums of slow and fast sines, x and y: amplitudes (n, 2) px, periods (n,) s, phases (n, 2) radians."""

    amplitudes: Floats
    periods: Floats
    phases: Floats

    @property
    def reach(self) -> int:
        """The largest displacement, px, rounded up."""
        return int(np.ceil(np.abs(self.amplitudes).sum(0).max(initial=0.0)))

    def at(self, time_s: float) -> tuple[float, float]:
        """The displacement of the picture, px right and down."""
        swing = np.sin(2 * np.pi * time_s / self.periods[:, None] + self.phases)
        x, y = (self.amplitudes * swing).sum(0)
        return float(x), float(y)


def random_handheld(rng: np.random.Generator, pan_px: float, shake_px: float) -> Handheld:
    """One slow pan (mostly sideways) and three fast components of shake."""
    amplitudes = np.array([[pan_px, 0.25 * pan_px], *(rng.normal(0, shake_px / 2, (3, 2)))])
    periods = np.array([rng.uniform(3.0, 7.0), *rng.uniform(0.15, 0.6, 3)])
    return Handheld(amplitudes, periods, rng.uniform(0, 2 * np.pi, (4, 2)))
