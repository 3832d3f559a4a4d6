"""The body model: limb lengths, and joint positions for given joint angles.

World coordinates are in metres, relative to the camera: x to the right of the picture, y down, z away from the camera.
A body turned by ``heading`` 0 faces the camera; a positive heading turns it towards the right of the picture, so its
own left is at the right of the picture when it faces us.

Everything is computed for P people at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS

Floats = NDArray[np.float64]

COCO: Final = SKELETONS["coco17"].joints
POINTS: Final = (
    *COCO,
    "pelvis", "neck", "head", "crown", "chin",
    "left_toe", "right_toe", "left_heel", "right_heel", "left_hand", "right_hand", "left_fist", "right_fist",
)  # fmt: skip
"""All points of a body: the 17 joints of COCO in COCO's order, and those needed for rendering."""
POINT: Final = {name: index for index, name in enumerate(POINTS)}

ANGLES: Final = (
    "pitch", "roll", "twist", "head_yaw", "head_pitch", "head_roll",
    "left_arm", "left_arm_out", "left_forearm", "left_forearm_out",
    "right_arm", "right_arm_out", "right_forearm", "right_forearm_out",
    "left_thigh", "left_thigh_out", "left_shin", "left_shin_out",
    "right_thigh", "right_thigh_out", "right_shin", "right_shin_out",
)  # fmt: skip
"""Names of the angles of a pose, radians. A limb's first angle swings it forward from hanging down, its second
(``out``) away from the body; each is measured in the trunk (arms) or in the upright pelvis (legs), not from the limb
above."""
ANGLE: Final = {name: index for index, name in enumerate(ANGLES)}

# Segment lengths as shares of a person's height: Drillis and Contini (1966), as reprinted in Winter, "Biomechanics and
# Motor Control of Human Movement". The face is that of a head of 0.13 of the height.
_SEGMENT_SHARES: Final = {
    "upper_arm": 0.186, "forearm": 0.146, "hand": 0.055, "thigh": 0.245, "shin": 0.246, "ankle": 0.039, "foot": 0.11,
    "heel": 0.03, "shoulder": 0.115, "hip": 0.058, "trunk": 0.288, "neck": 0.052, "head": 0.075,
}  # fmt: skip
# Positions of the face's points in radii of the head: left, up, forward.
_FACE: Final = {
    "nose": (0.0, -0.12, 1.08), "left_eye": (0.36, 0.12, 0.90), "right_eye": (-0.36, 0.12, 0.90),
    "left_ear": (0.98, 0.0, 0.0), "right_ear": (-0.98, 0.0, 0.0), "crown": (0.0, 1.0, 0.0), "chin": (0.0, -0.95, 0.45),
}  # fmt: skip
HEAD_RADII: Final = np.array([0.046, 0.067, 0.054])
"""Half the width, height and depth of a head, as shares of the person's height."""


@dataclass(frozen=True)
class Posture:
    """The positions of P bodies: ``points`` (P, len(POINTS), 3) m in world coordinates; ``heads`` and ``trunks``
    (P, 3, 3), whose rows are the unit vectors left, up and forward of the head and of the trunk."""

    points: Floats
    heads: Floats
    trunks: Floats


def limb_lengths(height: Floats, stretch: Floats) -> dict[str, Floats]:
    """Lengths (P,) m of each segment for bodies of ``height`` (P,) m; ``stretch`` (P, 13) varies the proportions."""
    return {name: share * height * stretch[:, i] for i, (name, share) in enumerate(_SEGMENT_SHARES.items())}


SEGMENTS: Final = len(_SEGMENT_SHARES)


def pose_bodies(angles: Floats, heading: Floats, feet: Floats, height: Floats, lengths: dict[str, Floats]) -> Posture:
    """The positions of bodies with these ``angles`` (P, len(ANGLES)), standing on the ground at ``feet`` (P, 3) m."""
    upright = _upright(heading)
    trunk = _lean(upright, angles)
    points = np.zeros((len(angles), len(POINTS), 3))
    _place_legs(points, upright, angles, lengths)
    _place_trunk(points, trunk, lengths)
    _place_arms(points, trunk, angles, lengths)
    heads = _heads(trunk, angles)
    _place_face(points, heads, trunk, height, lengths)
    return Posture(points + _lift(points, feet)[:, None], heads, trunk)


def _upright(heading: Floats) -> Floats:
    axes = np.zeros((len(heading), 3, 3))
    cosine, sine = np.cos(heading), np.sin(heading)
    axes[:, 0, 0], axes[:, 0, 2] = cosine, sine
    axes[:, 1, 1] = -1
    axes[:, 2, 0], axes[:, 2, 2] = sine, -cosine
    return axes


def _turn(axes: Floats, source: int, target: int, angle: Floats) -> Floats:
    """The axes turned so that axis ``source`` moves towards axis ``target``."""
    turned = axes.copy()
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    turned[:, source] = cosine * axes[:, source] + sine * axes[:, target]
    turned[:, target] = cosine * axes[:, target] - sine * axes[:, source]
    return turned


_LEFT, _UP, _FORWARD = 0, 1, 2


