"""The recipe that fills weights and inputs of the golden files (``../shared/models/goldens.md``), and their reader."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_SHARED_SCALES = [(r"(^|\.)(layer1|branches|fuse_layers)\..*\.weight$", 0.4, True)]
SCALES: dict[str, list[tuple[str, float, bool]]] = {
    "exact": [],
    "hrnet": _SHARED_SCALES,
    "dcpose": [
        *_SHARED_SCALES,
        (r"^offsets_list\.\d+\.0\.weight$", 0.07, False),
        (r"^masks_list\.\d+\.0\.weight$", 0.02, False),
    ],
    "fasrnet": [
        *_SHARED_SCALES,
        (r"\.conv_offset_mask\.(weight|bias)$", 0.4, False),
        (r"^hm_improve\.offsets_list\.0\.0\.weight$", 0.02, False),
        (r"^hm_improve\.masks_list\.0\.0\.weight$", 0.01, False),
    ],
    "fami": [
        *_SHARED_SCALES,
        (r"^feat_global_offset_layers\.9\.weight$", 4.0, False),
        (r"^dcn_offset_1\.conv\.weight$", 0.3, False),
        (r"^dcn_offset_2\.conv\.weight$", 0.7, False),
        (r"^dcn_mask_1\.conv\.weight$", 0.05, False),
        (r"^dcn_mask_2\.conv\.weight$", 0.15, False),
        (r"^dcn_mask_[34]\.conv\.weight$", 0.3, False),
    ],
    "posewarper": [
        *_SHARED_SCALES,
        (r"^offset_feats\.\d+\.bn2\.weight$", 0.3, False),
        (r"^offsets\d\.weight$", 0.1, False),
    ],
}


def draw(key: str, shape: tuple[int, ...], scales: list[tuple[str, float, bool]]) -> NDArray[Any]:
    """The value of one entry of a state dict, by the recipe's first rule that matches its key."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    n = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    if key.endswith("running_mean"):
        value = 0.1 * n
    elif key.endswith("running_var"):
        value = 1 + 0.2 * np.abs(n)
    elif key.endswith("bias"):
        value = 0.05 * n
    elif len(shape) >= 2:
        value = n * np.sqrt(2 / np.prod(shape[1:]))
    else:
        value = 1 + 0.1 * n
    for pattern, factor, one_dimensional in scales:
        if re.search(pattern, key) and (len(shape) == 1 or not one_dimensional):
            value = value * factor
    return np.asarray(value, np.float32)


def state_dict(folder: Path, keys: str, scales: str) -> dict[str, torch.Tensor]:
    """A filled state dict under the published keys of ``keys_<keys>.json``."""
    shapes: Mapping[str, list[int]] = json.loads((folder / f"keys_{keys}.json").read_text())
    return {key: torch.from_numpy(np.asarray(draw(key, tuple(shape), SCALES[scales]))) for key, shape in shapes.items()}


def crops(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """The standard normal float32 input of a golden file."""
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32))


def relative_error(mine: torch.Tensor, golden: NDArray[Any]) -> float:
    """max |ours - golden| / max |golden|."""
    return float(np.abs(mine.detach().numpy() - golden).max() / np.abs(golden).max())
