"""Regions: the published crop of a box, and keypoints transformed back."""

from __future__ import annotations

import numpy as np
import pytest

from engines.inference.regions import box_to_region, crop_regions, to_keypoints
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
    (found,) = crop_regions(spec, [pixels], [box_to_region(spec, BOX)])
    np.testing.assert_array_equal(found, crop.crop(pixels, affine, (48, 64)))


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nthwc"])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_a_batch_holds_bit_for_bit_what_the_definition_gives_each_person(layout: str, colour: str) -> None:
    rng = np.random.default_rng(1)
    spec = signature(layout=layout, colour=colour, pixel="uint8" if layout == "nthwc" else "float32")
    frames = [rng.integers(0, 256, (160, 120, 3), np.uint8) for _ in range(4)]
    boxes = [BOX + rng.normal(0, 9, 4).astype(np.float32) for _ in frames]
    points, scores = rng.uniform(-5, 70, (4, 17, 2)), rng.normal(0.5, 0.5, (4, 17)).astype(np.float32)
    points[1, 3], scores[2, 5] = np.nan, np.nan
    regions = [box_to_region(spec, box) for box in boxes]
    crops, keypoints = crop_regions(spec, frames, regions), to_keypoints(spec, points, scores, regions)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    for row, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
        affine = crop.box_to_affine(box, (48, 64), enlarge=spec.enlarge)
        cropped = crop.crop(frame, affine, (48, 64))
        ordered = (cropped[..., ::-1] if colour == "rgb" else cropped).astype(np.float32)
        normalised = (ordered - mean) / std
        wanted = {"nthwc": cropped, "nhwc": normalised, "nchw": normalised.transpose(2, 0, 1)}[layout]
        np.testing.assert_array_equal(crops[row], wanted, strict=True)
        placed = np.concatenate([crop.to_frame(points[row], affine), np.clip(scores[row], 0, 1)[:, None]], axis=1)
        placed[~np.isfinite(placed).all(axis=1)] = 0
        np.testing.assert_array_equal(keypoints[row], placed.astype(np.float32), strict=True)


def test_points_are_transformed_to_the_frame_and_scores_are_clipped() -> None:
    spec = signature(affine="dark")  # keypoints follow the standard rule nevertheless
    affine = crop.box_to_affine(BOX, (48, 64), enlarge=spec.enlarge)
    points = np.array([[3.0, 4.0], [20.5, 60.25]])
    (found,) = to_keypoints(spec, points[None], np.array([[-0.5, 1.5]], np.float32), [box_to_region(spec, BOX)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :2], crop.to_frame(points, affine), atol=1e-5)  # float32 at 100 px
    assert found[:, 2].tolist() == [0, 1]


def test_a_region_reaches_what_lies_within_it_times_the_factor() -> None:
    region = box_to_region(signature(), BOX)
    assert region.reaches(region, 1.0)
    assert region.reaches(region.widen(1.1), 1.1001)
    assert not region.reaches(region.widen(1.1), 1.099)
    half = 0.05 * region.width  # what a tenth more adds on either side
    assert region.reaches(region.move(0.99 * half), 1.1)
    assert not region.reaches(region.move(1.01 * half), 1.1)
    assert not region.reaches(region.move(-1.01 * half), 1.1)
    assert region.move(3).center.tolist() == [region.center[0] + 3, region.center[1]]


def test_a_region_has_the_aspect_ratio_of_the_crop() -> None:
    x1, y1, x2, y2 = box_to_region(signature(), BOX).corners
    assert (x2 - x1) / (y2 - y1) == pytest.approx(48 / 64)
    assert x2 - x1 == pytest.approx(1.25 * 120.5 * 48 / 64, rel=1e-6)  # its height, 120.5 px, sets the scale
