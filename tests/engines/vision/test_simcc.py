"""SimCC: the highest bin of each axis."""

from __future__ import annotations

import numpy as np

from engines.vision import simcc


def test_points_are_bins_over_split_and_the_score_is_the_lower_maximum() -> None:
    across = np.zeros((2, 17, 384), np.float32)
    down = np.zeros((2, 17, 512), np.float32)
    across[:, :, 101], down[:, :, 300] = 0.9, 0.6
    across[1, 3, 7], down[1, 3, 9] = 1.5, 2.0
    points, scores = simcc.decode(across, down, 2.0)
    assert points.shape == (2, 17, 2)
    assert points[0, 0].tolist() == [50.5, 150.0]
    assert points[1, 3].tolist() == [3.5, 4.5]
    assert scores[0, 0] == np.float32(0.6)
    assert scores[1, 3] == np.float32(1.5)
