"""Scenes: the ground truth agrees with the rendered pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.datasets.synthetic.body import COCO
from engines.datasets.synthetic.conditions import CONDITIONS
from engines.datasets.synthetic.scene import Picture, Scene

PUPIL = (30, 26, 24)
"""The colour of pupils, which does not depend on the light."""


def scene(seed: int, people: int, width: int = 640, height: int = 480) -> Scene:
    return Scene(seed, people, width, height, noise=0.0)


def silhouette(seed: int, time_s: float) -> tuple[NDArray[np.bool_], Picture]:
    """Where a picture with one person differs from the same picture without."""
    picture = scene(seed, 1).at(time_s)
    return (picture.pixels != scene(seed, 0).at(time_s).pixels).any(2), picture


def test_frames_do_not_depend_on_the_order_of_rendering() -> None:
    forwards, backwards = scene(3, 3), scene(3, 3)
    there = [forwards.at(time_s) for time_s in (0.0, 1.0, 2.0)]
    back = [backwards.at(time_s) for time_s in (2.0, 1.0, 0.0)][::-1]
    for a, b in zip(there, back, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert np.array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("seed", range(6))
def test_a_box_encloses_the_silhouette(seed: int) -> None:
    mask, picture = silhouette(seed, 4.0)
    if not len(picture.boxes):
        assert not mask.any()
        return
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    outer = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    # OpenCV's smooth edges extend up to a pixel beyond an outline, and a skin tone may almost equal the wall.
    assert picture.boxes[0] == pytest.approx(outer, abs=2.0)


def test_joints_are_on_the_rendered_body() -> None:
    on_body = []
    for seed in range(12):
        mask, picture = silhouette(seed, 7.0)
        for x, y, seen in picture.keypoints.reshape(-1, 3):
            if seen:
                on_body.append(bool(mask[int(y), int(x)]))
    assert len(on_body) > 100
    # Ears and noses are dots at the rim of the head, and a far hip may extend behind the trunk by a pixel.
    assert np.mean(on_body) > 0.98


def test_visible_joints_are_in_their_persons_box() -> None:
    for seed in range(8):
        picture = scene(seed, 4).at(5.0)
        for box, joints in zip(picture.boxes, picture.keypoints, strict=True):
            visible = joints[joints[:, 2] == 2, :2]
            assert (visible >= box[:2] - 1e-3).all()
            assert (visible <= box[2:] + 1e-3).all()


@pytest.mark.slow
def test_an_eye_is_at_the_centre_of_its_pupil() -> None:
    errors = []
    for seed in range(40):
        picture = scene(seed, 1, 1600, 1200).at(2.0)
        for joint in picture.keypoints.reshape(-1, 17, 3)[:, [COCO.index("left_eye"), COCO.index("right_eye")]]:
            errors += [offset for eye in joint if eye[2] == 2 for offset in _offset(picture.pixels, eye)]
    # The edges of each dot are exact to a pixel, the centre of one to about half, the mean of all to a tenth. A
    # confusion of the two pixel conventions would displace all of them by half a pixel to the same side.
    assert len(errors) >= 20
    assert np.abs(np.mean(errors, 0)).max() < 0.15


def _offset(pixels: NDArray[np.uint8], eye: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """The distance of a pupil's centre from the annotated eye; pupils half covered by the nose are left out."""
    x, y = (int(value) for value in eye[:2])
    rows, columns = np.nonzero((pixels[y - 9 : y + 10, x - 9 : x + 10] == PUPIL).all(2))
    if not len(rows) or abs(np.ptp(rows) - np.ptp(columns)) > 1 or np.ptp(rows) < 3:
        return []
    middle = np.array([np.ptp(columns) / 2 + columns.min() + x - 9, np.ptp(rows) / 2 + rows.min() + y - 9]) + 0.5
    return [middle - eye[:2]]


def test_an_id_stays_with_its_person() -> None:
    crossing = scene(1, 4)
    before = crossing.at(0.0)
    for number in range(1, 150):
        now = crossing.at(number / 30)
        for row, person in enumerate(now.ids):
            if person not in before.ids:
                continue
            old = before.keypoints[before.ids == person][0, :, :2].mean(0)
            size = now.boxes[row, 3] - now.boxes[row, 1]
            # A fifteenth of the height in a thirtieth of a second would be over 3 m/s.
            assert np.hypot(*(now.keypoints[row, :, :2].mean(0) - old)) < max(size, 60) / 15
        before = now


@pytest.mark.parametrize("people", [0, 3])
def test_truth_at_equals_the_truth_of_the_picture(people: int) -> None:
    hard = Scene(4, people, 640, 480, conditions=CONDITIONS["blurred"])
    picture, alone = hard.at(2.3, 5), hard.truth_at(2.3)
    assert np.array_equal(alone.keypoints, picture.keypoints)
    assert np.array_equal(alone.boxes, picture.boxes)
    assert alone.ids.tolist() == picture.ids.tolist()
    assert len(picture.ids) == people


def test_people_cross() -> None:
    hidden = 0
    crossing = scene(1, 4)
    for number in range(60):
        boxes = crossing.at(number / 2).boxes
        centres = (boxes[:, 0] + boxes[:, 2]) / 2
        hidden += any(
            box[0] < centre < box[2] for i, box in enumerate(boxes) for j, centre in enumerate(centres) if i != j
        )
    assert hidden >= 10


def test_blur_and_noise_change_the_pixels_but_not_the_truth() -> None:
    plain = Scene(2, 2, 320, 240, noise=0.0).at(1.0)
    worse = Scene(2, 2, 320, 240, noise=12.0, blur=2.0).at(1.0)
    assert np.array_equal(plain.keypoints, worse.keypoints)
    difference = worse.pixels.astype(float) - plain.pixels
    # Noise of 12 grey levels, less the effect of clipping at 0 and 255, plus that of the blur at edges.
    assert 9 < difference.std() < 30
