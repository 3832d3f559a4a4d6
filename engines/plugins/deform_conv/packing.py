"""Weights in the order in which the kernel reads them: straight copies, no shuffling on the device.

The matrix is (K, O): a row for each (dilation, stage, row of the stage). For tensor cores it lies in fragments of
16 × 8: lane ``l`` of a warp holds column ``l // 4`` and rows ``2·(l % 4) + {0, 1, 8, 9}``, which is the B operand of
``mma.m16n8k16`` (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type"); for fp32 it is row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.plugins.deform_conv.spec import DeformConvSpec


def k_rows(spec: DeformConvSpec) -> NDArray[np.int64]:
    """(rounds · stages · depth,) index of each row of K into (dilation, channel, point), or -1 for padding."""
    tiling = spec.tiling
    row = np.arange(tiling.stages_per_round * tiling.depth)
    stage, inner = row // tiling.depth, row % tiling.depth
    if tiling.direct:
        flat = stage * tiling.values + inner  # (point, channel), one after the other
        point, channel = flat // spec.channels, flat % spec.channels
    else:
        chunks = tiling.stages_per_round // spec.points
        point, channel = stage // chunks, stage % chunks * tiling.values + inner
    real = (inner < tiling.values) & (point < spec.points) & (channel < spec.channels)
    once = np.where(real, channel * spec.points + point, -1)
    step = spec.channels * spec.points
    return np.concatenate([np.where(once < 0, -1, once + r * step) for r in range(spec.rounds)])


@lru_cache(maxsize=64)
def pack_indices(spec: DeformConvSpec) -> NDArray[np.int64]:
    """The index of each packed number in the weights, flattened as (dilation, O, C, kh, kw), with one zero after."""
    tiling = spec.tiling
    size = spec.channels * spec.points
    rows = k_rows(spec)
    columns = np.arange(tiling.out_tiles * tiling.out_tile)
    r, inner = np.divmod(np.maximum(rows, 0), size)
    index = (r * spec.out_channels * size + inner)[:, None] + columns[None] * size
    zero = spec.rounds * spec.out_channels * size
    matrix = np.where((rows >= 0)[:, None] & (columns < spec.out_channels)[None], index, zero)
    by_tile = matrix.reshape(-1, tiling.depth, tiling.out_tiles, tiling.out_tile).transpose(2, 0, 1, 3)
    return (by_tile if spec.dtype == "fp32" else _fragments(by_tile)).reshape(-1)


def _fragments(by_tile: NDArray[np.int64]) -> NDArray[np.int64]:
    """(tiles, stages, depth, out) to (tiles, stages, depth / 16, out / 8, lane, 4)."""
    tiles, stages, depth, out = by_tile.shape
    # rows of a fragment: half (0 or 8), quad (0, 2, 4, 6), 0 or 1; columns: 0 to 7
    blocks = by_tile.reshape(tiles, stages, depth // 16, 2, 4, 2, out // 8, 8)
    return np.ascontiguousarray(blocks.transpose(0, 1, 2, 6, 7, 4, 3, 5))


def pack_weights(spec: DeformConvSpec, weights: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """``weights``, one (O, C, kh, kw) to a dilation, as the kernel's flat matrix, fp32 or fp16.

    NumPy has no bf16: use ``torch_cuda.pack_weights`` for that. Raises ``EngineError`` for a wrong shape.
    """
    check_weights(spec, [tuple(w.shape) for w in weights])
    if spec.dtype == "bf16":
        raise EngineError("deform_conv: numpy has no bf16; pack the weights with torch_cuda.pack_weights")
    dtype = np.float16 if spec.dtype == "fp16" else np.float32
    flat = np.concatenate([*(w.astype(dtype).reshape(-1) for w in weights), np.zeros(1, dtype)])
    return np.asarray(flat[pack_indices(spec)])


def pack_bias(spec: DeformConvSpec, biases: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """The sum of the biases (O,) of all dilations, fp32; zeros without biases."""
    start = np.zeros(spec.out_channels, np.float32)
    return sum((b.astype(np.float32) for b in biases), start=start)


def check_weights(spec: DeformConvSpec, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise ``EngineError`` unless there is one weight (O, C, kh, kw) for each dilation."""
    wanted = (spec.out_channels, spec.channels, *spec.kernel)
    if len(shapes) != spec.rounds or any(shape != wanted for shape in shapes):
        raise EngineError(
            f"deform_conv: weights of shapes {list(shapes)}, dilations {spec.dilations} need one {wanted} each; "
            "this kernel supports one weight group only"
        )
