"""Skeletons: names and order of joints, limbs, and left-right pairs.

``coco17``, ``mpii16``, ``jhmdb15`` (Sub-JHMDB), ``crowdpose14`` and ``hieve14`` have the order of their data sets.
``posetrack17`` has the order of the COCO-style PoseTrack files, in which the ears are never annotated, and so of the
networks trained on them; ``posetrack15`` has the order of PoseTrack's evaluation. ``halpe26`` (Halpe-FullBody, its 26
joints of the body) and ``coco-wholebody133`` are RTMPose's, ``blazepose33`` is MediaPipe's.

>>> SKELETONS["coco17"].joints[:3]
('nose', 'left_eye', 'right_eye')
>>> SKELETONS["coco17"].index("left_wrist")
9
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

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

_BODY = """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow
    left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"""
_FEET = """left_ankle-left_heel right_ankle-right_heel left_ankle-left_big_toe right_ankle-right_big_toe
    left_ankle-left_small_toe right_ankle-right_small_toe"""
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")

# The lines of a face of 68 points, each from its first to its last.
_FACE_LINES = (
    (0, 16),
    (17, 21),
    (22, 26),
    (27, 30),
    (31, 35),
    (36, 41),
    (42, 47),
    (48, 59),
    (60, 67),
)  # jaw, brows, nose, its tip, eyes, lips


def _list_fingers(side: str) -> list[list[str]]:
    """The joints of each finger, from the wrist's end of the hand."""
    root = f"{side}_hand_root"
    return [[root, *(f"{side}_{finger}{number}" for number in range(1, 5))] for finger in _FINGERS]


def _make_wholebody() -> Skeleton:
    """COCO-WholeBody: the body, six joints of the feet, 68 of the face and 21 of each hand."""
    toes = ("big_toe", "small_toe", "heel")
    feet = " ".join(f"{side}_{toe}" for side in ("left", "right") for toe in toes)
    hands = {side: _list_fingers(side) for side in ("left", "right")}
    fingers = [finger for hand in hands.values() for finger in hand]
    faces = [[f"face_{number}" for number in range(start, end + 1)] for start, end in _FACE_LINES]
    joints = [f"face_{number}" for number in range(68)]
    for hand in hands.values():
        joints += [hand[0][0], *(joint for finger in hand for joint in finger[1:])]
    limbs = [f"{one}-{other}" for line in (*faces, *fingers) for one, other in pairwise(line)]
    body = f"{_ARMS_AND_LEGS} {_TRUNK} {_FACE} {_FEET} left_wrist-left_hand_root right_wrist-right_hand_root"
    return _make("coco-wholebody133", f"{_BODY} {feet} {' '.join(joints)}", f"{body} {' '.join(limbs)}")


_KNOWN: dict[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (
        _make(
            "coco17",
            _BODY,
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
        _make(
            "halpe26",
            f"""{_BODY} head_top neck pelvis left_big_toe right_big_toe left_small_toe right_small_toe
            left_heel right_heel""",
            f"""{_ARMS_AND_LEGS} {_FACE} {_FEET} head_top-neck neck-left_shoulder neck-right_shoulder neck-pelvis
            pelvis-left_hip pelvis-right_hip""",
        ),
        _make_wholebody(),
        _make(
            "blazepose33",
            """nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear
            left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist
            left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip right_hip
            left_knee right_knee left_ankle right_ankle left_heel right_heel left_foot_index right_foot_index""",
            f"""{_ARMS_AND_LEGS} {_TRUNK} nose-left_eye_inner left_eye_inner-left_eye left_eye-left_eye_outer
            left_eye_outer-left_ear nose-right_eye_inner right_eye_inner-right_eye right_eye-right_eye_outer
            right_eye_outer-right_ear left_mouth-right_mouth left_wrist-left_pinky left_wrist-left_index
            left_wrist-left_thumb left_pinky-left_index right_wrist-right_pinky right_wrist-right_index
            right_wrist-right_thumb right_pinky-right_index left_ankle-left_heel left_heel-left_foot_index
            left_ankle-left_foot_index right_ankle-right_heel right_heel-right_foot_index
            right_ankle-right_foot_index""",
        ),
    )
}

SKELETONS: Mapping[str, Skeleton] = _KNOWN
"""All known skeletons by name: those that ship, and those that a Signature or a message brought (:func:`register`)."""

SHIPPED = tuple(_KNOWN)
"""The names of those that ship."""

MAX_OWN = 256
"""Skeletons of Signatures and messages in one process."""


def register(name: str, joints: Sequence[str], limbs: Sequence[tuple[str, str]] = ()) -> Skeleton:
    """Make a skeleton known in this process, under its ``name``; ``limbs`` are pairs of names of joints.

    Raises ``ValueError`` if the name has other joints already, a limb ends at an unknown joint, or there are
    :data:`MAX_OWN` others.
    """
    unknown = {joint for limb in limbs for joint in limb} - set(joints)
    if unknown or len(set(joints)) < len(joints):
        raise ValueError(
            f"skeleton {name!r}: its limbs name {', '.join(sorted(unknown))}, which are no joints of it"
            if unknown
            else f"skeleton {name!r} has two joints of one name"
        )
    if name in _KNOWN and _KNOWN[name].joints == tuple(joints):
        return _KNOWN[name]
    order = list(joints)
    made = Skeleton(name, tuple(joints), tuple((order.index(start), order.index(end)) for start, end in limbs))
    if name not in _KNOWN and len(_KNOWN) >= len(SHIPPED) + MAX_OWN:
        raise ValueError(f"skeleton {name!r}: this process knows {MAX_OWN} skeletons besides those that ship already")
    known = _KNOWN.setdefault(name, made)
    if known.joints != made.joints:
        raise ValueError(
            f"skeleton {name!r} has {len(known)} other joints ({', '.join(known.joints[:3])}, …); "
            "give yours a name of its own"
        )
    return known


def convert(keypoints: NDArray[np.float32], source: str, target: str) -> NDArray[np.float32]:
    """Keypoints (N, K, 3) float32 of skeleton ``source`` in the order of skeleton ``target``.

    Joints that ``source`` lacks are 0, 0, 0: COCO has no ``head_top``, so PoseTrack's gets score 0.
    """
    return reorder(keypoints, SKELETONS[source].joints, SKELETONS[target].joints)


def reorder(keypoints: NDArray[np.float32], joints: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float32]:
    """Keypoints (N, len(wanted), 3) float32 of the joints ``wanted``, from (N, len(joints), 3) of ``joints``; 0, 0, 0
    for those that are not among them."""
    reordered = np.zeros((len(keypoints), len(wanted), 3), np.float32)
    for index, joint in enumerate(wanted):
        if joint in joints:
            reordered[:, index] = keypoints[:, joints.index(joint)]
    return reordered
