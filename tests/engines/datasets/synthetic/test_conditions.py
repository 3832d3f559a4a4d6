"""Conditions: occlusion, motion blur and camera effects, with exact ground truth at any moment."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from engines.datasets.synthetic.conditions import CONDITIONS, Conditions, Kind, random_conditions
from engines.datasets.synthetic.scene import Picture, Scene

CLEAR: dict[str, Any] = {"noise": 0.0}


def shown(conditions: Conditions, seed: int = 11, people: int = 3, time_s: float = 2.0) -> Picture:
    return Scene(seed, people, 320, 240, conditions=conditions).at(time_s)


def sharpness(picture: Picture) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture.pixels, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("kind", CONDITIONS)
def test_frames_do_not_depend_on_the_order_of_rendering(kind: Kind) -> None:
    forwards, backwards = (Scene(3, 2, 160, 120, conditions=CONDITIONS[kind]) for _ in range(2))
    there = [forwards.at(time_s) for time_s in (0.0, 1.0, 2.0)]
    back = [backwards.at(time_s) for time_s in (2.0, 1.0, 0.0)][::-1]
    for a, b in zip(there, back, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.keypoints, b.keypoints)


def test_a_long_exposure_blurs_moving_parts_only() -> None:
    moving = Conditions(shutter_s=0.08, exposures=9, **CLEAR)
    long, short = (Scene(5, 2, 320, 240, conditions=one) for one in (moving, Conditions(**CLEAR)))
    background = Scene(5, 0, 320, 240, conditions=Conditions(**CLEAR)).at(2.0).pixels
    pictures = [scene.at(2.0) for scene in (long, short)]
    changed = (pictures[0].pixels != pictures[1].pixels).any(2)
    # No person moves by more than 30 px during the exposure.
    near = cv2.dilate((pictures[1].pixels != background).any(2).astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    assert changed.any()
    assert not (changed & ~near).any()
    assert np.array_equal(pictures[0].keypoints, pictures[1].keypoints)  # the truth is at the middle of the exposure


def test_the_truth_is_at_the_middle_of_the_exposure() -> None:
    conditions = Conditions(shutter_s=0.08, exposures=9, **CLEAR)
    scene = Scene(5, 1, 320, 240, conditions=conditions)
    early, middle, late = (scene.at(2.0 + offset).keypoints for offset in (-0.04, 0.0, 0.04))
    assert np.abs(middle[..., :2] - (early + late)[..., :2] / 2).max() < np.abs(late - early)[..., :2].max()


def test_camera_motion_moves_the_truth_too() -> None:
    still, moved = (shown(Conditions(pan=pan, **CLEAR), people=1) for pan in (0.0, 0.1))
    shift = moved.keypoints[0, :, :2] - still.keypoints[0, :, :2]
    # The whole picture is displaced equally.
    assert np.abs(shift - shift[0]).max() < 1e-3
    assert np.abs(shift[0]).max() > 2


def test_obstacles_hide_joints_and_do_not_move_them() -> None:
    hidden_before = hidden_after = 0
    for seed in range(8):
        open_view, blocked = (shown(Conditions(obstacles=count, **CLEAR), seed) for count in (0, 6))
        assert np.array_equal(open_view.keypoints[..., :2], blocked.keypoints[..., :2])
        assert np.array_equal(open_view.boxes, blocked.boxes)
        assert (blocked.keypoints[..., 2] <= open_view.keypoints[..., 2]).all()
        hidden_before += int((open_view.keypoints[..., 2] == 1).sum())
        hidden_after += int((blocked.keypoints[..., 2] == 1).sum())
    assert hidden_after > 1.5 * hidden_before


def test_a_moving_obstacle_hides_a_person_temporarily() -> None:
    conditions = Conditions(moving_obstacles=3, **CLEAR)
    scene = Scene(1, 3, 320, 240, conditions=conditions)
    hidden = [int((scene.at(time_s).keypoints[..., 2] == 1).sum()) for time_s in np.arange(0, 6, 0.5)]
    assert max(hidden) > min(hidden) + 5


def test_lanes_without_a_gap_bring_people_closer() -> None:
    def nearest(kind: Kind) -> float:
        depths = [
            person.walk.at(time_s).z
            for seed in range(4)
            for person in Scene(seed, 4, 64, 48, conditions=CONDITIONS[kind])._people
            for time_s in (0.0, 5.0)
        ]
        return max(depths)

    assert nearest("crossing") < nearest("easy")


def test_defocus_and_compression_reduce_sharpness() -> None:
    clear = sharpness(shown(Conditions(**CLEAR)))
    assert sharpness(shown(Conditions(defocus=4.0, **CLEAR))) < 0.7 * clear
    assert not np.array_equal(shown(Conditions(quality=20, **CLEAR)).pixels, shown(Conditions(**CLEAR)).pixels)


def test_random_conditions_are_mixed_and_within_their_bounds() -> None:
    conditions = [random_conditions(np.random.default_rng(seed)) for seed in range(200)]
    for name in ("shutter_s", "pan", "obstacles", "quality"):
        share = np.mean([getattr(one, name) > 0 for one in conditions])
        assert 0.25 < share < 0.85, name
    # The bounds hold for all fields; msgspec checks them only when it converts.
    for one in conditions:
        assert 1 <= one.exposures <= 33
        assert one.exposures % 2 == 1
