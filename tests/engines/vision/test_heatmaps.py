"""Decoding, compared with the published functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.vision import heatmaps
from engines.vision.crop import crop_affine, invert, transform


@pytest.fixture(scope="module")
def cases(shared: Path) -> Any:
    return json.loads((shared / "models/golden_decode.json").read_text())["get_final_preds"]


def make_heatmaps(case: Any) -> NDArray[np.float32]:
    """The case's own maps, or those its recipe makes."""
    if "heatmaps" in case:
        return np.array(case["heatmaps"], np.float32).reshape(case["shape"])
    recipe = case["recipe"]
    people, joints, height, width = (recipe[name] for name in "NKHW")
    random = np.random.Generator(np.random.PCG64(recipe["seed"]))
    maps = np.float32(0.05) * random.standard_normal((people, joints, height, width), dtype=np.float32)
    middle_x = random.uniform(0, width - 1, (people, joints))[..., None, None]
    middle_y = random.uniform(0, height - 1, (people, joints))[..., None, None]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    distance = (x - middle_x) ** 2 + (y - middle_y) ** 2
    maps += np.exp(-distance / (2 * recipe["sigma"] ** 2)).astype(np.float32)
    return maps.astype(np.float32)


def to_image(cells: NDArray[np.float32], case: Any) -> NDArray[np.float64]:
    """Cells of each person's map in the picture, by the published inverse affine."""
    height, width = case["shape"][2:]
    placed = []
    for person, center, scale in zip(cells, case["center"], case["scale"], strict=True):
        affine = crop_affine(np.array(center, np.float32), np.array(scale, np.float32), (width, height))
        placed.append(transform(person, invert(affine)))
    return np.array(placed)


# The published functions store single precision: 1e-3 px is what that leaves of coordinates up to 2000 px.
ATOL_PX = 1e-3


def test_peaks_equal_the_published_ones(cases: Any) -> None:
    for case in cases:
        cells, values = heatmaps.find_peaks(make_heatmaps(case))
        assert cells.tolist() == case["max_preds"], case["desc"]
        np.testing.assert_allclose(values, np.array(case["maxvals"])[..., 0], atol=1e-6)
        np.testing.assert_allclose(to_image(cells, case), case["final_preds_no_postprocess"], atol=ATOL_PX)


def test_the_quarter_shift_equals_the_published_one(cases: Any) -> None:
    for case in cases:
        cells, _ = heatmaps.decode(make_heatmaps(case))
        np.testing.assert_allclose(to_image(cells, case), case["final_preds"], atol=ATOL_PX, err_msg=case["desc"])


def test_dark_equals_the_published_one(cases: Any) -> None:
    for case in cases:
        cells, _ = heatmaps.decode_dark(make_heatmaps(case))
        if case["dark_final_preds"] is None:  # the published function divides 0 by 0 here; ours may not
            assert cells.tolist() == case["max_preds"]
            continue
        wanted = np.array(case["dark_final_preds"], float)
        np.testing.assert_allclose(to_image(cells, case), wanted, atol=ATOL_PX, err_msg=case["desc"])


def dark_of_one(heatmap: NDArray[np.float32], blur_px: int) -> NDArray[np.float32]:
    """As published, one map (h, w) at a time: blur and rescale all of it, take its logarithm, and read that."""
    height, width = heatmap.shape
    border = blur_px // 2
    smooth = cv2.GaussianBlur(np.pad(heatmap, border), (blur_px, blur_px), 0)[border:-border, border:-border]
    m = np.log(np.maximum(smooth * (heatmap.max() / smooth.max()), np.float32(1e-10)))
    y, x = (int(index) for index in np.unravel_index(heatmap.argmax(), heatmap.shape))
    point = np.array([x, y], np.float32)
    if heatmap.max() > 0 and 1 < x < width - 2 and 1 < y < height - 2:
        dx, dy = 0.5 * (m[y, x + 1] - m[y, x - 1]), 0.5 * (m[y + 1, x] - m[y - 1, x])
        dxx = 0.25 * (m[y, x + 2] - 2 * m[y, x] + m[y, x - 2])
        dyy = 0.25 * (m[y + 2, x] - 2 * m[y, x] + m[y - 2, x])
        dxy = 0.25 * (m[y + 1, x + 1] - m[y - 1, x + 1] - m[y + 1, x - 1] + m[y - 1, x - 1])
        point += np.array([dxy * dy - dyy * dx, dxy * dx - dxx * dy]) / (dxx * dyy - dxy * dxy)
    return point


@pytest.mark.parametrize("blur_px", [3, 11, 17])
def test_maps_that_are_decoded_together_give_the_last_digit_of_each_alone(blur_px: int) -> None:
    recipe = {"N": 5, "K": 5, "H": 32, "W": 24, "seed": blur_px, "sigma": 2.0}  # more maps than are blurred at once
    maps = make_heatmaps({"recipe": recipe})
    maps[0, 1], maps[2, 3, 0, 7] = -1, 3  # one without a peak; one at the border, next to another map
    cells, values = heatmaps.decode_dark(maps, blur_px)
    np.testing.assert_array_equal(values, maps.max((2, 3)))
    for index in np.ndindex(5, 5):
        wanted = np.zeros(2) if index == (0, 1) else dark_of_one(maps[index], blur_px)
        np.testing.assert_array_equal(cells[index], wanted)


@pytest.mark.parametrize("cell", ["corner", "centre"])
def test_a_cell_is_placed_as_the_signature_says(cell: str) -> None:
    placed = heatmaps.cells_to_crop(np.array([[0.0, 2.0]], np.float32), (4.0, 4.0), cell)
    assert placed.tolist() == ([[0.0, 8.0]] if cell == "corner" else [[1.5, 9.5]])


def test_dark_finds_the_centre_of_a_gaussian_between_cells() -> None:
    y, x = np.mgrid[:64, :48].astype(np.float64)
    maps = np.exp(-((x - 20.3) ** 2 + (y - 30.8) ** 2) / 8).astype(np.float32)[None, None]
    cells, scores = heatmaps.decode_dark(maps)
    # The logarithm of a blurred Gaussian is a parabola, so one Newton step is exact but for single precision.
    np.testing.assert_allclose(cells[0, 0], [20.3, 30.8], atol=5e-3)
    assert scores[0, 0] == maps.max()
