"""Decoding of SimCC: each coordinate is the highest bin of a one-dimensional classification.

Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022; RTMPose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode(
    across: NDArray[np.float32], down: NDArray[np.float32], split: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points (N, K, 2) px in index coordinates of the crop, and scores (N, K).

    ``across`` is (N, K, width * split), ``down`` (N, K, height * split), with ``split`` bins per pixel. A score is the
    lower of the two maxima, as in RTMPose.
    """
    bins = np.stack([across.argmax(axis=2), down.argmax(axis=2)], axis=2)
    return bins / split, np.minimum(across.max(axis=2), down.max(axis=2))
