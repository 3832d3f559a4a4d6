"""Object keypoint similarity (OKS), and the suppression of duplicate people by it (COCO; HRNet's published code)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64] | NDArray[np.float32]

MAX_OKS: Final = 0.9
"""Of two people in a picture with a greater OKS than this, the published code keeps the one with the higher score."""

MIN_JOINT_SCORE: Final = 0.2
"""Joints with a greater score than this count in the score of a person in the published code."""


def oks(predictions: Floats, truth: Floats, area: float, sigmas: Sequence[float]) -> NDArray[np.float64]:
    """(N,) for people (N, K, >=2) px against one ``truth`` (K, 3), over its annotated joints; NaN if it has none.

    ``area`` of the person in px²; the formula is pycocotools'.
    """
    annotated = truth[:, 2] > 0
    if not annotated.any():
        return np.full(len(predictions), np.nan)
    squares = ((predictions[:, annotated, :2] - truth[annotated, :2]) ** 2).sum(-1)
    variances = (2 * np.array(sigmas)[annotated]) ** 2
    similarity: NDArray[np.float64] = np.exp(-squares / (2 * variances * (area + np.spacing(1)))).mean(-1)
    return similarity


def person_score(joints: Floats, box_score: float) -> float:
    """The published score of a person with ``joints`` (K, 3): the mean of joint scores above 0.2, times the box's."""
    confident = joints[joints[:, 2] > MIN_JOINT_SCORE, 2]
    return box_score * (float(confident.mean()) if len(confident) else 0.0)


def suppress_duplicates(
    people: Floats, scores: Sequence[float], areas: Sequence[float], sigmas: Sequence[float]
) -> list[int]:
    """Indices of the people in one picture (N, K, 3) that remain without duplicates, best first."""
    kept: list[int] = []
    for index in np.argsort(-np.array(scores), kind="stable").tolist():
        if all(_mutual_oks(people, areas, index, other, sigmas) <= MAX_OKS for other in kept):
            kept.append(index)
    return kept


def _mutual_oks(people: Floats, areas: Sequence[float], one: int, other: int, sigmas: Sequence[float]) -> float:
    all_joints = np.concatenate([people[other][:, :2], np.ones((len(people[other]), 1))], axis=1)
    return float(oks(people[one][None], all_joints, (areas[one] + areas[other]) / 2, sigmas)[0])
