"""PCK by joint, in the columns of the papers: the share of joints within ``alpha`` times a reference size.

The size is the person's, the longer side of the annotated box (PCK: Yang and Ramanan, TPAMI 2013; on Sub-JHMDB the box
is that of the puppet); the torso's, from the left shoulder to the right hip (Luo et al., CVPR 2018; MMPose's tPCK); or
the head's (PCKh). ``Mean`` is over all joints, also those without a column: on Sub-JHMDB all 15, the only mean that is
consistent with FAMI-Pose's Table 5 and MMPose's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.instances import Instance
from engines.evaluation.posetrack import HEAD_SHARE
from engines.metrics import HIDDEN, mean_known
from engines.skeletons import SKELETONS

Floats = NDArray[np.float64]
Keypoints = NDArray[np.float32]
"""(K, 3) of one person: px in the frame by index, and score."""

SizeFunction = Callable[[Instance], float]
"""The reference size of a person, px; NaN leaves the person out."""

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
"""Columns by the last word of a joint's name."""


def box_size(instance: Instance) -> float:
    """The longer side of the annotated box."""
    return float(instance.person.box[2:].max())


def torso_size(instance: Instance) -> float:
    """From the left shoulder to the right hip; NaN if either is not annotated or they are less than 1 px apart."""
    names = SKELETONS[instance.clip.skeleton].joints
    if not set(TORSO) <= set(names):
        return float("nan")
    first, second = (instance.person.joints[names.index(joint)] for joint in TORSO)
    length = float(np.hypot(*(first[:2] - second[:2])))
    return length if first[2] and second[2] and length >= 1 else float("nan")


def head_size(instance: Instance) -> float:
    """As PoseTrack defines it, 0.6 of the diagonal of the head box; NaN if there is none."""
    if instance.person.head is None:
        return float("nan")
    x1, y1, x2, y2 = instance.person.head
    return HEAD_SHARE * float(np.hypot(x2 - x1, y2 - y1))


def pck(
    instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str, alpha: float, size: SizeFunction
) -> dict[str, float]:
    """PCK in percent by the columns of the papers, and ``Mean``; NaN if no such joint is annotated.

    ``predictions`` for each of ``instances``, with the joints of ``skeleton``.
    """
    truth = np.stack([instance.joints for instance in instances])
    distances = np.hypot(*np.moveaxis(np.stack(predictions)[..., :2] - truth[..., :2], -1, 0))
    sizes = np.array([size(instance) for instance in instances])[:, None]
    judged = (truth[..., 2] >= HIDDEN) & ~np.isnan(sizes)
    near = (distances <= alpha * sizes) & judged
    counts = judged.sum(0)
    shares = np.divide(100.0 * near.sum(0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return group_by_column(shares, skeleton)


def group_by_column(shares: Floats, skeleton: str) -> dict[str, float]:
    """The means over the joints of each column, and over all joints, of ``shares`` (K,); NaN is left out."""
    last = [joint.split("_")[-1] for joint in SKELETONS[skeleton].joints]
    columns = {name: mean_known(shares[[word in words for word in last]]) for name, words in _COLUMNS.items()}
    return {**columns, "Mean": mean_known(shares)}
