"""Crops, compared with the published functions, and the half pixel between the two conventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.vision.crop import (
    box_to_affine,
    box_to_center_scale,
    center_scale_to_box,
    clip_to_frame,
    crop,
    crop_affine,
    invert,
    to_crop,
    to_frame,
    transform,
)
from engines.vision.heatmaps import cells_to_crop


@pytest.fixture(scope="module")
def goldens(shared: Path) -> Any:
    return json.loads((shared / "models/golden_decode.json").read_text())


def test_centres_and_scales_equal_the_published_ones(goldens: Any) -> None:
    for case in goldens["box2cs"]:
        center, scale = box_to_center_scale(np.array(case["box_xywh"]), tuple(case["image_wh"]), case["enlarge"])
        assert center.tolist() == case["center"]
        assert scale.tolist() == case["scale"]
        # The golden region was computed in single precision: 4e-7 of the largest number, 2000 px.
        np.testing.assert_allclose(center_scale_to_box(center, scale), case["cs2box_xywh"], atol=1e-3)


def test_annotated_boxes_are_clipped_as_published(goldens: Any) -> None:
    for case in goldens["clean_bbox"]:
        cut = clip_to_frame(np.array(case["bbox"]), tuple(case["image_wh"]))
        assert (cut.tolist() if cut is not None else None) == case["clean_bbox"]


@pytest.mark.parametrize(("rule", "name"), [("standard", "M"), ("dark", "M_dark")])
def test_affines_equal_the_published_ones(goldens: Any, rule: Any, name: str) -> None:
    for case in goldens["get_affine_transform"]:
        center, scale = (np.array(case[key], np.float32) for key in ("center", "scale"))
        affine = crop_affine(
            center, scale, tuple(case["output_wh"]), rotation_degrees=case["rot"], shift=tuple(case["shift"]), rule=rule
        )
        # Both solve the same system in double precision; what is left is the order of the operations.
        np.testing.assert_allclose(affine, case[name], rtol=1e-9, atol=1e-9)


def test_transformed_points_equal_the_published_ones(goldens: Any) -> None:
    for case in goldens["get_affine_transform"]:
        moved = transform(np.array(case["points"], np.float64), np.array(case["M"]))
        np.testing.assert_allclose(moved, case["points_M"], rtol=1e-12, atol=1e-9)


def test_an_affine_and_its_inverse_cancel(goldens: Any) -> None:
    points = np.array([[0.0, 0.0], [640.0, 360.0], [-3.5, 900.25]])
    for case in goldens["get_affine_transform"]:
        affine = np.array(case["M"])
        # Double precision, through scales of up to 150: 1e-10 px is its rounding.
        np.testing.assert_allclose(transform(transform(points, affine), invert(affine)), points, atol=1e-8)


def test_crops_equal_the_pixels_of_this_opencv(shared: Path) -> None:
    golden = np.load(shared / "models/golden_warp.npz")
    major = cv2.__version__.split(".")[0]
    picture = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (120, 160, 3), np.uint8)
    affines = json.loads(str(golden["meta_json"]))["M"][:3]
    for number, affine in enumerate(affines):
        assert np.array_equal(crop(picture, np.array(affine), (144, 192)), golden[f"cv{major}_{number}"])
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    assert np.array_equal(crop(mirrored, np.array(affines[0]), (144, 192)), golden[f"cv{major}_3"])


def test_decoded_points_equal_the_published_ones_plus_half_a_pixel(goldens: Any) -> None:
    for case in goldens["get_final_preds"]:
        height, width = case["shape"][2:]
        size = (4 * width, 4 * height)
        for row, (center, scale) in enumerate(zip(case["center"], case["scale"], strict=True)):
            x, y, w, h = center_scale_to_box(np.array(center, np.float32), np.array(scale, np.float32))
            affine = box_to_affine(np.array([x, y, x + w, y + h]), size, enlarge=1.0)
            cells = cells_to_crop(np.array(case["max_preds"][row], np.float32), (4.0, 4.0), "corner")
            home = to_frame(cells, affine) - 0.5
            # The published way uses the affine of the heatmap, and stores single precision.
            np.testing.assert_allclose(home, case["final_preds_no_postprocess"][row], atol=2e-3)


def test_a_point_survives_a_round_trip_through_a_crop() -> None:
    affine = box_to_affine(np.array([100.0, 50.0, 180.0, 250.0]), (192, 256))
    centres = np.array([[100.5, 50.5], [140.0, 150.0], [180.25, 249.75]])
    np.testing.assert_allclose(to_frame(to_crop(centres, affine), affine), centres, atol=1e-9)


def test_a_bright_pixel_is_where_the_affine_puts_it() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[80:83, 120:123] = 255  # its middle is at (121.5, 81.5) in continuous coordinates
    affine = box_to_affine(np.array([100.0, 50.0, 160.0, 130.0]), (192, 256))
    cut = crop(picture, affine, (192, 256))[..., 0].astype(float)
    rows, columns = np.indices(cut.shape)
    seen = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum()
    # The weighted middle of an interpolated blob: a tenth of a crop pixel is 1/20 of a frame pixel.
    np.testing.assert_allclose(seen, to_crop(np.array([121.5, 81.5]), affine), atol=0.1)
