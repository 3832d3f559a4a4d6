"""Training crops: the joints stay on the people however a crop is turned."""

from __future__ import annotations

import numpy as np
import pytest

from engines import geometry
from engines.people.scene import Scene
from engines.training.crops import Crops, Draw, crops_of


@pytest.fixture(scope="module")
def drawn() -> Crops:
    (crops,) = crops_of([7], Draw(frames=3), workers=1)
    return crops


def test_the_same_seed_gives_the_same_crops_in_another_process(drawn: Crops) -> None:
    (again,) = crops_of([7], Draw(frames=3), workers=1)
    assert np.array_equal(again.pictures, drawn.pictures)
    assert np.array_equal(again.joints, drawn.joints)


def test_a_crop_has_the_size_and_the_joints_that_were_asked_for(drawn: Crops) -> None:
    assert drawn.pictures.shape == (len(drawn), 192, 144, 3)
    assert drawn.joints.shape == (len(drawn), 17, 3)
    assert len(drawn) > 0


def test_most_visible_joints_stay_inside_a_jittered_crop(drawn: Crops) -> None:
    visible = drawn.joints[drawn.joints[..., 2] == 2]
    inside = (visible[:, 0] >= 0) & (visible[:, 0] < 144) & (visible[:, 1] >= 0) & (visible[:, 1] < 192)
    # A box that is moved and shrunk may lose a hand or a foot.
    assert inside.mean() > 0.9


def test_joints_come_back_from_a_crop_to_where_they_were() -> None:
    picture = Scene(7, 2, 640, 480).at(1.0)
    affine = geometry.affine_of_box(picture.boxes[0], (144, 192))
    there = geometry.to_crop(picture.keypoints[0, :, :2], affine)
    # float32 keypoints of some hundreds of px.
    assert geometry.to_frame(there, affine) == pytest.approx(picture.keypoints[0, :, :2], abs=1e-3)
