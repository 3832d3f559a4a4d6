"""The body model: posing changes angles, not lengths."""

from __future__ import annotations

import numpy as np
import pytest

from engines.datasets.synthetic.body import (
    ANGLE,
    ANGLES,
    POINT,
    SEGMENTS,
    Posture,
    limb_lengths,
    pose_bodies,
)
from engines.datasets.synthetic.motion import ACTIVITIES, walk

HEIGHT = np.array([1.7])
LENGTHS = limb_lengths(HEIGHT, np.ones((1, SEGMENTS)))
BONES = (
    ("shoulder", "elbow", "upper_arm"),
    ("elbow", "wrist", "forearm"),
    ("hip", "knee", "thigh"),
    ("knee", "ankle", "shin"),
)


def stand(angles: np.ndarray, heading: float = 0.0, feet: tuple[float, float, float] = (0.0, 0.0, 4.0)) -> Posture:
    return pose_bodies(angles, np.array([heading]), np.array([feet]), HEIGHT, LENGTHS)


def point(posture: Posture, name: str) -> np.ndarray:
    return np.asarray(posture.points[0, POINT[name]])


def test_limbs_keep_their_lengths_at_any_angles() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        posture = stand(rng.uniform(-3, 3, (1, len(ANGLES))), float(rng.uniform(-3, 3)))
        for side in ("left", "right"):
            for start, end, bone in BONES:
                span = point(posture, f"{side}_{end}") - point(posture, f"{side}_{start}")
                # Rounding of float64 only.
                assert np.linalg.norm(span) == pytest.approx(LENGTHS[bone][0], rel=1e-9)


def test_the_left_side_of_a_person_facing_the_camera_is_on_the_right() -> None:
    facing = stand(np.zeros((1, len(ANGLES))))
    assert point(facing, "left_shoulder")[0] > point(facing, "right_shoulder")[0]
    assert point(facing, "nose")[2] < point(facing, "head")[2]


def test_a_person_walking_to_the_right_shows_the_right_side() -> None:
    passing = stand(np.zeros((1, len(ANGLES))), heading=np.pi / 2)
    assert point(passing, "right_hip")[2] < point(passing, "left_hip")[2]
    assert point(passing, "nose")[0] > point(passing, "head")[0]


def test_the_lowest_sole_is_on_the_ground_in_every_activity() -> None:
    clock = np.array([0.7])
    for angles in (walk(clock, np.ones(1)), *(doing(clock) for doing in ACTIVITIES)):
        posture = stand(angles)
        soles = [point(posture, f"{side}_{end}")[1] for side in ("left", "right") for end in ("toe", "heel")]
        # y points down, the ground is at 0; float64 rounding.
        assert max(soles) == pytest.approx(0, abs=1e-9)


def test_a_raised_arm_is_above_the_head_and_a_hanging_one_below_the_shoulder() -> None:
    angles = np.zeros((1, len(ANGLES)))
    angles[0, [ANGLE["left_arm"], ANGLE["left_forearm"]]] = np.pi
    posture = stand(angles)
    assert point(posture, "left_wrist")[1] < point(posture, "crown")[1]
    assert point(posture, "right_wrist")[1] > point(posture, "right_shoulder")[1]


def test_a_step_cycle_is_periodic_with_the_sides_exchanged_halfway() -> None:
    energy = np.ones(1)
    begin, half, full = (walk(np.array([phase]), energy) for phase in (0.4, 0.4 + np.pi, 0.4 + 2 * np.pi))
    # float64 rounding of sines.
    assert full == pytest.approx(begin, abs=1e-9)
    for name in ("thigh", "shin", "arm", "forearm"):
        assert half[0, ANGLE[f"left_{name}"]] == pytest.approx(begin[0, ANGLE[f"right_{name}"]], abs=1e-9)
