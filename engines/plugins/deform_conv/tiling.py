"""How the matrix product is divided: K = dilation × kernel point × channel runs in stages of ``depth`` rows.

Two ways to gather, chosen by how many channels share a sampling point:

* *direct*: NCHW and at most four channels to an offset group. A thread computes a point and reads its channels at once;
  a stage is ``pairs`` consecutive (kernel point, offset group) pairs. There is nothing to reuse, so nothing is stored.
* *table*: a stage is one kernel point and ``chunk`` channels. Points are computed once into shared memory, and read by
  every thread that gathers a vector of channels of that group.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from engines.errors import EngineError

# What a block has by default; TensorRT's ahead-of-time plugins cannot request more.
SHARED_LIMIT = 48 * 1024
MAX_OUT_TILE = 128
DIRECT_CHANNELS = 4


class Convolution(Protocol):
    """The fields a tiling depends on, of :class:`~engines.plugins.deform_conv.spec.DeformConvSpec`."""

    @property
    def channels(self) -> int: ...

    @property
    def dtype(self) -> str: ...

    @property
    def layout(self) -> str: ...

    @property
    def offset_groups(self) -> int: ...

    @property
    def out_channels(self) -> int: ...

    @property
    def points(self) -> int: ...

    @property
    def threads(self) -> int: ...

    @property
    def tile(self) -> int: ...


class Tiling(NamedTuple):
    """Compile-time numbers of a kernel. ``depth`` is ``values`` padded to what the matrix units take."""

    direct: bool
    vector: int
    """channels one gathered item holds"""
    values: int
    """rows of K that a stage fills: chunk, or pairs × channels of a group"""
    depth: int
    stages_per_round: int
    table_groups: int
    """most offset groups that the channels of a stage touch; 0 without a table"""
    out_tile: int
    out_tiles: int
    shared_bytes: int
    blocks: int = 3
    """blocks of 256 threads for which a multiprocessor must have registers"""


def ceil_to(value: int, unit: int) -> int:
    """``value`` rounded up to a multiple of ``unit``."""
    return -(-value // unit) * unit


def element_bytes(spec: Convolution) -> int:
    """Bytes of an element of ``x``, the weights and the result."""
    return 4 if spec.dtype == "fp32" else 2


def choose_tiling(spec: Convolution) -> Tiling:
    """The tiling for ``spec``; raises ``EngineError`` if no stage fits into shared memory."""
    group = spec.channels // spec.offset_groups
    direct = spec.layout == "nchw" and group <= DIRECT_CHANNELS
    tiling = _make_direct(spec) if direct else _make_table(spec)
    if tiling is None or tiling.shared_bytes > SHARED_LIMIT:
        raise EngineError(
            f"deform_conv: {spec.channels} to {spec.out_channels} channels in tiles of {spec.tile} pixels need more "
            f"than the {SHARED_LIMIT} bytes of shared memory a block has; give a smaller tile"
        )
    return tiling


def _tile_outputs(spec: Convolution) -> tuple[int, int]:
    """Output channels of a block, and how many such tiles there are."""
    warps = spec.threads // 32
    columns = warps // min(spec.tile // 16, warps)
    unit = spec.threads * 4 // spec.tile if spec.dtype == "fp32" else 8 * columns
    tile = min(ceil_to(spec.out_channels, unit), MAX_OUT_TILE)
    return tile, -(-spec.out_channels // tile)


def _make_direct(spec: Convolution) -> Tiling:
    group = spec.channels // spec.offset_groups
    # Four points in flight per thread; two if their channels would take too many registers.
    flight = 4 if group < 3 else 2
    pairs = flight * spec.threads // spec.tile
    stages = -(-spec.points * spec.offset_groups // pairs)
    depth = _depth(spec, pairs * group)
    return _with_shared(spec, Tiling(True, group, pairs * group, depth, stages, 0, *_tile_outputs(spec), 0))


def _make_table(spec: Convolution) -> Tiling | None:
    """The largest stages that fit."""
    vector = _vector(spec)
    limits = (64, 32, 16, 8) if spec.layout == "nhwc" and spec.dtype != "fp32" else (32, 16, 8)
    if spec.dtype == "fp32":
        limits = (16, 8, 4)
    for limit in limits:
        tiling = _table_within(spec, vector, limit)
        if tiling is not None and tiling.shared_bytes <= SHARED_LIMIT:
            return tiling
    return None


def _vector(spec: Convolution) -> int:
    """Neighbouring channels read by one load of at most 16 bytes."""
    if spec.layout == "nchw":
        return 1
    group = spec.channels // spec.offset_groups
    return next(v for v in (8, 4, 2, 1) if group % v == 0 and v * element_bytes(spec) <= 16)


def _table_within(spec: Convolution, vector: int, limit: int) -> Tiling | None:
    """Stages of at most ``limit`` channels, padded as little as can be, then as few as can be."""
    group = spec.channels // spec.offset_groups
    sizes = range(vector, min(limit, spec.channels) + 1, vector)
    whole = [s for s in sizes if spec.offset_groups == 1 or s % group == 0 or group % s == 0]
    if not whole:
        return None

    def cost(chunk: int) -> tuple[int, int]:
        stages = -(-spec.channels // chunk)
        return stages * _depth(spec, chunk), stages

    chunk = min(whole, key=cost)
    stages = -(-spec.channels // chunk)
    groups = max(1, chunk // group)
    tiling = Tiling(False, vector, chunk, _depth(spec, chunk), stages * spec.points, groups, *_tile_outputs(spec), 0)
    return _with_shared(spec, tiling)


def _depth(spec: Convolution, values: int) -> int:
    """Tensor cores take 16 rows of K at once; each thread of the NCHW gather takes an equal share of a stage."""
    share = spec.threads // spec.tile
    return ceil_to(values, max(4, share) if spec.dtype == "fp32" else 16)


def shared_parts(spec: Convolution, tiling: Tiling) -> dict[str, int]:
    """Bytes of one buffer of each kind; every kind has two. The kernel computes the same sums."""
    size = element_bytes(spec)
    if spec.dtype == "fp32":
        gathered = tiling.depth * (spec.tile + 4) * size
    else:
        gathered = spec.tile * (tiling.depth + 8) * size
    weights = tiling.depth * tiling.out_tile * size
    # An odd pitch avoids bank conflicts of both the writers (by pixel) and the readers (by group).
    entries = spec.tile * (tiling.table_groups | 1) if tiling.table_groups else 0
    return {"gathered": gathered, "weights": weights, "table": ceil_to(entries * (4 + 4 * size), 16)}


def result_bytes(spec: Convolution, tiling: Tiling) -> int:
    """The results of a block, channel by channel, so that they are written in whole rows of pixels."""
    size = element_bytes(spec)
    return tiling.out_tile * (spec.tile + 16 // size) * size


def _with_shared(spec: Convolution, tiling: Tiling) -> Tiling:
    total = max(2 * sum(shared_parts(spec, tiling).values()), result_bytes(spec, tiling))
    return tiling._replace(shared_bytes=total, blocks=_blocks(spec, tiling))


def _blocks(spec: Convolution, tiling: Tiling) -> int:
    """As many as compile without spilling: three of 256 threads, two if a thread holds many registers."""
    sums = tiling.out_tile * spec.tile // spec.threads
    full = 2 if sums > 16 or _are_corners_large(spec, tiling) else 3
    return full * 256 // spec.threads


def _are_corners_large(spec: Convolution, tiling: Tiling) -> bool:
    """Whether the four corners of what a thread gathers at once take many registers. Bounds found by compiling."""
    gathered = tiling.values if tiling.direct or spec.layout == "nhwc" else tiling.depth
    channels = -(-gathered // tiling.vector * spec.tile // spec.threads) * tiling.vector
    paired = spec.layout == "nhwc" and spec.dtype != "fp32" and tiling.vector > 1
    single = 4 * channels >= 20 or (tiling.direct and spec.dtype == "fp32")
    return 2 * channels > 32 if paired else single
