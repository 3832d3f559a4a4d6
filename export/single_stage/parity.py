"""How far the graph of a network of whole pictures differs from PyTorch in float32 on the same pictures.

Every candidate that the graph chose is compared with PyTorch's predictions for it, so that a tie is not an error: of
two equally high locations, or cells of a joint's map, either may be chosen. The error is the largest of

* the difference of a candidate's score,
* how much lower PyTorch scores a location than the last of its own candidates,
* how much lower PyTorch's map is in the cell of the graph's joint than at its maximum, as a share of the largest value.

Distances in pixels are those of joints and of corners of boxes, given their cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.backends.pytorch.single_stage_module import Locations, Pictures, find_best, select
from engines.backends.registry import make_backend
from engines.inference.side_by_side import SideBySide
from engines.models.inspose import Predictions
from engines.spec.manifest import Parity, Precision
from engines.spec.picture_signature import INPUT, OUTPUTS
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD
from engines.spec.tensors import Array
from engines.vision.letterbox import to_tensor
from export.calibration import Samples
from export.parity import RUNNER, Bound, check
from export.progress import step

if TYPE_CHECKING:
    from export.stages import Request

MEASURED = ("cells", "locations")
"""Further outputs while a graph is measured."""

BOUNDS: dict[Precision, Bound] = {
    # Rounding of float32 through some 150 layers: 3e-6 was measured. Disk offsets and regressed joints are small
    # numbers of cells, of up to 128 px each.
    "fp32": Bound(1e-3, 0.1),
    # 11 bits per number, and again in the weights of a KP-Net: 0.016 was measured with random weights, whose maps are
    # noise.
    "fp16": Bound(0.2, 8.0),
    # 8 bits per number: 0.6 was measured with random weights. A joint at a random cell gives 1 or more.
    "int8": Bound(1.0, 32.0),
}


@dataclass(frozen=True)
class Judgement:
    """The candidates of one picture compared; ``same`` of ``joints`` are in the cell that PyTorch chooses."""

    error: float
    shifts_px: Array
    same: int
    joints: int


def measure_parity(name: str, graph: Path, pictures: Pictures, samples: Samples, request: Request) -> Parity:
    """The parity of ``graph``. Raises :class:`engines.errors.EngineError` if it exceeds its bound."""
    with step("fused.onnx on the same pictures"):
        outputs = run_graph(graph, samples, request.threads)
    with step("PyTorch on the same pictures"):
        judgements = [judge(pictures, picture, row) for picture, row in zip(samples.crops, outputs, strict=True)]
    parity = summarise(judgements, samples, BOUNDS[request.precision])
    check(name, "fused", parity)
    return parity


def run_graph(graph: Path, samples: Samples, threads: int) -> list[dict[str, Array]]:
    """The graph's results for each picture: the first two in one run, the others alone, to test different batches."""
    backend = make_backend(graph, "onnxrt:cpu", threads)
    backend.open()
    side_by_side = SideBySide()
    try:
        runs = [samples.crops[:2], *(samples.crops[i : i + 1] for i in range(2, len(samples.crops)))]
        side_by_side.open(backend.describe().side_by_side)
        outputs = side_by_side.map(lambda run: backend.run({INPUT: run}), runs)
    finally:
        side_by_side.close()
        backend.close()
    pairs = zip(runs, outputs, strict=True)
    return [{name: found[name][[row]] for name in found} for run, found in pairs for row in range(len(run))]


def to_planes(picture: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W), as ``engines`` prepares a picture outside a graph."""
    return torch.from_numpy(to_tensor(picture, "rgb", IMAGENET_MEAN, IMAGENET_STD))[None]


@torch.no_grad()
def judge(pictures: Pictures, picture: NDArray[np.uint8], outputs: Mapping[str, Array]) -> Judgement:
    """Compare the candidates (1, M, …) of one picture (H, W, 3) with PyTorch's predictions."""
    points, scores, boxes, cells, locations = (torch.from_numpy(outputs[name]) for name in (*OUTPUTS, *MEASURED))
    predictions = pictures.model(to_planes(picture))
    chosen = select(predictions.scores, locations)
    theirs = pictures.make_candidates(predictions, chosen, cells)
    lower, same = _compare_maps(pictures, predictions, chosen, cells)
    last = select(predictions.scores, find_best(predictions.scores, pictures.candidates)).scores.min()
    errors = torch.stack(
        ((scores - theirs[1]).abs().max(), (points - theirs[0])[..., 2].abs().max(), (last - theirs[1]).max(), lower)
    )
    shifts = torch.cat(((points - theirs[0])[..., :2].flatten(0, 2), (boxes - theirs[2]).reshape(-1, 2))).norm(dim=1)
    return Judgement(float(errors.max()), shifts.numpy(), same, cells.numel())


def _compare_maps(pictures: Pictures, predictions: Predictions, chosen: Locations, cells: Tensor) -> tuple[Tensor, int]:
    """How much lower the maps are in ``cells`` than at their maxima, relative to the largest; how many are equal."""
    largest, lower, same, start = torch.tensor(0.0), torch.tensor(0.0), 0, 0
    for maps in pictures.compute_maps(predictions, chosen):
        flat, taken = maps.flatten(3), cells[:, start : start + maps.shape[1]]
        missing = flat.amax(3) - torch.gather(flat, 3, taken[..., None])[..., 0]
        largest, lower = torch.maximum(largest, flat.abs().max()), torch.maximum(lower, missing.max())
        same += int((missing == 0).sum())
        start += maps.shape[1]
    return lower / largest, same


def summarise(judgements: list[Judgement], samples: Samples, bound: Bound) -> Parity:
    """The comparison for the manifest."""
    shifts = np.concatenate([judgement.shifts_px for judgement in judgements])
    same, joints = (sum(getattr(one, name) for one in judgements) for name in ("same", "joints"))
    return Parity(
        reference="PyTorch in float32",
        runner=f"fused.onnx in {RUNNER}",
        inputs=f"{samples.description}; {same} of {joints} joints in PyTorch's own cell",
        windows=len(judgements),
        heatmap_error=max(judgement.error for judgement in judgements),
        shift_px_max=float(shifts.max(initial=0)),
        shift_px_mean=float(shifts.mean()) if shifts.size else 0.0,
        bound_heatmap=bound.heatmap_error,
        bound_px=bound.shift_px,
    )
