"""PoseTrack's AP of multi-person pose estimation, as the official ``poseval`` computes it (Andriluka et al., 2018).

A keypoint is correct within half of the head's size, which is 0.6 of the diagonal of the head box. Every prediction is
assigned to the person with the largest share of correct joints, and every person keeps the best prediction assigned to
it; the joints of all other predictions are false positives. The AP of a joint is the area under precision over recall,
all points; the mean is over the 15 joints. Joints in ignored regions are left out of annotations and predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.metrics import mean_known

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
"""The columns of the papers' tables, each the mean over these joints."""

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
    """One joint's predictions, with their scores and correctness, and the number of its annotations."""

    scores: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    annotated: int = 0


def score(frames: Iterable[tuple[Annotated, Predicted]]) -> list[JointScore]:
    """The scores of the 15 joints over all ``frames``; as officially, frames without annotated people are left out."""
    tallies = [_Tally() for _ in JOINTS]
    for annotated, predicted in frames:
        if len(annotated.joints):
            _count(_drop_ignored(annotated), _mask_ignored(predicted, annotated.ignored), tallies)
    return [_joint_score(tally) for tally in tallies]


def mean(scores: Sequence[JointScore]) -> JointScore:
    """The mean over the joints; joints that are never annotated (NaN) are left out."""
    columns = ([one.ap for one in scores], [one.precision for one in scores], [one.recall for one in scores])
    return JointScore(*map(mean_known, columns))


def table(scores: Sequence[JointScore]) -> dict[str, float]:
    """AP in the columns of the papers, and ``Mean``."""
    aps = np.array([one.ap for one in scores])
    groups = {name: mean_known(aps[list(members)]) for name, members in GROUPS.items()}
    return {**groups, "Mean": mean(scores).ap}


# -- ignored regions --------------------------------------------------------------------------------------------------


def _drop_ignored(annotated: Annotated) -> Annotated:
    """Remove joints in ignored regions, and people who lose all joints by that."""
    joints = _mask_joints(annotated.joints, annotated.ignored)
    kept = ~np.isnan(joints[..., 0]).all(axis=1) | np.isnan(annotated.joints[..., 0]).all(axis=1)
    return Annotated(joints[kept], annotated.heads[kept])


def _mask_ignored(predicted: Predicted, ignored: Sequence[Floats]) -> Predicted:
    return Predicted(_mask_joints(predicted.joints, ignored), predicted.scores)


def _mask_joints(joints: Floats, ignored: Sequence[Floats]) -> Floats:
    masked = joints.copy()
    for person, joint in zip(*np.nonzero(~np.isnan(joints[..., 0])), strict=True):
        if any(_contains(polygon, joints[person, joint]) for polygon in ignored):
            masked[person, joint] = np.nan
    return masked


def _contains(polygon: Floats, point: Floats) -> bool:
    """Whether the point is strictly inside; one on the border is not, as in shapely's ``contains``."""
    contour = polygon.astype(np.float32)[:, None]
    return cv2.pointPolygonTest(contour, (float(point[0]), float(point[1])), measureDist=False) > 0


# -- one frame --------------------------------------------------------------------------------------------------------


def _count(annotated: Annotated, predicted: Predicted, tallies: Sequence[_Tally]) -> None:
    has = ~np.isnan(annotated.joints[..., 0])  # (N, 15)
    for tally, number in zip(tallies, has.sum(axis=0), strict=True):
        tally.annotated += int(number)
    near = _find_near(annotated, predicted)  # (M, N, 15)
    for row, person in enumerate(_assign(near, has)):
        correct = near[row, person] if person >= 0 else np.zeros(len(JOINTS), bool)
        _add(predicted.joints[row], predicted.scores[row], correct, tallies)


def _find_near(annotated: Annotated, predicted: Predicted) -> NDArray[np.bool_]:
    """(M, N, 15) whether each predicted joint is close enough to each person's."""
    x1, y1, x2, y2 = annotated.heads.T
    size = HEAD_SHARE * np.hypot(x2 - x1, y2 - y1)
    distances = np.linalg.norm(predicted.joints[:, None] - annotated.joints[None], axis=-1) / size[None, :, None]
    near: NDArray[np.bool_] = distances <= WITHIN_HEADS  # NaN is never near
    return near


def _assign(near: NDArray[np.bool_], has: NDArray[np.bool_]) -> list[int]:
    """The person that each prediction is matched to, -1 for none."""
    rows, people, _ = near.shape
    matches = [-1] * rows
    if not rows or not people:
        return matches
    share = near.sum(axis=2) / np.maximum(has.sum(axis=1), 1)
    best = share.argmax(axis=1)
    share[np.arange(people)[None] != best[:, None]] = 0
    for person in range(people):
        if share[:, person].max() > 0:
            matches[int(share[:, person].argmax())] = person
    return matches


def _add(joints: Floats, scores: Floats, correct: NDArray[np.bool_], tallies: Sequence[_Tally]) -> None:
    for joint in np.flatnonzero(~np.isnan(joints[:, 0])).tolist():
        tallies[joint].scores.append(float(scores[joint]))
        tallies[joint].correct.append(bool(correct[joint]))


# -- all frames -------------------------------------------------------------------------------------------------------


def _joint_score(tally: _Tally) -> JointScore:
    if not tally.annotated:
        return JointScore(np.nan, np.nan, np.nan)
    order = np.argsort(tally.scores)[::-1]
    correct = np.array(tally.correct, bool)[order]
    hits = np.cumsum(correct)
    recall, precision = hits / tally.annotated, hits / np.arange(1, len(correct) + 1)
    if not len(correct):
        return JointScore(0.0, 0.0, 0.0)
    return JointScore(100 * _area(recall, precision), 100 * float(precision[-1]), 100 * float(recall[-1]))


def _area(recall: Floats, precision: Floats) -> float:
    """The area under the interpolated precision-recall curve, all points (Pascal VOC 2010 and later)."""
    steps = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    interpolated = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float((steps * interpolated).sum())
