"""How far the graphs differ from PyTorch in float32 on the same crops: each export measures it and has a bound.

There are three comparisons. ``fused``: the whole-window graph against the network in PyTorch, prepared and decoded by
``engines`` outside the graph. ``head``: the same for backbone, a frame at a time, and head, through the feature cache
that a pipeline uses. ``backbone``: those two graphs against the fused one.

A keypoint is where a heatmap is highest, so between two equally high cells it may jump however small the difference of
the maps. Shifts are therefore measured on *clear* keypoints: those whose peak is higher than anything beyond its
neighbouring cells by more than twice the largest difference of the same map, so that no other cell can exceed it. The
manifest gives their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.backends.base import FeatureCache
from engines.backends.registry import make_backend, make_feature_cache
from engines.errors import EngineError
from engines.inference.decoding import decode
from engines.inference.side_by_side import SideBySide
from engines.models.temporal import TemporalModel
from engines.spec.manifest import Parity, Part, Precision
from engines.spec.signature import Signature
from export.calibration import Samples, normalise

Floats = NDArray[np.float32]
RUNNER = "ONNX Runtime on the CPU"
ROUNDED_NOTE = " (float16 rounded as a GPU does)"


@dataclass(frozen=True)
class Bound:
    """The largest differences allowed: see :class:`engines.spec.manifest.Parity`."""

    heatmap_error: float
    shift_px: float


HALF_CELLS_PX = 3.0
"""Of two equally high neighbouring cells either may win; each is moved a quarter towards the other, so half a cell in x
and in y is 2.8 px at the four pixels per cell of all networks here."""

BOUNDS: dict[Precision, Bound] = {
    # Rounding of float32 in another order of addition. A network that samples at computed positions amplifies it, more
    # so with less smooth maps: the largest with random weights was 1.1e-3 (FaSRnet, 48 channels); with trained weights
    # it differs from itself in float64 by 1.1e-5. A wrong border rule or weight gives 1e-2 and more.
    "fp32": Bound(2e-3, HALF_CELLS_PX),
    # 11 bits per number through some 300 layers; float32 where sampling is computed. The largest error of two trained
    # networks was 0.017 (docs/explanation/precision.md); the papers' are six times as deep.
    "fp16": Bound(1e-1, 2 * HALF_CELLS_PX),
    # 8 bits per number: 0.19 with the same two. A wrong scale gives errors as large as the map itself.
    "int8": Bound(5e-1, 4 * HALF_CELLS_PX),
}

RANDOM_FACTOR = 3.0
"""Factor on the bound of heatmaps below fp32 for random weights: their maps are as uneven as noise, and sampling at
random positions amplifies errors. Seen: fp16 0.15 (FaSRnet), 0.11 (DCPose), 0.03 (FAMI-Pose), int8 0.6 (the last)."""


def get_bound(precision: Precision, *, random: bool = False) -> Bound:
    """The bound of an export in ``precision``, which is larger for ``random`` weights below fp32."""
    bound = BOUNDS[precision]
    return Bound(RANDOM_FACTOR * bound.heatmap_error, bound.shift_px) if random and precision != "fp32" else bound


@dataclass(frozen=True)
class Outcome:
    """Results for M windows: ``heatmaps`` (M, K, h, w) and ``points`` (M, K, 3)."""

    heatmaps: Floats
    points: Floats


@dataclass(frozen=True)
class Difference:
    """The difference of two outcomes, as in :class:`engines.spec.manifest.Parity`; ``clear`` of ``keypoints`` count."""

    heatmap_error: float
    shift_px_max: float
    shift_px_mean: float
    clear: int
    keypoints: int


def run_pytorch(model: nn.Module, signature: Signature, samples: Samples) -> Outcome:
    """The reference: PyTorch in float32, a window at a time, prepared and decoded by ``engines`` outside the graph."""
    rows = []
    with torch.no_grad():
        for window in samples.crops:
            planes = torch.from_numpy(normalise(window[None], signature))
            rows.append(model(planes if isinstance(model, TemporalModel) else planes[:, 0]).numpy())
    return decode_heatmaps(np.concatenate(rows), signature)


def decode_heatmaps(heatmaps: Floats, signature: Signature) -> Outcome:
    """Heatmaps with the points that ``engines`` finds in them, by ``signature.notes['decoding']``."""
    how = "heatmap-dark" if signature.notes.get("decoding") == "dark" else "heatmap"
    positions, scores = decode(msgspec.structs.replace(signature, decode=how), [heatmaps])
    return Outcome(heatmaps, np.concatenate([positions, scores[..., None]], axis=2, dtype=np.float32))


def run_fused(folder: Path, name: str, signature: Signature, samples: Samples, threads: int) -> Outcome:
    """The fused graph on windows in batches of different sizes."""
    backend = make_backend(folder / name, "onnxrt:cpu", threads)
    backend.open()
    side_by_side = SideBySide()
    side_by_side.open(backend.describe().side_by_side)
    try:
        return _run_in_batches(lambda crops: backend.run({"crops": crops}), samples.inputs(signature), side_by_side)
    finally:
        side_by_side.close()
        backend.close()


def run_split(
    folder: Path, names: tuple[str, str], signature: Signature, samples: Samples, threads: int, batch: int = 3
) -> Outcome:
    """Backbone, frame by frame, and head, through a feature cache."""
    cache = make_feature_cache(
        folder / names[0], folder / names[1], batch * signature.frames, name="onnxrt:cpu", threads=threads
    )
    cache.open()
    try:
        return _run_in_batches(lambda crops: _store_and_read(cache, crops), samples.inputs(signature), batch=batch)
    finally:
        cache.close()


def _store_and_read(cache: FeatureCache, crops: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    people, frames = crops.shape[:2]
    slots = np.arange(people * frames, dtype=np.intp).reshape(people, frames)
    for t in range(frames):
        cache.store(slots[:, t], np.ascontiguousarray(crops[:, t]))
    return cache.read(slots)


def _run_in_batches(
    run: Callable[[NDArray[np.generic]], dict[str, NDArray[np.generic]]],
    inputs: NDArray[np.generic],
    side_by_side: SideBySide | None = None,
    *,
    batch: int = 3,
) -> Outcome:
    """Half of them in batches, the others one by one, so that a graph with a fixed batch fails."""
    together = len(inputs) // 2 // batch * batch
    batches = [*np.split(inputs[:together], together // batch)] if together else []
    batches += np.split(inputs[together:], len(inputs) - together)
    outputs = (side_by_side or SideBySide()).map(run, map(np.ascontiguousarray, batches))
    heatmaps, points = (
        np.concatenate([np.asarray(output[name], np.float32) for output in outputs]) for name in ("heatmaps", "points")
    )
    return Outcome(heatmaps, points)


def compare(reference: Outcome, other: Outcome) -> Difference:
    """How far ``other`` differs from ``reference``."""
    errors = np.abs(other.heatmaps - reference.heatmaps)
    if not np.isfinite(errors).all():
        return Difference(float("inf"), float("inf"), float("inf"), 0, reference.points[..., 0].size)
    is_clear = find_clear(reference.heatmaps, errors.max(axis=(2, 3)))
    shifts = np.linalg.norm(other.points[..., :2] - reference.points[..., :2], axis=2)[is_clear]
    largest = float(np.abs(reference.heatmaps).max()) or 1.0
    return Difference(
        heatmap_error=float(errors.max()) / largest,
        shift_px_max=float(shifts.max(initial=0)),
        shift_px_mean=float(shifts.mean()) if shifts.size else 0.0,
        clear=int(is_clear.sum()),
        keypoints=is_clear.size,
    )


def find_clear(heatmaps: Floats, errors: Floats) -> NDArray[np.bool_]:
    """(M, K): whether the peak exceeds 0 by ``errors`` (M, K), and all cells beyond its neighbours by twice that."""
    people, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(people, joints, -1)
    best = flat.argmax(axis=2)
    peak = flat.max(axis=2)
    peaks = np.zeros((people * joints, height, width), np.uint8)
    peaks[np.arange(people * joints), best.ravel() // width, best.ravel() % width] = 1
    near = np.stack([cv2.dilate(mark, np.ones((3, 3), np.uint8)) for mark in peaks]).astype(bool)
    elsewhere = np.where(near.reshape(heatmaps.shape), -np.inf, heatmaps).max(axis=(2, 3))
    is_clear: NDArray[np.bool_] = (peak - elsewhere > 2 * errors) & (peak > errors)
    return is_clear


def summarise(
    reference: Outcome,
    other: Outcome,
    names: tuple[str, str],
    samples: Samples,
    precision: Precision,
    *,
    random: bool = False,
) -> Parity:
    """The difference of two outcomes for the manifest; ``names`` describe them, ``random`` their weights."""
    found, bound = compare(reference, other), get_bound(precision, random=random)
    return Parity(
        reference=names[0],
        runner=f"{names[1]} in {RUNNER}{ROUNDED_NOTE if precision != 'fp32' else ''}",
        inputs=f"{samples.description}; {_describe_clear(found)}",
        windows=len(samples.crops),
        heatmap_error=found.heatmap_error,
        shift_px_max=found.shift_px_max,
        shift_px_mean=found.shift_px_mean,
        bound_heatmap=bound.heatmap_error,
        bound_px=bound.shift_px,
    )


def _describe_clear(found: Difference) -> str:
    if not found.clear:
        return f"0 of {found.keypoints} keypoints are clear, so no shift was measured"
    return f"{found.clear} of {found.keypoints} keypoints are clear"


def check(name: str, part: Part, parity: Parity) -> None:
    """Raise :class:`EngineError` with the figures if a bound is exceeded."""
    if parity.heatmap_error > parity.bound_heatmap or parity.shift_px_max > parity.bound_px:
        raise EngineError(
            f"export of {name!r}: {part} by {parity.runner} differs from {parity.reference} by "
            f"{parity.heatmap_error:.1e} of the largest heatmap value (bound {parity.bound_heatmap:.0e}), keypoints by "
            f"{parity.shift_px_max:.2f} px (bound {parity.bound_px:g}) on {parity.inputs}; nothing was written"
        )
