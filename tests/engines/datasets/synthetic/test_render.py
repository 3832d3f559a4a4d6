"""Rendering: positions of what is painted, and visibility of joints."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.datasets.synthetic.appearance import random_appearance
from engines.datasets.synthetic.body import ANGLES, COCO, SEGMENTS, limb_lengths, pose_bodies
from engines.datasets.synthetic.figure import Camera, Part, build_parts, capsule, circle
from engines.datasets.synthetic.render import NOTHING, find_visibility, label, paint

CAMERA = Camera(focal_px=600.0, centre=(320.0, 200.0), eye_m=1.5)
LOOKS = random_appearance(np.random.default_rng(0))
BLACK_640 = (480, 640)


def seen(*places: tuple[float, float], heading: float = 0.0) -> NDArray[np.float64]:
    """(P, 17) visibility of people standing at these (x, z) m, the farthest first."""
    count = len(places)
    heights = np.full(count, 1.7)
    lengths = limb_lengths(heights, np.ones((count, SEGMENTS)))
    feet = np.array([[x, 0.0, z] for x, z in places])
    posture = pose_bodies(np.zeros((count, len(ANGLES))), np.full(count, heading), feet, heights, lengths)
    people = [build_parts(posture, i, 1.7, LOOKS, CAMERA) for i in range(count)]
    plane = np.full(BLACK_640, NOTHING, np.int32)
    for i, parts in enumerate(people):
        label(plane, parts, 1 + 64 * i)
    flat, depths = CAMERA.project(posture.points[:, : len(COCO)]), posture.points[:, : len(COCO), 2]
    return np.array([find_visibility(plane, flat[i], depths[i], people[i], 1 + 64 * i) for i in range(count)])


@pytest.mark.parametrize("place", [(20.5, 20.5), (20.0, 21.0), (31.25, 17.75), (24.4, 26.9)])
def test_a_dot_is_centred_on_its_point(place: tuple[float, float]) -> None:
    picture = np.zeros((48, 48, 3), np.uint8)
    paint(picture, [Part("marker", circle(np.array(place), 6.0), (200.0, 200.0, 200.0), 1.0, shade=False)], 1.0)
    light = picture[..., 0].astype(float)
    rows, columns = np.mgrid[:48, :48] + 0.5  # the centre of the top-left pixel is (0.5, 0.5)
    centroid = [(light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()]
    # Outlines are rounded to 1/16 px; OpenCV counting from pixel corners instead would be off by half a pixel.
    assert centroid == pytest.approx(place, abs=0.06)


def test_a_limb_extends_by_its_width_beyond_its_ends() -> None:
    outline = capsule(np.array([10.0, 10.0]), np.array([10.0, 40.0]), 4.0, 2.0)
    # A ring of 20 corners, of which two lie exactly above and below.
    assert outline[:, 1].min() == pytest.approx(6.0, abs=1e-4)
    assert outline[:, 1].max() == pytest.approx(42.0, abs=1e-4)


def test_a_person_facing_the_camera_alone_is_fully_visible() -> None:
    assert (seen((0.0, 4.0)) == 2).all()


def test_the_face_is_hidden_from_behind() -> None:
    (behind,) = seen((0.0, 4.0), heading=np.pi)
    assert [behind[COCO.index(joint)] for joint in ("nose", "left_eye", "right_eye")] == [1, 1, 1]
    assert behind[COCO.index("left_shoulder")] == 2


def test_from_the_side_the_nearer_arm_is_visible() -> None:
    (passing,) = seen((0.0, 4.0), heading=np.pi / 2)
    assert passing[COCO.index("right_elbow")] == 2
    assert passing[COCO.index("left_elbow")] == 1


def test_the_nearer_person_hides_the_farther_one() -> None:
    far, near = seen((0.0, 5.0), (0.0, 3.5))
    assert (near == seen((0.0, 3.5))[0]).all()
    # Behind a taller body: the trunk's corners and the face are hidden.
    covered = [COCO.index(joint) for joint in ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip")]
    assert (far[covered] == 1).all()


def test_two_people_side_by_side_do_not_hide_each_other() -> None:
    far, near = seen((-1.2, 5.0), (0.8, 3.5))
    assert (far == 2).all()
    assert (near == 2).all()


def test_joints_beyond_the_edge_of_the_picture_have_visibility_0() -> None:
    (leaving,) = seen((-2.14, 4.0))
    assert set(leaving.astype(int)) == {0, 2}
    assert leaving[COCO.index("right_elbow")] == 0
