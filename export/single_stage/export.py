"""Export of a network of whole pictures: one graph for one picture size and any number of pictures.

    fused     pictures (N, H, W, 3) uint8  ->  points (N, M, 17, 3), scores (N, M), boxes (N, M, 4)

While measured, ``cells`` and ``locations`` are further outputs (``engines.backends.pytorch.single_stage_module``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.backends.pytorch.single_stage_module import Pictures, find_best, select
from engines.datasets.synthetic.scene import Scene
from engines.errors import EngineError
from engines.models.inspose import InsPose
from engines.models.inspose_released import InsPoseReleased
from engines.spec.manifest import Part, PictureManifest
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import CANDIDATES, INPUT, OUTPUTS, PictureSignature, check_size
from engines.vision.letterbox import fit_frame
from export.calibration import Samples, read_frames
from export.graph.weights_file import write_graphs
from export.graph.wrappers import EXAMPLES, Graph
from export.precision import lower_precision
from export.progress import step
from export.single_stage import parity
from export.stages import Request, record, trace, write_final_graphs, write_state, write_trial
from export.weights import load_network

PICTURES, NOISE_PICTURES = 3, 1
"""Pictures to measure on: few, since one takes as long as a hundred crops."""


class MeasuredPictures(nn.Module):
    """Candidates, and the cells and locations they come from."""

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        predictions = self.pictures.model(self.pictures.normalise(batch))
        chosen = select(predictions.scores, find_best(predictions.scores, self.pictures.candidates))
        cells = self.pictures.find_cells(predictions, chosen)
        return *self.pictures.make_candidates(predictions, chosen, cells), cells, chosen.index


def export_picture(name: str, spec: NetworkSpec, request: Request, folder: Path) -> None:
    """Export a network of whole pictures into ``folder``. Raises :class:`EngineError`."""
    size = request.size or spec.input_size
    check_size(name, size)
    with step("weights"):
        samples = make_samples(size, request.frames)
        model, source, trained_on = load_network(name, spec, request.choice, parity.to_planes(samples.crops[0]))
    pictures = Pictures(cast(InsPose | InsPoseReleased, model), request.candidates or CANDIDATES).eval()
    models: dict[Part, onnx.ModelProto] = {"fused": trace(_make_graph(pictures, size), request)}
    if request.precision != "fp32":
        with step(f"fused to {request.precision}"):
            models = lower_precision(
                models, request.precision, {"fused": [{INPUT: picture[None]} for picture in samples.crops]}
            )
    with step("writing"):
        trial = write_trial(models, request.precision, folder)
        names = write_graphs(models, folder)
        write_state(model, folder, request)
    account = parity.measure_parity(name, trial / names["fused"], pictures, samples, request)
    if trial != folder:
        shutil.rmtree(trial)
    write_final_graphs(models, folder, *parity.MEASURED)
    signature = build_signature(name, spec, pictures, size, _count_candidates(models["fused"]))
    signature = msgspec.structs.replace(signature, trained_on=trained_on)
    record(PictureManifest, signature, spec, request, source, names, {"fused": account}, folder)


def build_signature(
    name: str, spec: NetworkSpec, pictures: Pictures, size: tuple[int, int], candidates: int
) -> PictureSignature:
    """The inputs and outputs of the export."""
    return PictureSignature(
        name=name,
        input_size=size,
        skeleton=spec.skeleton,
        candidates=candidates,
        suppression=pictures.suppression,
    )


def _make_graph(pictures: Pictures, size: tuple[int, int]) -> Graph:
    example = torch.zeros(EXAMPLES, size[1], size[0], 3, dtype=torch.uint8)
    return Graph("fused", MeasuredPictures(pictures).eval(), (example,), (INPUT,), (*OUTPUTS, *parity.MEASURED))


def _count_candidates(model: onnx.ModelProto) -> int:
    """The actual number: a small picture has fewer locations than requested."""
    points = next(output for output in model.graph.output if output.name == "points")
    return int(points.type.tensor_type.shape.dim[1].dim_value)


def make_samples(size: tuple[int, int], frames: Path | None = None) -> Samples:
    """Pictures (M, H, W, 3) of ``size`` (width, height): drawn people or the user's frames, and random pixels."""
    people = _draw(size) if frames is None else _read_pictures(frames, size)
    noise = np.random.default_rng(0).integers(0, 256, (NOISE_PICTURES, size[1], size[0], 3), np.uint8)
    content = "drawn people" if frames is None else frames.name
    return Samples(np.concatenate([people, noise]), f"{len(people)} pictures of {content}, {NOISE_PICTURES} of noise")


def _draw(size: tuple[int, int]) -> NDArray[np.uint8]:
    scene = Scene(11, 4, *size)
    return np.stack([scene.at(float(second), second).pixels for second in range(PICTURES)])


def _read_pictures(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Evenly spaced frames of a video or a folder of pictures, fitted as an engine fits them."""
    frames = list(read_frames(path))
    if not frames:
        raise EngineError(f"--frames {path}: it has no pictures; give a video or a folder of pictures")
    defaults = PictureSignature(name="", input_size=size)
    indices = np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).astype(int)
    return np.stack([fit_frame(frames[index], size, defaults.fit, defaults.pad).pixels for index in indices])
