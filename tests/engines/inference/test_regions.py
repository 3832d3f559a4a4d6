"""Regions: the published crop of a box, and keypoints transformed back."""

from __future__ import annotations

import numpy as np
import pytest

from engines.inference.regions import box_to_region, crop_region, to_keypoints
from engines.spec.signature import Signature
from engines.vision import crop

BOX = np.array([30.5, 20.25, 90.0, 140.75], np.float32)


def signature(**changes: object) -> Signature:
    return Signature(**{"name": "any", "input_size": (48, 64), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["standard", "dark"])
def test_a_box_is_cropped_as_the_published_rule_does(rule: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)
    spec = signature(affine=rule, pixel="uint8", layout="nthwc")
    affine = crop.box_to_affine(BOX, (48, 64), enlarge=spec.enlarge, rule=spec.affine)
    np.testing.assert_array_equal(
        crop_region(spec, pixels, box_to_region(spec, BOX)), crop.crop(pixels, affine, (48, 64))
    )


def test_points_are_transformed_to_the_frame_and_scores_are_clipped() -> None:
    spec = signature(affine="dark")  # keypoints follow the standard rule nevertheless
    affine = crop.box_to_affine(BOX, (48, 64), enlarge=spec.enlarge)
    points = np.array([[3.0, 4.0], [20.5, 60.25]])
    found = to_keypoints(spec, points, np.array([-0.5, 1.5], np.float32), box_to_region(spec, BOX))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :2], crop.to_frame(points, affine), atol=1e-5)  # float32 at 100 px
    assert found[:, 2].tolist() == [0, 1]


def test_a_region_contains_itself_and_what_lies_within() -> None:
    region = box_to_region(signature(), BOX)
    assert region.contains(region)
    assert region.widen(1.1).contains(region)
    assert not region.contains(region.widen(1.001))
    moved = box_to_region(signature(), BOX + np.float32(5))
    assert not region.contains(moved)
    assert not moved.contains(region)


def test_a_region_has_the_aspect_ratio_of_the_crop() -> None:
    x1, y1, x2, y2 = box_to_region(signature(), BOX).corners
    assert (x2 - x1) / (y2 - y1) == pytest.approx(48 / 64)
    assert x2 - x1 == pytest.approx(1.25 * 120.5 * 48 / 64, rel=1e-6)  # its height, 120.5 px, sets the scale
