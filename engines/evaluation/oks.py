"""Object keypoint similarity, and what follows of it for people who were found twice (COCO; HRNet's published code)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64] | NDArray[np.float32]

ALIKE: Final = 0.9
"""Of two people found in a picture who are more alike than this, the published code keeps the better."""

SURE: Final = 0.2
"""A joint's score from which the published code counts it in its person's score."""


def oks(found: Floats, truth: Floats, area: float, sigmas: Sequence[float]) -> NDArray[np.float64]:
    """(N,) of people (N, K, >=2) px against one of ``truth`` (K, 3), over the joints annotated there; NaN without any.

    ``area`` of the person in px²; as pycocotools computes it.
    """
    seen = truth[:, 2] > 0
    if not seen.any():
        return np.full(len(found), np.nan)
    squares = ((found[:, seen, :2] - truth[seen, :2]) ** 2).sum(-1)
    variances = (2 * np.array(sigmas)[seen]) ** 2
    likeness: NDArray[np.float64] = np.exp(-squares / (2 * variances * (area + np.spacing(1)))).mean(-1)
    return likeness


def score_of(joints: Floats, box_score: float) -> float:
    """A person's score as published: the mean of the scores that are above 0.2, times the box's; ``joints`` (K, 3)."""
    sure = joints[joints[:, 2] > SURE, 2]
    return box_score * (float(sure.mean()) if len(sure) else 0.0)


def kept(people: Floats, scores: Sequence[float], areas: Sequence[float], sigmas: Sequence[float]) -> list[int]:
    """Which of the people found in one picture, (N, K, 3), are left when nobody is there twice, the best first."""
    order = np.argsort(-np.array(scores), kind="stable").tolist()
    left: list[int] = []
    for place in order:
        if all(_alike(people, areas, place, other, sigmas) <= ALIKE for other in left):
            left.append(place)
    return left


def _alike(people: Floats, areas: Sequence[float], one: int, other: int, sigmas: Sequence[float]) -> float:
    all_joints = np.concatenate([people[other][:, :2], np.ones((len(people[other]), 1))], axis=1)
    return float(oks(people[one][None], all_joints, (areas[one] + areas[other]) / 2, sigmas)[0])
