"""Exports of the simulated backend in an engine, as a line runs them: the keypoints that ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from engines.inference.engine import load
from engines.vision.windows import PersonWindows
from tests.engines.backends.trt.simulated import Simulation
from tests.engines.exports import ATOL_PX, write_export

PICTURES = np.random.default_rng(0).integers(0, 255, (9, 90, 120, 3), np.uint8)
BOXES = np.array([[20, 10, 70, 80], [40, 5, 100, 75], [5, 20, 60, 85]], np.float32)


def windows() -> list[PersonWindows]:
    """Three people over nine frames, five at a time."""
    return [
        PersonWindows(
            frames=tuple(PICTURES[first : first + 5]),
            keys=tuple(("camera", seq) for seq in range(first, first + 5)),
            boxes=BOXES,
            ids=np.arange(3),
        )
        for first in range(5)
    ]


@pytest.mark.parametrize("crop", ["lock", "exact"])
@pytest.mark.parametrize("mode", ["tensorrt", "tensorrt:nograph"])
def test_keypoints_are_those_of_onnx_runtime(
    simulated: Simulation, tmp_path: Path, mode: str, crop: Literal["lock", "exact"]
) -> None:
    folder = str(write_export(tmp_path / "export"))
    with load(folder, mode, crop=crop) as ours, load(folder, "onnxrt:cpu", crop=crop) as theirs:
        for window in windows():
            (given,), (wanted,) = ours.estimate([window]), theirs.estimate([window])
            np.testing.assert_allclose(given, wanted, atol=ATOL_PX)
