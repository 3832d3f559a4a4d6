"""Export of a network of whole pictures: one graph of one picture size, for any number of pictures.

    fused     pictures (N, H, W, 3) uint8  ->  points (N, M, 17, 3), scores (N, M), boxes (N, M, 4)

While it is measured, ``cells`` and ``locations`` stand beside these (``engines.backends.pytorch.single_stage_module``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.backends.pytorch.single_stage_module import Pictures, find_best, select
from engines.datasets.synthetic.scene import Scene
from engines.errors import EngineError
from engines.models.inspose import InsPose, InsPoseReleased
from engines.spec.manifest import Part, PictureManifest
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import CANDIDATES, INPUT, OUTPUTS, PictureSignature, check_size
from engines.vision.letterbox import fit_frame
from export.calibration import Samples, read_frames
from export.graph.weights_file import write_graphs
from export.graph.wrappers import EXAMPLES, Graph
from export.precision import lowered
from export.progress import step
from export.single_stage import parity
from export.stages import Request, ship, sign, traced, write_state, write_trial
from export.weights import network_with_weights

REAL, RANDOM = 3, 1
"""Pictures to measure on: few, since one costs as much as a hundred crops."""


class Measured(nn.Module):
    """Candidates, and where each comes from."""

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, shown: Tensor) -> tuple[Tensor, ...]:
        predictions = self.pictures.model(self.pictures.normalise(shown))
        chosen = select(predictions.scores, find_best(predictions.scores, self.pictures.candidates))
        cells = self.pictures.find_cells(predictions, chosen)
        return *self.pictures.make_candidates(predictions, chosen, cells), cells, chosen.index


def export_picture(name: str, spec: NetworkSpec, request: Request, folder: Path) -> None:
    """Everything into ``folder``, for a network of whole pictures. Raises :class:`EngineError`."""
    size = request.size or spec.input_size
    check_size(name, size)
    with step("weights"):
        shown = samples(size, request.frames)
        model, source = network_with_weights(name, spec, request.choice, parity.planes(shown.crops[0]))
    pictures = Pictures(cast(InsPose | InsPoseReleased, model), request.candidates or CANDIDATES).eval()
    models: dict[Part, onnx.ModelProto] = {"fused": traced(_graph(pictures, size), request)}
    if request.precision != "fp32":
        with step(f"fused to {request.precision}"):
            models = lowered(models, request.precision, {"fused": [{INPUT: picture[None]} for picture in shown.crops]})
    with step("writing"):
        trial = write_trial(models, request.precision, folder)
        names = write_graphs(models, folder)
        write_state(model, folder, request)
    account = parity.measured(name, trial / names["fused"], pictures, shown, request)
    if trial != folder:
        shutil.rmtree(trial)
    ship(models, folder, *parity.MEASURED)
    signature = build_signature(name, spec, pictures, size, _candidates(models["fused"]))
    sign(PictureManifest, signature, spec, request, source, names, {"fused": account}, folder)


def build_signature(
    name: str, spec: NetworkSpec, pictures: Pictures, size: tuple[int, int], candidates: int
) -> PictureSignature:
    """What the export eats and returns."""
    return PictureSignature(
        name=name,
        input_size=size,
        skeleton=spec.skeleton,
        candidates=candidates,
        suppression=pictures.suppression,
    )


def _graph(pictures: Pictures, size: tuple[int, int]) -> Graph:
    example = torch.zeros(EXAMPLES, size[1], size[0], 3, dtype=torch.uint8)
    return Graph("fused", Measured(pictures).eval(), (example,), (INPUT,), (*OUTPUTS, *parity.MEASURED))


def _candidates(model: onnx.ModelProto) -> int:
    """As many as there are: a small picture has fewer locations than were asked for."""
    points = next(output for output in model.graph.output if output.name == "points")
    return int(points.type.tensor_type.shape.dim[1].dim_value)


def samples(size: tuple[int, int], frames: Path | None = None) -> Samples:
    """Pictures (M, H, W, 3) of ``size`` (width, height): drawn people or the user's frames, and random pixels."""
    people = _drawn(size) if frames is None else _of_frames(frames, size)
    noise = np.random.default_rng(0).integers(0, 256, (RANDOM, size[1], size[0], 3), np.uint8)
    told = "drawn people" if frames is None else frames.name
    return Samples(np.concatenate([people, noise]), f"{len(people)} pictures of {told}, {RANDOM} of noise")


def _drawn(size: tuple[int, int]) -> NDArray[np.uint8]:
    scene = Scene(11, 4, *size)
    return np.stack([scene.at(float(second), second).pixels for second in range(REAL)])


def _of_frames(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Evenly spaced frames of a video or a folder of pictures, fitted as an engine fits them."""
    frames = list(read_frames(path))
    if not frames:
        raise EngineError(f"--frames {path}: it holds no pictures; give a video or a folder of pictures")
    habits = PictureSignature(name="", input_size=size)
    places = np.linspace(0, len(frames) - 1, min(REAL, len(frames))).astype(int)
    return np.stack([fit_frame(frames[place], size, habits.fit, habits.pad).pixels for place in places])
