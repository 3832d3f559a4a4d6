"""Decoding inside the graph equals decoding in numpy, cell for cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.vision import heatmaps

torch = pytest.importorskip("torch")

from engines.layers.decoding import Points, blur_width_px  # noqa: E402

STRIDE = 4
# A Newton step divides the float32 rounding of logarithms of order 1 by a curvature near 1e-2.
DARK_PX = 2e-3


def decoded(how: Any, maps: NDArray[np.float32], blur_px: int = 11) -> Any:
    size = (maps.shape[3] * STRIDE, maps.shape[2] * STRIDE)
    with torch.no_grad():
        return Points(how, size, blur_px)(torch.from_numpy(maps)).numpy()


def peaks(people: int = 3, joints: int = 17, height: int = 16, width: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Noisy Gaussians centred anywhere, borders and corners included."""
    random = np.random.default_rng(seed)
    x, y = (random.uniform(-1, side, (people, joints, 1, 1)) for side in (width, height))
    rows, columns = np.mgrid[:height, :width]
    maps = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) + random.normal(0, 0.01, (people, joints, height, width))
    return maps.astype(np.float32)


@pytest.fixture(scope="module")
def published(shared: Path) -> list[NDArray[np.float32]]:
    """The maps of the published functions' test cases."""
    cases = json.loads((shared / "models/golden_decode.json").read_text())["get_final_preds"]
    return [np.array(case["heatmaps"], np.float32).reshape(case["shape"]) for case in cases if "heatmaps" in case]


def same(maps: NDArray[np.float32]) -> None:
    cells, scores = heatmaps.decode(maps)
    points = decoded("heatmap", maps)
    assert points[..., :2].tolist() == (cells * STRIDE).tolist()
    assert points[..., 2].tolist() == scores.tolist()


def test_the_quarter_shift_equals_numpys() -> None:
    same(peaks(people=40))


def test_the_published_cases_are_decoded_exactly(published: list[NDArray[np.float32]]) -> None:
    assert published
    for maps in published:
        same(maps)


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("column", range(5))
def test_a_peak_at_the_border_moves_as_published(row: int, column: int) -> None:
    maps = np.zeros((1, 1, 6, 5), np.float32)
    maps[0, 0, row, column] = 1.0
    maps[0, 0, min(row + 1, 5), min(column + 1, 4)] += 0.5
    maps[0, 0, row, min(column + 1, 4)] += 0.25
    same(maps)
    cells, _ = heatmaps.decode_dark(maps)
    np.testing.assert_allclose(decoded("dark", maps)[..., :2], cells * STRIDE, atol=DARK_PX)


def test_the_first_of_equal_peaks_in_reading_order_is_taken() -> None:
    maps = np.zeros((1, 2, 6, 5), np.float32)
    maps[0, 0, [1, 4], [3, 2]] = 1.0
    maps[0, 1] = 0.5
    assert decoded("heatmap", maps)[0].tolist() == [[12.0, 4.0, 1.0], [0.0, 0.0, 0.5]]


@pytest.mark.parametrize("how", ["heatmap", "dark"])
def test_a_map_without_positive_values_gives_the_first_cell(how: str) -> None:
    maps = np.stack([np.zeros((6, 5)), np.full((6, 5), -1.0)]).astype(np.float32)[None]
    maps[0, 1, 3, 2] = -0.5
    assert decoded(how, maps)[0].tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, -0.5]]


@pytest.mark.parametrize("blur_px", [11, 17])
def test_dark_equals_numpys(blur_px: int) -> None:
    maps = peaks(people=10, height=32, width=24)
    cells, scores = heatmaps.decode_dark(maps, blur_px)
    points = decoded("dark", maps, blur_px)
    np.testing.assert_allclose(points[..., :2], cells * STRIDE, atol=DARK_PX)
    assert points[..., 2].tolist() == scores.tolist()


def test_the_published_cases_are_decoded_by_dark(published: list[NDArray[np.float32]]) -> None:
    for maps in published:
        cells, _ = heatmaps.decode_dark(maps)
        np.testing.assert_allclose(decoded("dark", maps)[..., :2], cells * STRIDE, atol=DARK_PX)


def test_the_blur_width_depends_on_the_crop_size() -> None:
    assert [blur_width_px(size) for size in ((192, 256), (288, 384))] == [11, 17]
