"""Pose networks in the formats that exporters write, as small ONNX files that give the drawn person's joints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS
from engines.vision.trial_picture import draw_person
from tests.engines.detector_files import Output

SIZE = (96, 128)
X1, Y1, X2, Y2 = draw_person(SIZE)[1].tolist()
LEVELS = {"nose": 0.1, "hip": 0.55, "ankle": 0.95}
"""Where in the person's height a joint is whose name has this word; all others are in between."""

HEATMAP_STRIDE = 4


def place_joints(skeleton: str) -> NDArray[np.float32]:
    """(K, 2) px: joint k on a vertical line, of its own x, at the height of its name; multiples of the stride."""
    joints = SKELETONS[skeleton].joints
    shares = [next((LEVELS[word] for word in LEVELS if word in name), 0.3) for name in joints]
    across = X1 + (X2 - X1) * (0.2 + 0.6 * np.arange(len(joints)) / len(joints))
    points = np.stack([across, Y1 + (Y2 - Y1) * np.array(shares)], axis=1)
    return (np.rint(points / HEATMAP_STRIDE) * HEATMAP_STRIDE).astype(np.float32)


def heatmaps(skeleton: str = "coco17", *, is_last: bool = False, dtype: Any = np.float32) -> dict[str, Output]:
    """(1, K, h, w), or (1, h, w, K): one cell of 0.9 each."""
    points = place_joints(skeleton)
    maps = np.zeros((1, len(points), SIZE[1] // HEATMAP_STRIDE, SIZE[0] // HEATMAP_STRIDE), dtype)
    for joint, (x, y) in enumerate((points / HEATMAP_STRIDE).astype(int)):
        maps[0, joint, y, x] = 0.9
    return {"heatmaps": Output(np.moveaxis(maps, 1, 3) if is_last else maps)}


def simcc(skeleton: str, dtype: Any = np.float32) -> dict[str, Output]:
    """(1, K, 2 width) and (1, K, 2 height)."""
    points = place_joints(skeleton)
    tables = [np.zeros((1, len(points), 2 * side), dtype) for side in SIZE]
    for joint, place in enumerate((2 * points).astype(int)):
        for table, bin_ in zip(tables, place, strict=True):
            table[0, joint, bin_] = 0.9
    return {"simcc_x": Output(tables[0]), "simcc_y": Output(tables[1])}


def points(*, axes: str = "xy", units: str = "pixels", shape: tuple[int, ...] = (1, 17, 3)) -> dict[str, Output]:
    """x, y and score; in fractions, the middle of the first pixel is half of one."""
    places = place_joints("coco17")
    if units == "fractions":
        places = np.asarray((places + 0.5) / SIZE, np.float32)
    rows = np.concatenate([places[:, ::-1] if axes == "yx" else places, np.full((17, 1), 0.9)], axis=1)
    return {"points": Output(rows.astype(np.float32).reshape(shape))}


def whole_numbers() -> dict[str, Output]:
    """x and y (1, 17, 2) int64, and scores (1, 17)."""
    places = place_joints("coco17")[None].astype(np.int64)
    return {"points": Output(places), "scores": Output(np.full((1, 17), 0.9, np.float32))}


def blazepose() -> dict[str, Output]:
    """MediaPipe's outputs: 39 landmarks of five numbers, whether a person is there, and a mask."""
    rows = np.zeros((39, 5), np.float32)
    rows[:33, :2] = place_joints("blazepose33")
    rows[:33, 3] = np.log(0.9 / 0.1)
    return {
        "mask": Output(np.zeros((1, *SIZE[::-1], 1), np.float32)),
        "landmarks": Output(rows.reshape(1, -1)),
        "flag": Output(np.ones((1, 1), np.float32)),
    }
