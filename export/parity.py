"""How far the graphs are from PyTorch in float32 on the same crops: each export measures it and fails beyond a bound.

Three accounts. ``fused``: the whole-window graph against the network in PyTorch, prepared and decoded by ``engines``
outside the graph. ``head``: the same for backbone, a frame at a time, and head, through the feature ring that a line
uses. ``backbone``: those two graphs against the fused one.

A keypoint is where a heatmap is highest, so where two places are equally high it may jump from one to the other,
however small the difference of the maps. Shifts are therefore measured on *clear* keypoints: those whose peak stands
higher than anything beyond its neighbouring cells by more than twice the largest difference of this very map, so that
no other place can have overtaken it. How many are clear is told.
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
from engines.models.temporal import TemporalModel
from engines.spec.manifest import Parity, Part, Precision
from engines.spec.signature import Signature
from export.calibration import Samples, normalised

Floats = NDArray[np.float32]
RUNNER = "ONNX Runtime on the CPU"
ROUNDED = " (float16 rounded as a GPU does)"


@dataclass(frozen=True)
class Bound:
    """What an export promises: see :class:`engines.spec.manifest.Parity`."""

    heatmap_error: float
    shift_px: float


HALF_CELLS_PX = 3.0
"""Where two neighbouring cells are equally high, either may win; each is moved a quarter towards the other, so half a
cell apart in x and in y is 2.8 px at the four pixels a cell that all networks here have."""

BOUNDS: dict[Precision, Bound] = {
    # Rounding of float32 in another order of addition. A network that samples at places it computes amplifies it, and
    # the more, the less smooth its maps: 1.1e-3 is the most that random weights show (FaSRnet, 48 channels); with
    # weights of a recipe it differs from itself in float64 by 1.1e-5. What is wrong, a border rule or a weight, shows
    # as 1e-2 and more.
    "fp32": Bound(2e-3, HALF_CELLS_PX),
    # 11 bits a number through some 300 layers; where sampling is computed, float32. Of two trained networks the largest
    # error was 0.017 (docs/explanation/precision.md); the papers' are six times as deep.
    "fp16": Bound(1e-1, 2 * HALF_CELLS_PX),
    # 8 bits a number: of the same two, 0.19. A wrong scale gives errors as large as the map itself.
    "int8": Bound(5e-1, 4 * HALF_CELLS_PX),
}

RANDOM = 3.0
"""So many times as much is allowed to heatmaps of random weights below fp32: their maps are as uneven as noise, and
sampling at random places amplifies. Seen: fp16 0.15 (FaSRnet), 0.11 (DCPose), 0.03 (FAMI-Pose), int8 0.6 (the last)."""


def bound_of(precision: Precision, *, random: bool = False) -> Bound:
    """What an export in ``precision`` promises; of ``random`` weights less is asked."""
    bound = BOUNDS[precision]
    return Bound(RANDOM * bound.heatmap_error, bound.shift_px) if random and precision != "fp32" else bound


@dataclass(frozen=True)
class Outcome:
    """Of M windows: ``heatmaps`` (M, K, h, w) and ``points`` (M, K, 3)."""

    heatmaps: Floats
    points: Floats


@dataclass(frozen=True)
class Difference:
    """Of two outcomes: as in :class:`engines.spec.manifest.Parity`; ``clear`` of ``keypoints`` could be measured."""

    heatmap_error: float
    shift_px_max: float
    shift_px_mean: float
    clear: int
    keypoints: int


def by_pytorch(model: nn.Module, signature: Signature, samples: Samples) -> Outcome:
    """The reference: float32 in PyTorch, a window at a time; prepared and decoded by ``engines``, outside any graph."""
    rows = []
    with torch.no_grad():
        for window in samples.crops:
            planes = torch.from_numpy(normalised(window[None], signature))
            rows.append(model(planes if isinstance(model, TemporalModel) else planes[:, 0]).numpy())
    return decoded(np.concatenate(rows), signature)


def decoded(heatmaps: Floats, signature: Signature) -> Outcome:
    """Heatmaps with the points that ``engines`` finds in them; how, ``signature.notes['decoding']`` says."""
    how = "heatmap-dark" if signature.notes.get("decoding") == "dark" else "heatmap"
    places, scores = decode(msgspec.structs.replace(signature, decode=how), [heatmaps])
    return Outcome(heatmaps, np.concatenate([places, scores[..., None]], axis=2, dtype=np.float32))


def fused(folder: Path, name: str, signature: Signature, samples: Samples, threads: int) -> Outcome:
    """The fused graph, three windows at a time and the last ones by themselves: the batch is any."""
    backend = make_backend(folder / name, "onnxrt:cpu", threads)
    backend.open()
    try:
        return _in_batches(lambda crops: backend.run({"crops": crops}), samples.inputs(signature))
    finally:
        backend.close()


def streamed(
    folder: Path, names: tuple[str, str], signature: Signature, samples: Samples, threads: int, batch: int = 3
) -> Outcome:
    """Backbone, frame by frame, and head, through the ring of kept maps."""
    ring = make_feature_cache(
        folder / names[0], folder / names[1], batch * signature.frames, name="onnxrt:cpu", threads=threads
    )
    ring.open()
    try:
        return _in_batches(lambda crops: _through(ring, crops), samples.inputs(signature), batch)
    finally:
        ring.close()


def _through(ring: FeatureCache, crops: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    people, frames = crops.shape[:2]
    slots = np.arange(people * frames, dtype=np.intp).reshape(people, frames)
    for t in range(frames):
        ring.store(slots[:, t], np.ascontiguousarray(crops[:, t]))
    return ring.read(slots)


def _in_batches(
    run: Callable[[NDArray[np.generic]], dict[str, NDArray[np.generic]]], inputs: NDArray[np.generic], batch: int = 3
) -> Outcome:
    """Half of them in batches of three, the others one by one: a graph that holds for one size only cannot pass."""
    together = len(inputs) // 2 // batch * batch
    cuts = [*np.split(inputs[:together], together // batch)] if together else []
    cuts += np.split(inputs[together:], len(inputs) - together)
    outputs = [run(np.ascontiguousarray(cut)) for cut in cuts]
    heatmaps, points = (
        np.concatenate([np.asarray(output[name], np.float32) for output in outputs]) for name in ("heatmaps", "points")
    )
    return Outcome(heatmaps, points)


def difference(reference: Outcome, other: Outcome) -> Difference:
    """How far ``other`` is from ``reference``."""
    apart = np.abs(other.heatmaps - reference.heatmaps)
    if not np.isfinite(apart).all():
        return Difference(float("inf"), float("inf"), float("inf"), 0, reference.points[..., 0].size)
    is_clear = clear(reference.heatmaps, apart.max(axis=(2, 3)))
    shifts = np.linalg.norm(other.points[..., :2] - reference.points[..., :2], axis=2)[is_clear]
    largest = float(np.abs(reference.heatmaps).max()) or 1.0
    return Difference(
        heatmap_error=float(apart.max()) / largest,
        shift_px_max=float(shifts.max(initial=0)),
        shift_px_mean=float(shifts.mean()) if shifts.size else 0.0,
        clear=int(is_clear.sum()),
        keypoints=is_clear.size,
    )


def clear(heatmaps: Floats, apart: Floats) -> NDArray[np.bool_]:
    """(M, K): the peak is above 0 and above all that is not beside it by more than twice ``apart`` (M, K)."""
    people, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(people, joints, -1)
    best = flat.argmax(axis=2)
    peak = flat.max(axis=2)
    beside = np.zeros((people * joints, height, width), np.uint8)
    beside[np.arange(people * joints), best.ravel() // width, best.ravel() % width] = 1
    near = np.stack([cv2.dilate(mark, np.ones((3, 3), np.uint8)) for mark in beside]).astype(bool)
    elsewhere = np.where(near.reshape(heatmaps.shape), -np.inf, heatmaps).max(axis=(2, 3))
    is_clear: NDArray[np.bool_] = (peak - elsewhere > 2 * apart) & (peak > apart)
    return is_clear


def account(
    reference: Outcome,
    other: Outcome,
    names: tuple[str, str],
    samples: Samples,
    precision: Precision,
    *,
    random: bool = False,
) -> Parity:
    """The difference of two outcomes as the manifest has it; ``names`` say what they are, ``random`` their weights."""
    found, bound = difference(reference, other), bound_of(precision, random=random)
    return Parity(
        reference=names[0],
        runner=f"{names[1]} in {RUNNER}{ROUNDED if precision != 'fp32' else ''}",
        inputs=f"{samples.told}; {_clear_told(found)}",
        windows=len(samples.crops),
        heatmap_error=found.heatmap_error,
        shift_px_max=found.shift_px_max,
        shift_px_mean=found.shift_px_mean,
        bound_heatmap=bound.heatmap_error,
        bound_px=bound.shift_px,
    )


def _clear_told(found: Difference) -> str:
    if not found.clear:
        return f"0 of {found.keypoints} keypoints are clear, so no shift was measured"
    return f"{found.clear} of {found.keypoints} keypoints are clear"


def check(name: str, part: Part, parity: Parity) -> None:
    """Raise :class:`EngineError` with the figures where a promise is broken."""
    if parity.heatmap_error > parity.bound_heatmap or parity.shift_px_max > parity.bound_px:
        raise EngineError(
            f"export of {name!r}: {part} by {parity.runner} differs from {parity.reference} by "
            f"{parity.heatmap_error:.1e} of the largest heatmap value (bound {parity.bound_heatmap:.0e}), keypoints by "
            f"{parity.shift_px_max:.2f} px (bound {parity.bound_px:g}) on {parity.inputs}; nothing was written"
        )
