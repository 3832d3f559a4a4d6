"""Whether backends agree with ONNX Runtime on the same windows, run whole and split, several times."""

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

MAX_SHARE = 0.1
"""How far two backends' heatmaps may differ, as a share of the highest value. The 11 bits of fp16 and TF32 change the
compact FAMI-Pose with random weights by 0.04 on a CPU; here two backends that round differently are compared. A layer
that reads at a wrong place, or weights in a wrong order, change it by 1."""

PASSES = 3
"""A CUDA graph is captured in the second run of a batch and replayed from the third on."""


@dataclass(frozen=True)
class Reference:
    """The reference: ``points`` (M, K, 3) of ONNX Runtime in both ways, ``heatmaps`` (M, K, h, w) of PyTorch.

    ``stride`` (x, y) is the crop's px per cell; heatmaps may differ by ``share`` of the highest value.
    """

    points: dict[str, Array]
    heatmaps: NDArray[np.float32]
    stride: NDArray[np.float64]
    share: float


def check_agreement(work: Work, *, folder: str, backends: str) -> Found:
    """Compare ``backends`` of an export, names separated by commas, with ONNX Runtime on the CPU."""
    export = work.folder / folder
    manifest = read_manifest(export)
    people = calibration.make_samples(manifest.signature)
    wanted = _make_reference(export, manifest, people)
    differences = {}
    for backend in backends.split(","):
        for way, open_way in WAYS.items():
            with open_way(export, manifest, backend) as points:
                passes = [_run_all(points, people.crops) for _ in range(PASSES)]
            differences[f"{backend} {way}"] = compare(np.stack(passes), wanted.points[way], wanted)
    return judge(differences, wanted)


def _make_reference(export: Path, manifest: Manifest, people: calibration.Samples) -> Reference:
    from engines.backends.pytorch.loading import load_export
    from engines.backends.pytorch.modes import parse_mode

    network = load_export(export, parse_mode("cpu")).network
    heatmaps = parity.run_pytorch(network, manifest.signature, people).heatmaps
    points = {}
    for way, open_way in WAYS.items():
        with open_way(export, manifest, "onnxrt:cpu") as run:
            points[way] = _run_all(run, people.crops)
    stride = np.array(manifest.signature.input_size) / heatmaps.shape[:1:-1]
    return Reference(points, heatmaps, stride, max(MAX_SHARE, 3 * manifest.parity["fused"].heatmap_error))


def _run_all(points: Points, windows: Array) -> Array:
    """All windows, half of them in one batch and the others one by one."""
    half = len(windows) // 2
    batches = [windows[:half], *np.split(windows[half:], len(windows) - half)]
    return np.concatenate([points(np.ascontiguousarray(batch)) for batch in batches])


def compare(passes: Array, reference: Array, wanted: Reference) -> dict[str, float]:
    """The largest differences of all ``passes`` (P, M, K, 3) from the reference.

    ``score`` and ``place`` are shares of the highest heatmap value, ``px`` is the median distance.

    Where heatmaps differ by at most e, so do their highest values, which are the scores; and where the one is highest,
    the other is at most 2 e below its own highest value, however many cells lie between. So maps with two maxima need
    no exception.
    """
    if not np.isfinite(passes).all():
        return {"score": float("inf"), "place": float("inf"), "px": float("inf")}
    highest = float(np.abs(wanted.heatmaps).max())
    depths = np.stack([_measure_depth(wanted, points) for points in passes])
    return {
        "score": float(np.abs(passes[..., 2] - reference[..., 2]).max()) / highest,
        "place": float(depths.max()) / highest,
        "px": float(np.median(np.linalg.norm((passes - reference)[..., :2], axis=-1))),
    }


def _measure_depth(wanted: Reference, points: Array) -> Array:
    """How far (M, K) the reference's heatmaps at the cells of ``points`` are below their highest values.

    Points lie a quarter of a cell beside their cells; (0, 0) means that nothing is above 0.
    """
    _, _, height, width = wanted.heatmaps.shape
    x, y = np.moveaxis(np.rint(points[..., :2] / wanted.stride).astype(int), -1, 0)
    people, joints = np.indices(x.shape)
    values = wanted.heatmaps[people, joints, y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(points[..., 2] > 0, wanted.heatmaps.max((2, 3)) - values, 0)


def judge(differences: dict[str, dict[str, float]], wanted: Reference) -> Found:
    """Raise :class:`FailedError` naming the backend with the largest difference if that is too large."""
    figures = {"differences": differences, "bound": wanted.share}
    worst = max(differences, key=lambda name: max(differences[name]["score"], differences[name]["place"] / 2))
    score, place, px = (differences[worst][what] for what in ("score", "place", "px"))
    summary = (
        f"scores within {score:.2%} of the highest value, places within {place:.2%}, half of them within {px:.2f} px"
    )
    if not (score <= wanted.share and place <= 2 * wanted.share):
        allowed = f"{wanted.share:.0%} and {2 * wanted.share:.0%}"
        raise FailedError(f"{worst} differs from ONNX Runtime: {summary}; allowed are {allowed}", figures=figures)
    return Found(f"{len(differences)} ways of running it: {summary} of ONNX Runtime's", figures)
