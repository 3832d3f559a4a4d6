"""Our keypoints and boxes beside those of rtmlib, on the same files and pictures; ``benchmarks.beside_rtmlib``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import beside_rtmlib as beside

if importlib.util.find_spec("rtmlib") is None:
    pytest.skip("rtmlib is not installed (pip install --no-deps rtmlib==0.0.16 tqdm)", allow_module_level=True)

MEDIAN_PX, HIGH_PX = 0.5, 2.0
"""The most that the field's two ways of fitting a picture may differ by: at the median, and for 99 of 100."""


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[NDArray[np.uint8]]:
    """Photographs of several sizes, and frames of a clip."""
    photos = list(beside.read_pictures(shared / beside.PICTURES).values())[:8]
    return [*photos, *beside.read_clip(shared / beside.CLIP, 4)]


def check(found: beside.Beside) -> None:
    median, high = np.percentile(found.distances, (50, 99))
    assert len(found.distances) > 17 * 10
    assert median <= MEDIAN_PX
    assert high <= HIGH_PX


def test_rtmpose_gives_the_same_keypoints_in_the_same_boxes(
    shared: Path, tmp_path: Path, pictures: list[NDArray[np.uint8]]
) -> None:
    path = beside.make_simcc(shared / beside.POSE, tmp_path / "simcc.onnx")
    found = beside.compare_pose(path, beside.find_people(shared, pictures))
    check(found)
    # But for the half pixel they are the same: crops that differ in the last digit may choose another bin, not another
    # joint.
    assert np.mean(found.distances < 1e-3) > 0.99


def test_rtmo_gives_the_same_people(shared: Path, tmp_path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    path = beside.make_rtmo(shared / beside.DETECTOR, tmp_path / "rtmo.onnx")
    found = beside.compare_rtmo(path, pictures)
    check(found)
    assert found.score_error < 1e-5  # the network saw the same pixels


def test_yolox_finds_the_same_boxes(shared: Path, pictures: list[NDArray[np.uint8]]) -> None:
    distances = beside.compare_boxes(shared, beside.find_people(shared, pictures))
    assert len(distances) > 10
    assert np.percentile(distances, 50) <= MEDIAN_PX
    assert np.percentile(distances, 99) <= HIGH_PX
