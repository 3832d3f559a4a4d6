"""Skeletons: names and order of joints, limbs, and left-right pairs.

``coco17``, ``mpii16``, ``jhmdb15`` (Sub-JHMDB), ``crowdpose14`` and ``hieve14`` have the order of their data sets.
``posetrack17`` has the order of the COCO-style PoseTrack files, in which the ears are never annotated, and so of the
networks trained on them; ``posetrack15`` has the order of PoseTrack's evaluation.

>>> SKELETONS["coco17"].joints[:3]
('nose', 'left_eye', 'right_eye')
>>> SKELETONS["coco17"].index("left_wrist")
9
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEFT, RIGHT, MIDDLE = (0, 200, 0), (0, 128, 255), (255, 153, 51)
"""BGR colours of joints by side."""


@dataclass(frozen=True)
class Skeleton:
    """K ``joints`` in order, ``limbs`` as pairs of joint indices, and OKS ``sigmas`` (K,), empty if there are none."""

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The index of a joint. Raises ``ValueError`` if the skeleton has no joint of that name."""
        return self.joints.index(joint)

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) index pairs that are swapped in a mirrored image."""
        lefts = [joint for joint in self.joints if joint.startswith("left_")]
        return tuple((self.index(left), self.index("right_" + left[5:])) for left in lefts)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """The permutation (K,) of joints in a mirrored image."""
        order = list(range(len(self)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """A BGR colour for each joint: green on the person's left, orange on the right, blue in the middle."""
        return tuple(_get_colour(joint) for joint in self.joints)


def _get_colour(joint: str) -> tuple[int, int, int]:
    if joint.startswith("left_"):
        return LEFT
    return RIGHT if joint.startswith("right_") else MIDDLE


def _make(name: str, joints: str, limbs: str, sigmas: tuple[float, ...] = ()) -> Skeleton:
    order = tuple(joints.split())
    pairs = (limb.split("-") for limb in limbs.split())
    return Skeleton(name, order, tuple((order.index(start), order.index(end)) for start, end in pairs), sigmas)


_ARMS_AND_LEGS = """left_shoulder-left_elbow left_elbow-left_wrist right_shoulder-right_elbow right_elbow-right_wrist
    left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle"""
_TRUNK = "left_shoulder-right_shoulder left_shoulder-left_hip right_shoulder-right_hip left_hip-right_hip"
_FACE = (
    "nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_ear-left_shoulder right_ear-right_shoulder"
)
_HEAD = "nose-head_top nose-head_bottom head_bottom-left_shoulder head_bottom-right_shoulder"

COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""Per-keypoint constants of COCO's evaluation (pycocotools)."""

SKELETONS: Mapping[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        _make(
            "coco17",
            """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow
            left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""",
            f"{_ARMS_AND_LEGS} {_TRUNK} {_FACE}",
            COCO_SIGMAS,
        ),
        _make(
            "posetrack17",
            """nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow
            left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""",
            f"{_ARMS_AND_LEGS} {_TRUNK} {_HEAD}",
        ),
        _make(
            "posetrack15",
            """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder
            left_shoulder left_elbow left_wrist head_bottom nose head_top""",
            f"{_ARMS_AND_LEGS} {_TRUNK} {_HEAD}",
        ),
        _make(
            "mpii16",
            """right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top
            right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist""",
            f"""{_ARMS_AND_LEGS} head_top-upper_neck upper_neck-thorax thorax-left_shoulder thorax-right_shoulder
            thorax-pelvis pelvis-left_hip pelvis-right_hip""",
        ),
        _make(
            "jhmdb15",
            """neck belly head right_shoulder left_shoulder right_hip left_hip right_elbow left_elbow
            right_knee left_knee right_wrist left_wrist right_ankle left_ankle""",
            f"""{_ARMS_AND_LEGS} head-neck neck-belly neck-left_shoulder neck-right_shoulder
            belly-left_hip belly-right_hip""",
        ),
        _make(
            "crowdpose14",
            """left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip
            left_knee right_knee left_ankle right_ankle head_top neck""",
            f"{_ARMS_AND_LEGS} {_TRUNK} head_top-neck neck-left_shoulder neck-right_shoulder",
        ),
        _make(
            "hieve14",
            """nose chest right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
            right_hip right_knee right_ankle left_hip left_knee left_ankle""",
            f"""{_ARMS_AND_LEGS} nose-chest chest-left_shoulder chest-right_shoulder chest-left_hip chest-right_hip
            left_hip-right_hip""",
        ),
    )
}


def convert(keypoints: NDArray[np.float32], source: str, target: str) -> NDArray[np.float32]:
    """Keypoints (N, K, 3) float32 of skeleton ``source`` in the order of skeleton ``target``.

    Joints that ``source`` lacks are 0, 0, 0: COCO has no ``head_top``, so PoseTrack's gets score 0.
    """
    joints, target_joints = SKELETONS[source].joints, SKELETONS[target].joints
    converted = np.zeros((len(keypoints), len(target_joints), 3), np.float32)
    for index, joint in enumerate(target_joints):
        if joint in joints:
            converted[:, index] = keypoints[:, joints.index(joint)]
    return converted
