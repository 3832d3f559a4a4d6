"""Decoding of a network's outputs, of any type in the Signature, to points in the crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import Signature
from engines.spec.tensors import Array
from engines.vision import heatmaps, simcc


def decode(signature: Signature, outputs: Sequence[Array]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points (N, K, 2) px in index coordinates of the crop, and unclipped scores (N, K).

    ``outputs`` are in the order of the Signature; their shapes are in :class:`engines.spec.signature.Signature`.
    """
    if signature.decode == "simcc":
        return simcc.decode(outputs[0], outputs[1], signature.simcc_split)
    if signature.decode == "points":
        points = np.asarray(outputs[0], np.float32)
        return points[..., :2].astype(np.float64), points[..., 2]
    maps = np.asarray(outputs[0], np.float32)
    is_dark = signature.decode == "heatmap-dark"
    cells, scores = heatmaps.decode_dark(maps, signature.blur_px) if is_dark else heatmaps.decode(maps)
    width, height = signature.input_size
    stride = (width / maps.shape[3], height / maps.shape[2])
    return heatmaps.cells_to_crop(cells, stride, signature.cell), scores
