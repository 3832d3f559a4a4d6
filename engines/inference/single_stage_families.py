"""Families of single-stage pose networks that others export, and decoding of their outputs.

* ``yolo-pose``: (N, 5 + 3 K, cells), or the last two exchanged: centre and size px, score, and x px, y px, score of
  each joint (YOLOv8-pose, YOLO11-pose). In this family and the next, all in pixels or, in TFLite files, in fractions.
* ``yolo-pose-end-to-end``: (N, n, 6 + 3 K): corners px, score, class, joints (YOLO26-pose).
* ``movenet-multipose``: (N, n, 3 K + 5): y, x, score of each joint, then y, x, y, x of the corners, and score, in
  fractions of the input's size (MoveNet MultiPose).
* ``rtmo``: ``dets`` (N, n, 5), corners px and score, and ``keypoints`` (N, n, K, 3) (RTMO, by mmdeploy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.inference.detector_families import WHITE, Outputs, Preprocessing, Size, count_cells, orient_rows
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Units
from engines.vision.crop import HALF_PIXEL

Floats = NDArray[np.float32]

MOST_FRACTION = 2.0
"""Coordinates up to this are shares of the input's size."""


class Candidates(NamedTuple):
    """Of N pictures, M candidates each: ``points`` (N, M, K, 3), ``scores`` (N, M) and ``boxes`` (N, M, 4), px."""

    points: Floats
    scores: Floats
    boxes: Floats


@dataclass(frozen=True)
class PeopleFamily:
    """``decode`` takes the outputs and the (width, height) px of the input; ``count_joints`` the first picture's.

    ``has_units`` if coordinates may be in fractions of the input's size, which the boxes tell; else they are px.
    """

    decode: Callable[[Outputs, Size], Candidates]
    count_joints: Callable[[Outputs, Size], int | None]
    preprocessing: tuple[Preprocessing, ...]
    has_units: bool = False

    def find_units(self, outputs: Outputs, size: Size) -> Units:
        """Fractions of the input's size, if no box exceeds the input by its size; else pixels."""
        boxes = self.decode(outputs, size).boxes if self.has_units else np.zeros(0)
        finite = np.abs(boxes[np.isfinite(boxes)])
        return "fractions" if finite.size and 0 < float(finite.max()) <= MOST_FRACTION else "pixels"

    def read(self, outputs: Outputs, size: Size, units: Units) -> Candidates:
        """As ``decode``, in pixels of the input."""
        found = self.decode(outputs, size)
        if units == "pixels":
            return found
        scale = np.array(size, np.float32)
        points = np.concatenate([found.points[..., :2] * scale, found.points[..., 2:]], axis=3)
        return Candidates(points, found.scores, found.boxes * np.tile(scale, 2))


def _decode_yolo(outputs: Outputs, size: Size) -> Candidates:
    table = _get_table(outputs)
    rows = np.stack([orient_rows(one, size) for one in table])
    centres, half = rows[..., :2], rows[..., 2:4] / 2
    boxes = np.concatenate([centres - half, centres + half], axis=2)
    return Candidates(_to_points(rows[..., 5:]), rows[..., 4], boxes)


def _decode_end_to_end(outputs: Outputs, size: Size) -> Candidates:  # noqa: ARG001
    rows = _get_table(outputs)
    return Candidates(_to_points(rows[..., 6:]), np.where(rows[..., 5] == 0, rows[..., 4], 0), rows[..., :4])


def _decode_rtmo(outputs: Outputs, size: Size) -> Candidates:  # noqa: ARG001
    dets = next(array for array in outputs.values() if array.ndim == 3).astype(np.float32)
    points = next(array for array in outputs.values() if array.ndim == 4).astype(np.float32)
    return Candidates(points, dets[..., 4], dets[..., :4])


def _decode_multipose(outputs: Outputs, size: Size) -> Candidates:
    rows = _get_table(outputs)
    points = _to_points(rows[..., :-5])[..., [1, 0, 2]]
    points[..., :2] -= HALF_PIXEL / np.array(size, np.float32)  # continuous: half a pixel is the middle of the first
    return Candidates(points, rows[..., -1], rows[..., [-4, -5, -2, -3]])


def _get_table(outputs: Outputs) -> Floats:
    return np.asarray(next(iter(outputs.values())), np.float32)


def _to_points(columns: Floats) -> Floats:
    return columns.reshape(*columns.shape[:2], -1, 3)


def _count_yolo(outputs: Outputs, size: Size) -> int | None:
    if not _is_table(outputs):
        return None
    rows = orient_rows(_get_table(outputs)[0], size)
    return _count_columns(rows, 5) if _is_probable(rows[:, 4]) else None


def _count_end_to_end(outputs: Outputs, size: Size) -> int | None:
    if not _is_table(outputs) or _get_table(outputs).shape[2] in count_cells(size):
        return None
    rows = _get_table(outputs)[0]
    is_class = rows.shape[1] > 6 and bool((rows[:, 5] == np.rint(rows[:, 5])).all())
    return _count_columns(rows, 6) if is_class and _is_probable(rows[:, 4]) else None


def _count_multipose(outputs: Outputs, size: Size) -> int | None:
    if not _is_table(outputs) or _get_table(outputs).shape[1] in count_cells(size):
        return None
    rows = _get_table(outputs)[0]
    is_fraction = float(np.abs(rows).max(initial=0)) <= MOST_FRACTION
    return _count_columns(rows, 5) if is_fraction and _is_probable(rows[:, -1]) else None


def _count_rtmo(outputs: Outputs, size: Size) -> int | None:  # noqa: ARG001
    shapes = sorted((array.shape for array in outputs.values()), key=len)
    if [len(shape) for shape in shapes] != [3, 4] or shapes[0][-1] != 5 or shapes[1][-1] != 3:
        return None
    return shapes[1][2] if shapes[0][:2] == shapes[1][:2] else None


def _is_table(outputs: Outputs) -> bool:
    return len(outputs) == 1 and next(iter(outputs.values())).ndim == 3


def _count_columns(rows: Floats, before: int) -> int | None:
    """K, if ``before`` columns are followed by three for each of K joints."""
    joints, rest = divmod(rows.shape[1] - before, 3)
    return joints if joints > 0 and rest == 0 else None


def _is_probable(scores: Floats) -> bool:
    return bool(((scores >= -1e-3) & (scores <= 1 + 1e-3)).all())


_YOLO = Preprocessing("centre", 114, "rgb", std=WHITE)
_RTMO = Preprocessing("top-left", 114, "bgr")
_MULTIPOSE = Preprocessing("centre", 0, "rgb")
_UNIT = Preprocessing("centre", 0, "rgb", std=WHITE)
_NORMALISED = Preprocessing("top-left", 114, "rgb", IMAGENET_MEAN, IMAGENET_STD)

FAMILIES: Mapping[str, PeopleFamily] = {
    "yolo-pose": PeopleFamily(_decode_yolo, _count_yolo, (_YOLO, _RTMO, _NORMALISED), has_units=True),
    "yolo-pose-end-to-end": PeopleFamily(
        _decode_end_to_end, _count_end_to_end, (_YOLO, _RTMO, _NORMALISED), has_units=True
    ),
    "movenet-multipose": PeopleFamily(_decode_multipose, _count_multipose, (_MULTIPOSE, _UNIT), has_units=True),
    "rtmo": PeopleFamily(_decode_rtmo, _count_rtmo, (_RTMO, _NORMALISED, _YOLO)),
}
