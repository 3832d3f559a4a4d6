"""Whether backends agree with ONNX Runtime on the same windows, whole and cut, run again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.spec.manifest import Manifest, read_manifest
from engines.spec.tensors import Array
from export import calibration, parity
from export.gpu_selftest.results import FailedError, Found, Work
from export.gpu_selftest.running import WAYS, Points

SHARE = 0.1
"""Of the highest heatmap value, by which two backends' heatmaps may differ. Numbers of 11 bits, which fp16 and also
TF32 compute with, cost the compact FAMI-Pose with random weights 0.04 on a CPU; here two that round differently are
compared. A layer read at a wrong place, or weights in a wrong order, cost 1."""

PASSES = 3
"""A CUDA graph is captured in the second run of a batch and replayed from the third on."""


@dataclass(frozen=True)
class Wanted:
    """What is compared with: ``points`` (M, K, 3) of ONNX Runtime in both ways, ``heatmaps`` (M, K, h, w) of PyTorch.

    ``stride`` (x, y) is the crop's px a cell; ``share`` of the highest value is how far heatmaps may differ.
    """

    points: dict[str, Array]
    heatmaps: NDArray[np.float32]
    stride: NDArray[np.float64]
    share: float


def agree(work: Work, *, folder: str, backends: str) -> Found:
    """Hold the ``backends`` of an export, names with commas between, to ONNX Runtime on the processor."""
    export = work.folder / folder
    manifest = read_manifest(export)
    people = calibration.samples(manifest.signature)
    wanted = _wanted(export, manifest, people)
    apart = {}
    for backend in backends.split(","):
        for way, opened in WAYS.items():
            with opened(export, manifest, backend) as points:
                passes = [_asked(points, people.crops) for _ in range(PASSES)]
            apart[f"{backend} {way}"] = differences(np.stack(passes), wanted.points[way], wanted)
    return judged(apart, wanted)


def _wanted(export: Path, manifest: Manifest, people: calibration.Samples) -> Wanted:
    from engines.backends.pytorch.loading import load_export
    from engines.backends.pytorch.modes import parse_mode

    network = load_export(export, parse_mode("cpu")).network
    heatmaps = parity.by_pytorch(network, manifest.signature, people).heatmaps
    points = {}
    for way, opened in WAYS.items():
        with opened(export, manifest, "onnxrt:cpu") as asked:
            points[way] = _asked(asked, people.crops)
    stride = np.array(manifest.signature.input_size) / heatmaps.shape[:1:-1]
    return Wanted(points, heatmaps, stride, max(SHARE, 3 * manifest.parity["fused"].heatmap_error))


def _asked(points: Points, windows: Array) -> Array:
    """All windows, half of them in one batch and the others one by one."""
    half = len(windows) // 2
    batches = [windows[:half], *np.split(windows[half:], len(windows) - half)]
    return np.concatenate([points(np.ascontiguousarray(batch)) for batch in batches])


def differences(passes: Array, reference: Array, wanted: Wanted) -> dict[str, float]:
    """The largest of all ``passes`` (P, M, K, 3): of scores and of places, as shares of the highest value; and in px.

    Where heatmaps differ by at most e, so do their highest values, which are the scores; and where the one is highest,
    the other is at most 2 e below its own highest value, however many cells lie between. So nothing has to be left out
    for having two tops.
    """
    if not np.isfinite(passes).all():
        return {"score": float("inf"), "place": float("inf"), "px": float("inf")}
    highest = float(np.abs(wanted.heatmaps).max())
    below = np.stack([_below(wanted, points) for points in passes])
    return {
        "score": float(np.abs(passes[..., 2] - reference[..., 2]).max()) / highest,
        "place": float(below.max()) / highest,
        "px": float(np.median(np.linalg.norm((passes - reference)[..., :2], axis=-1))),
    }


def _below(wanted: Wanted, points: Array) -> Array:
    """How far (M, K) the reference's heatmaps at the cells of ``points`` are below their highest values.

    Points lie a quarter of a cell beside their cells; where nothing is above 0 they say (0, 0) and mean no place.
    """
    _, _, height, width = wanted.heatmaps.shape
    x, y = np.moveaxis(np.rint(points[..., :2] / wanted.stride).astype(int), -1, 0)
    people, joints = np.indices(x.shape)
    values = wanted.heatmaps[people, joints, y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(points[..., 2] > 0, wanted.heatmaps.max((2, 3)) - values, 0)


def judged(apart: dict[str, dict[str, float]], wanted: Wanted) -> Found:
    """Raise :class:`FailedError` naming the backend that is farthest off, where it is too far."""
    figures = {"apart": apart, "bound": wanted.share}
    worst = max(apart, key=lambda name: max(apart[name]["score"], apart[name]["place"] / 2))
    score, place, px = (apart[worst][what] for what in ("score", "place", "px"))
    told = f"scores within {score:.2%} of the highest value, places within {place:.2%}, half of them within {px:.2f} px"
    if not (score <= wanted.share and place <= 2 * wanted.share):
        allowed = f"{wanted.share:.0%} and {2 * wanted.share:.0%}"
        raise FailedError(f"{worst} is not ONNX Runtime: {told}; allowed are {allowed}", figures=figures)
    return Found(f"{len(apart)} ways of running it: {told} of ONNX Runtime's", figures)
