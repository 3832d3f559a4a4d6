"""Decoding of a network's outputs, of any type in the Signature, to points in the crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import Signature
from engines.spec.tensors import Array
from engines.vision import heatmaps, simcc
from engines.vision.crop import HALF_PIXEL

BLAZEPOSE_COLUMNS = 5
"""MediaPipe's landmark: x px, y px, z, and logits of its visibility and of its presence."""

Decoded = tuple[NDArray[np.float64], NDArray[np.float32]]


def decode(signature: Signature, outputs: Sequence[Array]) -> Decoded:
    """Points (N, K, 2) px in index coordinates of the crop, and unclipped scores (N, K).

    ``outputs`` are in the order of the Signature; their shapes are in :class:`engines.spec.signature.Signature`.
    """
    floats = [np.asarray(output, np.float32) for output in outputs]
    if signature.decode == "simcc":
        return simcc.decode(floats[0], floats[1], signature.simcc_split)
    if signature.decode == "points":
        return _decode_points(signature, floats)
    if signature.decode == "blazepose":
        return _decode_blazepose(signature, floats[0])
    maps = to_channels_first(floats[0], len(signature.joints))
    is_dark = signature.decode == "heatmap-dark"
    cells, scores = heatmaps.decode_dark(maps, signature.blur_px) if is_dark else heatmaps.decode(maps)
    width, height = signature.input_size
    stride = (width / maps.shape[3], height / maps.shape[2])
    return heatmaps.cells_to_crop(cells, stride, signature.cell), scores


def to_channels_first(maps: NDArray[np.float32], joints: int) -> NDArray[np.float32]:
    """Heatmaps (N, K, h, w), from these or from (N, h, w, K)."""
    is_last = maps.shape[1] != joints and maps.shape[3] == joints
    return np.ascontiguousarray(np.moveaxis(maps, 3, 1)) if is_last else maps


def _decode_points(signature: Signature, outputs: Sequence[NDArray[np.float32]]) -> Decoded:
    """Points of any axes and units; scores in the third column, in another output, or 1."""
    joints = len(signature.joints)
    rows = outputs[0].reshape(len(outputs[0]), joints, -1)
    points = rows[..., :2].astype(np.float64)
    if signature.axes == "yx":
        points = points[..., ::-1]
    if signature.units == "fractions":  # continuous: the middle of the first pixel is half of one
        points = points * signature.input_size - HALF_PIXEL
    if rows.shape[2] > 2:
        return points, rows[..., 2]
    scores = outputs[1].reshape(len(rows), joints) if len(outputs) > 1 else np.ones(rows.shape[:2], np.float32)
    return points, scores


def _decode_blazepose(signature: Signature, landmarks: NDArray[np.float32]) -> Decoded:
    """The first K landmarks; their score is the visibility. The others help to crop the next frame."""
    rows = landmarks.reshape(len(landmarks), -1, BLAZEPOSE_COLUMNS)[:, : len(signature.joints)]
    visibility = np.clip(rows[..., 3], -60, 60)
    return rows[..., :2].astype(np.float64), np.asarray(1 / (1 + np.exp(-visibility)), np.float32)
