"""One export, from a checkpoint to a verified folder: load, trace, lower the precision, write, measure, record."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import nn

from engines.errors import EngineError
from engines.hub import catalogue
from engines.layers.decoding import Decoding, Points, blur_width_px
from engines.models.temporal import TemporalModel
from engines.spec.manifest import (
    Manifest,
    Parity,
    Part,
)
from engines.spec.network import NetworkSpec
from engines.spec.signature import Signature
from export import artifacts, calibration, parity
from export.graph import wrappers
from export.graph.weights_file import write_graphs
from export.precision.conversion import WINDOWS, lower_precision
from export.progress import step
from export.single_stage.export import export_picture
from export.stages import Request, record, trace, write_final_graphs, write_state, write_trial
from export.to_onnx import check_opset
from export.weights import load_network

PYTORCH, FUSED, SPLIT = "PyTorch in float32", "fused.onnx", "backbone.onnx frame by frame and head.onnx"


def export_network(request: Request) -> Path:
    """Export into a new folder and return its path. Raises :class:`EngineError` and leaves nothing then."""
    name, spec = catalogue.find_network(request.network)
    check_opset(request.opset)
    _check_options(name, spec, request)
    folder = request.folder(name)
    with artifacts.create_folder(folder, force=request.force) as partial:
        if spec.takes == "picture":
            export_picture(name, spec, request, partial)
        else:
            export_crops(name, spec, request, partial)
    return folder


def _check_options(name: str, spec: NetworkSpec, request: Request) -> None:
    """Raise :class:`engines.errors.EngineError` for options that only networks of the other kind have."""
    options = {
        "picture": {"--decode dark": request.decoding != "heatmap", "--input float32": request.pixel != "uint8"},
        "crop": {"--size": request.size is not None, "--candidates": request.candidates is not None},
    }
    given = [option for option, is_given in options[spec.takes].items() if is_given]
    if given:
        kinds = ("whole pictures", "crops of people")
        takes, others = kinds if spec.takes == "picture" else kinds[::-1]
        raise EngineError(
            f"{given[0]}: network {name!r} takes {takes}; only networks of {others} have this option, leave it out"
        )


def export_crops(name: str, spec: NetworkSpec, request: Request, folder: Path) -> None:
    """Export a network of crops into ``folder``."""
    with step("weights"):
        signature = _make_signature(name, spec, request)
        people = calibration.make_samples(signature, request.frames)
        batch = torch.from_numpy(calibration.normalise(people.crops[[0, -1]], signature))  # people, and noise
        model, source, trained_on = load_network(
            name, spec, request.choice, batch if len(spec.window) > 1 else batch[:, 0]
        )
        keeps = wrappers.kept_shapes(model, spec.input_size)
        signature = msgspec.structs.replace(signature, keeps=keeps, trained_on=trained_on)
    models = {
        graph.part: trace(graph, request) for graph in wrappers.make_graphs(model, signature, _make_decoder(signature))
    }
    if request.precision != "fp32":
        samples = calibration.make_samples(signature, request.frames, WINDOWS[request.precision])
        models, signature = lower_precision(models, model, signature, samples, request.precision)
    with step("writing"):
        trial = write_trial(models, request.precision, folder)
        names = write_graphs(models, folder)
        write_state(model, folder, request)
    accounts = measure_parity(name, trial, names, model, signature, people, request)
    if trial != folder:
        shutil.rmtree(trial)
    write_final_graphs(models, folder, "heatmaps")
    record(Manifest, signature, spec, request, source, names, accounts, folder)


def _make_signature(name: str, spec: NetworkSpec, request: Request) -> Signature:
    return msgspec.structs.replace(
        spec.signature(name),
        layout="nthwc" if request.pixel == "uint8" else "ntchw",
        pixel=request.pixel,
        decode="points",
        blur_px=blur_width_px(spec.input_size),
        inputs=("crops",),
        outputs=("points",),
        notes={"decoding": request.decoding},
    )


def _make_decoder(signature: Signature) -> Points:
    decoding: Decoding = "dark" if signature.notes["decoding"] == "dark" else "heatmap"
    return Points(decoding, signature.input_size, signature.blur_px)


def measure_parity(
    name: str,
    folder: Path,
    names: dict[Part, str],
    model: nn.Module,
    signature: Signature,
    people: calibration.Samples,
    request: Request,
) -> dict[Part, Parity]:
    """The parity of each part. Raises :class:`engines.errors.EngineError` if one exceeds its bound."""
    with step("PyTorch on the same crops"):
        reference = parity.run_pytorch(model, signature, people)
    with step("fused.onnx on the same crops"):
        whole = parity.run_fused(folder, names["fused"], signature, people, request.threads)
    account = partial(parity.summarise, samples=people, precision=request.precision, random=request.choice.random)
    accounts: dict[Part, Parity] = {"fused": account(reference, whole, (PYTORCH, FUSED))}
    if isinstance(model, TemporalModel):
        with step("backbone.onnx and head.onnx, frame by frame"):
            split = parity.run_split(folder, (names["backbone"], names["head"]), signature, people, request.threads)
        accounts["backbone"] = account(whole, split, (FUSED, SPLIT))
        accounts["head"] = account(reference, split, (PYTORCH, SPLIT))
    for part, found in accounts.items():
        parity.check(name, part, found)
    return accounts
