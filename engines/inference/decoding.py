"""A network's outputs as points in its crop: whatever the Signature says they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import Signature
from engines.spec.tensors import Array
from engines.vision import heatmaps, simcc


def decode(signature: Signature, outputs: Sequence[Array]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Index coordinates in the crop (N, K, 2) px and scores (N, K), as the network gave them."""
    if signature.decode == "simcc":
        return simcc.decode(outputs[0], outputs[1], signature.simcc_split)
    if signature.decode == "points":
        points = np.asarray(outputs[0], np.float32)
        return points[..., :2].astype(np.float64), points[..., 2]
    maps = np.asarray(outputs[0], np.float32)
    dark = signature.decode == "heatmap-dark"
    cells, scores = heatmaps.decode_dark(maps, signature.blur_px) if dark else heatmaps.decode(maps)
    width, height = signature.input_size
    stride = (width / maps.shape[3], height / maps.shape[2])
    return heatmaps.cells_to_crop(cells, stride, signature.cell), scores
