"""PoseTrack's AP: multi-person pose estimation scored as by the official ``poseval`` (Andriluka et al., CVPR 2018).

A keypoint is right within half of the head's size: 0.6 of the diagonal of the head box. Every prediction goes to the
person it agrees with best (the share of that person's annotated joints that it has right), every person keeps the best
of those; what nobody keeps counts as false, with its scores. AP of each joint is the area under precision over recall,
all points; the mean is over the 15 joints. What lies in an ignored region is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted

Floats = NDArray[np.float64]

GROUPS = {
    "Head": (14, 12, 13),
    "Shoulder": (8, 9),
    "Elbow": (7, 10),
    "Wrist": (6, 11),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
"""The columns of the papers' tables, each the mean of these joints."""

HEAD_SHARE = 0.6
WITHIN_HEADS = 0.5


@dataclass(frozen=True)
class JointScore:
    """AP, precision and recall of one joint, in percent."""

    ap: float
    precision: float
    recall: float


@dataclass
class _Tally:
    """Of one joint: scores and verdicts of all predictions, and how many were annotated."""

    scores: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    annotated: int = 0


def score(frames: Iterable[tuple[Annotated, Predicted]]) -> list[JointScore]:
    """Each of the 15 joints over all ``frames``; frames without an annotated person are left out, as officially."""
    tallies = [_Tally() for _ in JOINTS]
    for annotated, predicted in frames:
        if len(annotated.joints):
            _count(_outside(annotated), _without(predicted, annotated.ignored), tallies)
    return [_joint_score(tally) for tally in tallies]


def mean(scores: Sequence[JointScore]) -> JointScore:
    """Over the joints, NaN (never annotated) left out."""
    columns = np.array([[one.ap, one.precision, one.recall] for one in scores])
    return JointScore(*(float(value) for value in np.nanmean(columns, axis=0)))


def table(scores: Sequence[JointScore]) -> dict[str, float]:
    """AP by the columns of the papers, and ``Mean``."""
    aps = np.array([one.ap for one in scores])
    groups = {name: float(np.nanmean(aps[list(members)])) for name, members in GROUPS.items()}
    return {**groups, "Mean": mean(scores).ap}


# -- ignored regions --------------------------------------------------------------------------------------------------


def _outside(annotated: Annotated) -> Annotated:
    """The same without joints in ignored regions; people who lose all of them are gone."""
    joints = _blanked(annotated.joints, annotated.ignored)
    kept = ~np.isnan(joints[..., 0]).all(axis=1) | np.isnan(annotated.joints[..., 0]).all(axis=1)
    return Annotated(joints[kept], annotated.heads[kept])


def _without(predicted: Predicted, ignored: Sequence[Floats]) -> Predicted:
    return Predicted(_blanked(predicted.joints, ignored), predicted.scores)


def _blanked(joints: Floats, ignored: Sequence[Floats]) -> Floats:
    left = joints.copy()
    for person, joint in zip(*np.nonzero(~np.isnan(joints[..., 0])), strict=True):
        if any(_contains(polygon, joints[person, joint]) for polygon in ignored):
            left[person, joint] = np.nan
    return left


def _contains(polygon: Floats, point: Floats) -> bool:
    """Strictly inside: a point on the border is not, as in shapely's ``contains``."""
    contour = polygon.astype(np.float32)[:, None]
    return cv2.pointPolygonTest(contour, (float(point[0]), float(point[1])), measureDist=False) > 0


# -- one frame --------------------------------------------------------------------------------------------------------


def _count(annotated: Annotated, predicted: Predicted, tallies: Sequence[_Tally]) -> None:
    has = ~np.isnan(annotated.joints[..., 0])  # (N, 15)
    for tally, number in zip(tallies, has.sum(axis=0), strict=True):
        tally.annotated += int(number)
    near = _near(annotated, predicted)  # (M, N, 15)
    owner = _owners(near, has)
    for row, person in enumerate(owner):
        right = near[row, person] if person >= 0 else np.zeros(len(JOINTS), bool)
        _note(predicted.joints[row], predicted.scores[row], right, tallies)


def _near(annotated: Annotated, predicted: Predicted) -> NDArray[np.bool_]:
    """Which predicted joints lie close enough to which person's."""
    x1, y1, x2, y2 = annotated.heads.T
    size = HEAD_SHARE * np.hypot(x2 - x1, y2 - y1)
    away = np.linalg.norm(predicted.joints[:, None] - annotated.joints[None], axis=-1) / size[None, :, None]
    near: NDArray[np.bool_] = away <= WITHIN_HEADS  # NaN is never near
    return near


def _owners(near: NDArray[np.bool_], has: NDArray[np.bool_]) -> list[int]:
    """For every prediction the person that keeps it, -1 where nobody does."""
    rows, people, _ = near.shape
    owner = [-1] * rows
    if not rows or not people:
        return owner
    share = near.sum(axis=2) / np.maximum(has.sum(axis=1), 1)
    best = share.argmax(axis=1)
    share[np.arange(people)[None] != best[:, None]] = 0
    for person in range(people):
        if share[:, person].max() > 0:
            owner[int(share[:, person].argmax())] = person
    return owner


def _note(joints: Floats, scores: Floats, right: NDArray[np.bool_], tallies: Sequence[_Tally]) -> None:
    for place in np.flatnonzero(~np.isnan(joints[:, 0])).tolist():
        tallies[place].scores.append(float(scores[place]))
        tallies[place].right.append(bool(right[place]))


# -- all frames -------------------------------------------------------------------------------------------------------


def _joint_score(tally: _Tally) -> JointScore:
    if not tally.annotated:
        return JointScore(np.nan, np.nan, np.nan)
    order = np.argsort(tally.scores)[::-1]
    right = np.array(tally.right, bool)[order]
    hits = np.cumsum(right)
    recall, precision = hits / tally.annotated, hits / np.arange(1, len(right) + 1)
    if not len(right):
        return JointScore(0.0, 0.0, 0.0)
    return JointScore(100 * _area(recall, precision), 100 * float(precision[-1]), 100 * float(recall[-1]))


def _area(recall: Floats, precision: Floats) -> float:
    """Under the curve whose precision never rises again, all points (Pascal VOC 2010 and later)."""
    steps = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    ceiling = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float((steps * ceiling).sum())
