"""How people are cut out for training: the joints stay on them, within the published limits."""

from __future__ import annotations

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from engines.training.augment import Look, drawn, half_body, joints_in_crop, plain
from engines.training.recipe import Augmentation
from engines.vision import crop

SIZE = (48, 64)
BOX = np.array([100.0, 60.0, 60.0, 120.0])
PUBLISHED = Augmentation(half_body=0.3, scale=0.35, rotation=45, rotation_limit=45)


def person(skeleton: str = "coco17") -> np.ndarray:
    """Joints spread over the box."""
    rng = np.random.default_rng(3)
    joints = np.full((len(SKELETONS[skeleton]), 3), 2, np.float32)
    joints[:, :2] = rng.uniform((105, 65), (155, 175), (len(joints), 2))
    return joints


def looks(told: Augmentation, number: int = 400) -> list[Look]:
    rng = np.random.default_rng(0)
    return [drawn(BOX, person(), SIZE, "coco17", told, rng) for _ in range(number)]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_joint_in_the_crop_lies_on_what_it_lay_on_in_the_frame(mirrored: bool) -> None:
    joints = np.zeros((17, 3), np.float32)
    joints[9] = 120, 100, 2  # the left wrist
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[98:103, 118:123] = 255
    look = Look(*crop.box_to_center_scale(BOX, SIZE), rotation_degrees=30, mirrored=mirrored)
    affine = look.affine(320, SIZE)
    moved = joints_in_crop(joints, affine, SIZE, "coco17", mirrored=mirrored)
    (place,) = np.flatnonzero(moved[:, 2])
    assert SKELETONS["coco17"].joints[place] == ("right_wrist" if mirrored else "left_wrist")
    rows, columns = np.nonzero(crop.crop(frame, affine, SIZE)[..., 0] > 127)
    # The mean of a patch of about two pixels.
    assert (columns.mean(), rows.mean()) == pytest.approx(moved[place, :2], abs=0.5)


def test_a_mirrored_crop_is_that_of_the_mirrored_frame_as_published() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    look = Look(*crop.box_to_center_scale(BOX, SIZE), rotation_degrees=20, mirrored=True)
    flipped = np.array([320 - 1 - look.center[0], look.center[1]], np.float32)
    published = crop.crop(
        np.ascontiguousarray(frame[:, ::-1]), crop.crop_affine(flipped, look.scale, SIZE, rotation_degrees=20), SIZE
    )
    ours = crop.crop(frame, look.affine(320, SIZE), SIZE)
    # Interpolated at the same places; rounding may differ by a grey level, or by OpenCV 4's 1/32 of a pixel.
    assert np.abs(ours.astype(int) - published).mean() < 2


def test_joints_outside_the_crop_and_those_nobody_annotated_have_no_weight() -> None:
    joints = person()
    joints[3, 2] = 0
    joints[5, :2] = 10, 10
    moved = joints_in_crop(joints, plain(BOX, SIZE).affine(320, SIZE), SIZE, "coco17", mirrored=False)
    assert np.flatnonzero(moved[:, 2] == 0).tolist() == [3, 5]


def test_sizes_and_turns_stay_within_their_limits() -> None:
    whole = plain(BOX, SIZE).scale[0]
    drawn_looks = looks(Augmentation(scale=0.35, rotation=45, rotation_limit=45))
    factors = np.array([look.scale[0] / whole for look in drawn_looks])
    turns = np.array([look.rotation_degrees for look in drawn_looks])
    assert (factors.min(), factors.max()) == pytest.approx((0.65, 1.35))
    assert (turns.min(), turns.max()) == (-45, 45)
    # Six in ten are turned, half are mirrored: of 400, within three standard deviations.
    assert (turns != 0).mean() == pytest.approx(0.6, abs=0.075)
    assert np.mean([look.mirrored for look in drawn_looks]) == pytest.approx(0.5, abs=0.075)


def test_without_augmentation_of_place_only_the_mirror_is_left() -> None:
    still = plain(BOX, SIZE)
    for look in looks(Augmentation(), 20):
        assert (look.center.tolist(), look.scale.tolist()) == (still.center.tolist(), still.scale.tolist())
        assert look.rotation_degrees == 0


@pytest.mark.parametrize("skeleton", ["coco17", "posetrack17", "jhmdb15", "crowdpose14", "hieve14"])
def test_half_a_body_is_about_the_joints_of_that_half(skeleton: str) -> None:
    joints, rng = person(skeleton), np.random.default_rng(0)
    legs = np.array([joint.endswith(("hip", "knee", "ankle", "belly")) for joint in SKELETONS[skeleton].joints])
    middles = {"upper": joints[~legs, :2].mean(0), "lower": joints[legs, :2].mean(0)}
    found = [half_body(joints, SIZE, skeleton, rng) for _ in range(300)]
    upper = np.mean([np.allclose(look.center, middles["upper"], atol=1e-3) for look in found if look])
    lower = np.mean([np.allclose(look.center, middles["lower"], atol=1e-3) for look in found if look])
    assert upper + lower == 1
    # A normal number is below 0.5 in 69 of 100; of 300, within three standard deviations.
    assert upper == pytest.approx(0.69, abs=0.08)


def test_somebody_with_few_joints_is_not_cut_in_half() -> None:
    joints = person()
    joints[8:, 2] = 0
    rng = np.random.default_rng(0)
    always = Augmentation(half_body=1.0)
    centers = {tuple(drawn(BOX, joints, SIZE, "coco17", always, rng).center.tolist()) for _ in range(20)}
    assert centers == {tuple(plain(BOX, SIZE).center.tolist())}
    joints[:, 2] = 0
    joints[0, 2] = 2
    assert half_body(joints, SIZE, "coco17", rng) is None
