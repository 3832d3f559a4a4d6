"""PCK joint by joint, in the columns of the papers: the share of joints that lie within ``alpha`` times a size.

The size is the person's, the longer side of the annotated box (PCK: Yang and Ramanan, TPAMI 2013; on Sub-JHMDB the box
is that of the puppet); the torso's, from the left shoulder to the right hip (Luo et al., CVPR 2018; MMPose's tPCK); or
the head's (PCKh). ``Mean`` is over the joints, those that have no column included: on Sub-JHMDB all 15, which is the
only mean that FAMI-Pose's Table 5 and MMPose's figures allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.rows import Row
from engines.evaluation.posetrack import HEAD_SHARE
from engines.metrics import HIDDEN
from engines.skeletons import SKELETONS

Floats = NDArray[np.float64]
Found = NDArray[np.float32]
"""(K, 3) of one person: px in the frame by index, and score."""

SizeOf = Callable[[Row], float]
"""px; NaN where it cannot be told, and the person is left out."""

TORSO: Final = ("left_shoulder", "right_hip")

_COLUMNS: Final = {
    "Head": ("nose", "eye", "ear", "head", "top", "bottom"),
    "Shoulder": ("shoulder",),
    "Elbow": ("elbow",),
    "Wrist": ("wrist",),
    "Hip": ("hip",),
    "Knee": ("knee",),
    "Ankle": ("ankle",),
}
"""By the last word of a joint's name."""


def box_size(row: Row) -> float:
    """The longer side of the annotated box."""
    return float(row.person.box[2:].max())


def torso_size(row: Row) -> float:
    """From the left shoulder to the right hip; NaN where either is not annotated, or they are less than 1 px apart."""
    names = SKELETONS[row.clip.skeleton].joints
    if not set(TORSO) <= set(names):
        return float("nan")
    first, second = (row.person.joints[names.index(joint)] for joint in TORSO)
    length = float(np.hypot(*(first[:2] - second[:2])))
    return length if first[2] and second[2] and length >= 1 else float("nan")


def head_size(row: Row) -> float:
    """As PoseTrack measures it: 0.6 of the diagonal of the head's box; NaN where there is none."""
    if row.person.head is None:
        return float("nan")
    x1, y1, x2, y2 = row.person.head
    return HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def pck(rows: Sequence[Row], found: Sequence[Found], skeleton: str, alpha: float, size: SizeOf) -> dict[str, float]:
    """By the columns of the papers and ``Mean``, in percent; NaN where no such joint was annotated.

    ``found`` are the people of ``rows`` with the joints of ``skeleton``.
    """
    truth = np.stack([row.joints for row in rows])
    away = np.hypot(*np.moveaxis(np.stack(found)[..., :2] - truth[..., :2], -1, 0))
    sizes = np.array([size(row) for row in rows])[:, None]
    judged = (truth[..., 2] >= HIDDEN) & ~np.isnan(sizes)
    near = (away <= alpha * sizes) & judged
    counts = judged.sum(0)
    shares = np.divide(100.0 * near.sum(0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return in_columns(shares, skeleton)


def in_columns(shares: Floats, skeleton: str) -> dict[str, float]:
    """A number for each joint (K,) as the means of the columns, and of all joints; NaN is left out."""
    last = [joint.split("_")[-1] for joint in SKELETONS[skeleton].joints]
    columns = {name: _mean(shares[[word in words for word in last]]) for name, words in _COLUMNS.items()}
    return {**columns, "Mean": _mean(shares)}


def _mean(numbers: Floats) -> float:
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else float("nan")
