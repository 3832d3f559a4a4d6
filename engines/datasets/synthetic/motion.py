"""Motion: the joint angles of walking, waving and other activities, as functions of phase and time.

Each returns (P, len(ANGLES)) radians for P people. Activities are blended by weights, for smooth transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.body import ANGLE, ANGLES, Floats

STRIDE_SWING: Final = 0.42
"""Amplitude of a thigh's swing in a full step, radians (about 24 degrees, as in normal gait)."""
_SIDES: Final = (("left", 0.0), ("right", np.pi))


def zero_pose(people: int) -> Floats:
    """All angles 0: standing at attention."""
    return np.zeros((people, len(ANGLES)))


def _set(pose: Floats, **angles: Any) -> Floats:
    """Set angles by name, each a number or (P,); ``Any`` because many names are composed with a side."""
    for name, value in angles.items():
        pose[:, ANGLE[name]] = value
    return pose


def walk(phase: Floats, energy: Floats) -> Floats:
    """A step cycle in 2 pi of ``phase`` (P,), left thigh forward at pi/2; ``energy`` (P,) about 1 scales the swing."""
    twist = 0.12 * energy * np.sin(phase)
    pose = _set(zero_pose(len(phase)), pitch=0.05, twist=twist, head_yaw=-twist, roll=0.025 * np.cos(phase))
    for side, ahead in _SIDES:
        _step(pose, side, phase + ahead, energy)
        _swing(pose, side, phase + ahead + np.pi, energy)
    return pose


def _step(pose: Floats, side: str, phase: Floats, energy: Floats) -> None:
    thigh = 0.08 + STRIDE_SWING * energy * np.sin(phase)
    # The knee bends (to about 60 degrees) while the thigh swings forward, and is almost straight under load.
    knee = 0.1 + 0.95 * energy * np.maximum(np.cos(phase + 0.35), 0.0) ** 2
    _set(pose, **{f"{side}_thigh": thigh, f"{side}_shin": thigh - knee, f"{side}_thigh_out": 0.03})


def _swing(pose: Floats, side: str, phase: Floats, energy: Floats) -> None:
    arm = 0.38 * energy * np.sin(phase)
    forearm = arm + 0.3 + 0.15 * energy * (1 + np.sin(phase))
    _set(pose, **{f"{side}_arm": arm, f"{side}_arm_out": 0.16, f"{side}_forearm": forearm, f"{side}_forearm_out": 0.06})


def idle(clock: Floats) -> Floats:
    """Standing, with breathing and shifting of weight."""
    sway = np.sin(1.1 * clock)
    pose = _set(zero_pose(len(clock)), roll=0.03 * sway, head_yaw=0.35 * np.sin(0.53 * clock), pitch=0.02)
    for side, _ in _SIDES:
        _set(pose, **{f"{side}_arm_out": 0.15, f"{side}_forearm": 0.2 + 0.05 * sway, f"{side}_forearm_out": 0.08})
        _set(pose, **{f"{side}_thigh_out": 0.06, f"{side}_shin_out": 0.05, f"{side}_thigh": 0.03})
    return pose


def wave(clock: Floats) -> Floats:
    """Waving with the right hand beside the head."""
    return _set(idle(clock), right_arm_out=1.55, right_arm=0.25, right_forearm_out=2.85 + 0.5 * np.sin(6.0 * clock))


def wave_both(clock: Floats) -> Floats:
    """Both arms above the head, crossing and opening."""
    spread = 2.45 + 0.45 * np.sin(4.0 * clock)
    pose = _set(idle(clock), left_arm_out=spread, right_arm_out=spread, left_forearm=0.2, right_forearm=0.2)
    return _set(pose, left_forearm_out=spread + 0.25, right_forearm_out=spread + 0.25)


def jumping_jack(clock: Floats) -> Floats:
    """Arms and legs open and close together."""
    opening = 0.5 - 0.5 * np.cos(4.5 * clock)
    pose = zero_pose(len(clock))
    for side, _ in _SIDES:
        _set(pose, **{f"{side}_arm_out": 0.2 + 2.3 * opening, f"{side}_forearm_out": 0.2 + 2.6 * opening})
        _set(pose, **{f"{side}_thigh_out": 0.05 + 0.35 * opening, f"{side}_shin_out": 0.05 + 0.35 * opening})
    return pose


def squat(clock: Floats) -> Floats:
    """Down and up, arms held out in front."""
    depth = 0.5 - 0.5 * np.cos(2.4 * clock)
    pose = _set(zero_pose(len(clock)), pitch=0.55 * depth, head_pitch=-0.1 * depth)
    for side, _ in _SIDES:
        _set(pose, **{f"{side}_thigh": 1.35 * depth, f"{side}_shin": -0.6 * depth, f"{side}_thigh_out": 0.15})
        _set(pose, **{f"{side}_arm": 0.1 + 1.7 * depth, f"{side}_forearm": 0.2 + 1.7 * depth, f"{side}_arm_out": 0.15})
    return pose


def hands_on_hips(clock: Floats) -> Floats:
    """Elbows out, hands at the waist."""
    pose = idle(clock)
    for side, _ in _SIDES:
        _set(pose, **{f"{side}_arm": -0.25, f"{side}_arm_out": 0.75, f"{side}_forearm": 0.3})
        _set(pose, **{f"{side}_forearm_out": -0.85})
    return pose


def telephone(clock: Floats) -> Floats:
    """The left hand at the ear, nodding."""
    pose = _set(idle(clock), left_arm=0.75, left_arm_out=0.5, left_forearm=2.75, left_forearm_out=-0.35)
    return _set(pose, head_roll=0.12, head_pitch=0.1 + 0.08 * np.sin(3.0 * clock))


def gesture(clock: Floats, draws: Floats) -> Floats:
    """Arms and legs in a random pose given by ``draws`` (P, 8) in -1..1."""
    pose = _set(idle(clock), head_yaw=0.7 * draws[:, 0], pitch=0.2 * draws[:, 1] ** 2, twist=0.25 * draws[:, 2])
    for index, (side, _) in enumerate(_SIDES):
        swing, out, fold, aside = draws[:, 4 * index : 4 * index + 4].T
        forward, outward = 0.7 + 1.1 * swing, 0.6 + 0.7 * out
        _set(pose, **{f"{side}_arm": forward, f"{side}_arm_out": outward})
        _set(pose, **{f"{side}_forearm": forward + 1.0 + 0.9 * fold, f"{side}_forearm_out": outward + 0.5 * aside})
        _set(pose, **{f"{side}_thigh": 0.25 * (1 + fold), f"{side}_shin": -0.25 * (1 + fold) + 0.2 * swing})
    return pose


Activity = Callable[[Floats], Floats]
ACTIVITIES: Final[tuple[Activity, ...]] = (wave, wave_both, jumping_jack, squat, hands_on_hips, telephone, idle)
"""The activities of people at their stops; :func:`gesture`, with random angles, is one more."""
GESTURE: Final = len(ACTIVITIES)


def blend(
    phase: Floats, energy: Floats, walking: Floats, activity: NDArray[np.int64], clock: Floats, draws: Floats
) -> Floats:
    """Blend walking, with weight ``walking`` (P,) in 0..1, and ``activity`` (P,), an index of ACTIVITIES or GESTURE."""
    standing = gesture(clock, draws)
    for index in np.unique(activity[activity < GESTURE]):
        chosen = activity == index
        standing[chosen] = ACTIVITIES[index](clock[chosen])
    blended: Floats = walking[:, None] * walk(phase, energy) + (1 - walking)[:, None] * standing
    return blended
