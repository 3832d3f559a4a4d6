"""Geometric augmentation: joints follow the pixels, within the published limits."""

from __future__ import annotations

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from engines.training.augment import CropRegion, box_region, half_body_region, random_region, transform_joints
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


def regions(augmentation: Augmentation, number: int = 400) -> list[CropRegion]:
    rng = np.random.default_rng(0)
    return [random_region(BOX, person(), SIZE, "coco17", augmentation, rng) for _ in range(number)]


@pytest.mark.parametrize("flipped", [False, True])
def test_joints_stay_on_the_same_pixels(flipped: bool) -> None:
    joints = np.zeros((17, 3), np.float32)
    joints[9] = 120, 100, 2  # the left wrist
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[98:103, 118:123] = 255
    region = CropRegion(*crop.box_to_center_scale(BOX, SIZE), rotation_degrees=30, flipped=flipped)
    affine = region.affine(320, SIZE)
    moved = transform_joints(joints, affine, SIZE, "coco17", flipped=flipped)
    (index,) = np.flatnonzero(moved[:, 2])
    assert SKELETONS["coco17"].joints[index] == ("right_wrist" if flipped else "left_wrist")
    rows, columns = np.nonzero(crop.crop(frame, affine, SIZE)[..., 0] > 127)
    # The mean of a patch of about two pixels.
    assert (columns.mean(), rows.mean()) == pytest.approx(moved[index, :2], abs=0.5)


def test_a_flipped_crop_equals_the_published_crop_of_the_flipped_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    region = CropRegion(*crop.box_to_center_scale(BOX, SIZE), rotation_degrees=20, flipped=True)
    flipped = np.array([320 - 1 - region.center[0], region.center[1]], np.float32)
    published = crop.crop(
        np.ascontiguousarray(frame[:, ::-1]), crop.crop_affine(flipped, region.scale, SIZE, rotation_degrees=20), SIZE
    )
    ours = crop.crop(frame, region.affine(320, SIZE), SIZE)
    # Interpolated at the same points; rounding may differ by a grey level, or by OpenCV 4's 1/32 of a pixel.
    assert np.abs(ours.astype(int) - published).mean() < 2


def test_joints_outside_the_crop_or_without_annotation_have_visibility_0() -> None:
    joints = person()
    joints[3, 2] = 0
    joints[5, :2] = 10, 10
    moved = transform_joints(joints, box_region(BOX, SIZE).affine(320, SIZE), SIZE, "coco17", flipped=False)
    assert np.flatnonzero(moved[:, 2] == 0).tolist() == [3, 5]


def test_scales_and_rotations_stay_within_their_limits() -> None:
    whole = box_region(BOX, SIZE).scale[0]
    drawn = regions(Augmentation(scale=0.35, rotation=45, rotation_limit=45))
    factors = np.array([region.scale[0] / whole for region in drawn])
    rotations = np.array([region.rotation_degrees for region in drawn])
    assert (factors.min(), factors.max()) == pytest.approx((0.65, 1.35))
    assert (rotations.min(), rotations.max()) == (-45, 45)
    # Six in ten are rotated, half are flipped: of 400, within three standard deviations.
    assert (rotations != 0).mean() == pytest.approx(0.6, abs=0.075)
    assert np.mean([region.flipped for region in drawn]) == pytest.approx(0.5, abs=0.075)


def test_without_geometric_augmentation_only_flips_are_left() -> None:
    still = box_region(BOX, SIZE)
    for region in regions(Augmentation(), 20):
        assert (region.center.tolist(), region.scale.tolist()) == (still.center.tolist(), still.scale.tolist())
        assert region.rotation_degrees == 0


@pytest.mark.parametrize("skeleton", ["coco17", "posetrack17", "jhmdb15", "crowdpose14", "hieve14"])
def test_a_half_body_is_centred_on_its_joints(skeleton: str) -> None:
    joints, rng = person(skeleton), np.random.default_rng(0)
    is_lower = np.array([joint.endswith(("hip", "knee", "ankle", "belly")) for joint in SKELETONS[skeleton].joints])
    centers = {"upper": joints[~is_lower, :2].mean(0), "lower": joints[is_lower, :2].mean(0)}
    found = [half_body_region(joints, SIZE, skeleton, rng) for _ in range(300)]
    upper = np.mean([np.allclose(region.center, centers["upper"], atol=1e-3) for region in found if region])
    lower = np.mean([np.allclose(region.center, centers["lower"], atol=1e-3) for region in found if region])
    assert upper + lower == 1
    # A normal number is below 0.5 in 69 of 100; of 300, within three standard deviations.
    assert upper == pytest.approx(0.69, abs=0.08)


def test_a_person_with_few_joints_is_not_cropped_to_a_half() -> None:
    joints = person()
    joints[8:, 2] = 0
    rng = np.random.default_rng(0)
    always = Augmentation(half_body=1.0)
    centers = {tuple(random_region(BOX, joints, SIZE, "coco17", always, rng).center.tolist()) for _ in range(20)}
    assert centers == {tuple(box_region(BOX, SIZE).center.tolist())}
    joints[:, 2] = 0
    joints[0, 2] = 2
    assert half_body_region(joints, SIZE, "coco17", rng) is None
