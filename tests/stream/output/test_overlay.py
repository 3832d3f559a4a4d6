"""Drawing of boxes, joints, limbs and labels."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from stream.messages import Frame, Poses
from stream.output.overlay import draw, get_colour
from stream.testing import make_poses

BLUE, GREEN, ORANGE = (255, 153, 51), (0, 200, 0), (0, 128, 255)


def black(width: int = 320, height: int = 240) -> Frame:
    return Frame("hall", 0, 0, 0, np.zeros((height, width, 3), np.uint8))


def one_person(keypoints: NDArray[np.float64], box: tuple[float, ...] = (50, 40, 150, 200), person: int = 3) -> Poses:
    boxes, scores = np.array([box], np.float32), np.array([0.9], np.float32)
    return Poses(black(), boxes, scores, np.array([person]), keypoints[None].astype(np.float32), "coco17")


def make_unseen() -> NDArray[np.float64]:
    """Seventeen joints at (0, 0) with a score of 0."""
    return np.zeros((17, 3))


def centroid(picture: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The centroid of the pixels that differ, in continuous px."""
    rows, columns = np.nonzero((picture != background).any(axis=2))
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def test_a_joint_is_drawn_in_the_colour_of_its_side_with_subpixel_accuracy() -> None:
    keypoints = make_unseen()
    keypoints[9] = 200.25, 100.75, 0.8  # the left wrist, away from the box
    with_joint, without = draw(one_person(keypoints)), draw(one_person(make_unseen()))
    # The centre of gravity of an anti-aliased dot of some 30 px; a shift of half a pixel would be seen.
    np.testing.assert_allclose(centroid(with_joint, without), [200.25, 100.75], atol=0.3)
    assert tuple(with_joint[100, 200].tolist()) == GREEN


def test_a_limb_is_drawn_if_both_its_joints_are_seen() -> None:
    keypoints = make_unseen()
    keypoints[8], keypoints[10] = (200, 60, 0.8), (200, 120, 0.8)  # the right elbow and wrist
    assert tuple(draw(one_person(keypoints))[90, 200].tolist()) == ORANGE
    keypoints[10, 2] = 0.1
    assert not draw(one_person(keypoints))[90, 200].any()


def test_what_was_expected_is_a_thin_white_skeleton() -> None:
    expected = make_unseen()
    expected[8], expected[10] = (200, 60, 0.8), (200, 120, 0.8)
    row = draw(one_person(make_unseen()), expected=expected[None].astype(np.float32))[90]
    assert abs(int(row[199, 0]) - int(row[200, 0])) < 20  # a line of one pixel between two
    assert (row[199] == row[199, 0]).all()
    assert row[199:201].min() > 100
    assert not row[[196, 203]].any()


def test_a_limb_across_the_body_has_the_colour_of_the_middle() -> None:
    keypoints = make_unseen()
    keypoints[5], keypoints[6] = (260, 60, 0.8), (200, 60, 0.8)
    assert tuple(draw(one_person(keypoints))[59, 230].tolist()) == BLUE


def test_the_box_lies_on_its_edges_in_the_colour_of_the_id() -> None:
    # Edges through the centres of pixels; one that falls between two is shared by both.
    picture = draw(one_person(make_unseen(), box=(50.5, 40.5, 150.5, 200.5), person=3))
    for row, column in ((120, 50), (120, 150), (200, 100)):
        # Anti-aliasing leaves a line of one pixel some of its background.
        np.testing.assert_allclose(picture[row, column], get_colour(3), atol=40)
    assert not picture[120, 60:140].any()


def test_consecutive_ids_have_clearly_different_colours() -> None:
    colours = np.array([get_colour(person) for person in range(1, 30)], float)
    # 80 of 255 grey levels are easy to tell apart.
    assert (np.abs(np.diff(colours, axis=0)).max(axis=1) > 80).all()


def test_the_frame_is_not_changed() -> None:
    poses = one_person(np.tile([100.0, 100.0, 0.9], (17, 1)))
    poses.frame.pixels.setflags(write=False)
    assert draw(poses, caption="hall").any()
    assert not poses.frame.pixels.any()


def test_scaling_scales_the_picture_and_the_drawing() -> None:
    keypoints = make_unseen()
    keypoints[9] = 200, 100, 0.8
    with_joint, without = draw(one_person(keypoints), scale=2.5), draw(one_person(make_unseen()), scale=2.5)
    assert with_joint.shape == (600, 800, 3)
    np.testing.assert_allclose(centroid(with_joint, without), [500, 250], atol=0.3)


def test_joints_far_outside_and_an_empty_frame_are_drawn_without_error() -> None:
    keypoints = np.tile([1e7, -1e7, 0.9], (17, 1))
    keypoints[::2, :2] *= -1
    assert draw(one_person(keypoints, box=(-1e6, -1e6, 1e6, 1e6))).shape == (240, 320, 3)
    empty = make_poses(0, count=0)
    empty = dataclasses.replace(empty, frame=black())
    assert not draw(empty).any()


def test_a_label_stays_in_the_picture_for_a_box_at_its_top() -> None:
    # The upper edge of the box is above the picture, so its label is drawn below that edge.
    at_top = one_person(make_unseen(), box=(50, 0, 150, 200))
    assert (draw(at_top)[2:10, 55:80] == get_colour(3)).all(axis=2).any()


def test_an_unknown_skeleton_is_drawn_as_dots() -> None:
    keypoints = np.zeros((21, 3))
    keypoints[20] = 200, 100, 0.9
    strange = dataclasses.replace(one_person(keypoints), skeleton="hand21")
    assert tuple(draw(strange)[100, 200].tolist()) == BLUE