def _lean(upright: Floats, angles: Floats) -> Floats:
    pitched = _turn(upright, _UP, _FORWARD, angles[:, ANGLE["pitch"]])
    rolled = _turn(pitched, _UP, _LEFT, angles[:, ANGLE["roll"]])
    return _turn(rolled, _FORWARD, _LEFT, angles[:, ANGLE["twist"]])


def _heads(trunk: Floats, angles: Floats) -> Floats:
    # The head compensates 0.7 of the trunk's lean.
    raised = _turn(trunk, _UP, _FORWARD, angles[:, ANGLE["head_pitch"]] - 0.7 * angles[:, ANGLE["pitch"]])
    rolled = _turn(raised, _UP, _LEFT, angles[:, ANGLE["head_roll"]])
    return _turn(rolled, _FORWARD, _LEFT, angles[:, ANGLE["head_yaw"]])


def _direction(axes: Floats, forward: Floats, out: Floats, side: float) -> Floats:
    """Unit vectors (P, 3) of a limb that hangs down, swung ``forward`` and ``out``."""
    local = np.stack([side * np.sin(out), -np.cos(out) * np.cos(forward), np.cos(out) * np.sin(forward)], 1)
    turned: Floats = np.einsum("pa,pac->pc", local, axes)
    return turned


def _limb(axes: Floats, angles: Floats, name: str, length: Floats) -> Floats:
    side = 1.0 if name.startswith("left") else -1.0
    return length[:, None] * _direction(axes, angles[:, ANGLE[name]], angles[:, ANGLE[name + "_out"]], side)


def _place_legs(points: Floats, upright: Floats, angles: Floats, lengths: dict[str, Floats]) -> None:
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hip = sign * lengths["hip"][:, None] * upright[:, _LEFT]
        knee = hip + _limb(upright, angles, f"{side}_thigh", lengths["thigh"])
        ankle = knee + _limb(upright, angles, f"{side}_shin", lengths["shin"])
        points[:, POINT[f"{side}_hip"]], points[:, POINT[f"{side}_knee"]] = hip, knee
        points[:, POINT[f"{side}_ankle"]] = ankle
        _place_foot(points, upright, side, angles[:, ANGLE[f"{side}_shin"]], lengths)


def _place_foot(points: Floats, upright: Floats, side: str, shin: Floats, lengths: dict[str, Floats]) -> None:
    # A heel rises behind the body: the sole keeps 0.7 of the shin's backward swing.
    sole = _turn(upright, _FORWARD, _UP, 0.7 * np.minimum(shin + 0.15, 0.0))
    ankle = points[:, POINT[f"{side}_ankle"]]
    ground = ankle - 0.7 * lengths["ankle"][:, None] * sole[:, _UP]
    points[:, POINT[f"{side}_toe"]] = ground + lengths["foot"][:, None] * sole[:, _FORWARD]
    points[:, POINT[f"{side}_heel"]] = ground - lengths["heel"][:, None] * sole[:, _FORWARD]


def _place_trunk(points: Floats, trunk: Floats, lengths: dict[str, Floats]) -> None:
    shoulders = lengths["trunk"][:, None] * trunk[:, _UP]
    aside = lengths["shoulder"][:, None] * trunk[:, _LEFT]
    points[:, POINT["left_shoulder"]], points[:, POINT["right_shoulder"]] = (
        shoulders + aside,
        shoulders - aside,
    )
    points[:, POINT["neck"]] = shoulders


def _place_arms(points: Floats, trunk: Floats, angles: Floats, lengths: dict[str, Floats]) -> None:
    for side in ("left", "right"):
        elbow = points[:, POINT[f"{side}_shoulder"]] + _limb(trunk, angles, f"{side}_arm", lengths["upper_arm"])
        forearm = _limb(trunk, angles, f"{side}_forearm", lengths["forearm"])
        reach = forearm * (lengths["hand"] / lengths["forearm"])[:, None]
        wrist = elbow + forearm
        points[:, POINT[f"{side}_elbow"]], points[:, POINT[f"{side}_wrist"]] = elbow, wrist
        points[:, POINT[f"{side}_fist"]], points[:, POINT[f"{side}_hand"]] = (
            wrist + 0.4 * reach,
            wrist + reach,
        )


def _place_face(points: Floats, heads: Floats, trunk: Floats, height: Floats, lengths: dict[str, Floats]) -> None:
    nape = points[:, POINT["neck"]] + lengths["neck"][:, None] * trunk[:, _UP]
    middle = nape + lengths["head"][:, None] * heads[:, _UP]
    points[:, POINT["head"]] = middle
    radii = height[:, None] * HEAD_RADII
    for name, local in _FACE.items():
        points[:, POINT[name]] = middle + np.einsum("pa,pac->pc", radii * local, heads)


_SOLES = [POINT[name] for name in ("left_toe", "right_toe", "left_heel", "right_heel")]


def _lift(points: Floats, feet: Floats) -> Floats:
    """The translation that puts the lowest sole on the ground (y points down) and the pelvis above ``feet``."""
    lift = feet.copy()
    lift[:, 1] -= points[:, _SOLES, 1].max(1)
    return lift
