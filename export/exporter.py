"""One export, from a checkpoint to a verified folder: read, trace, lower the precision, write, measure, sign."""

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
from export.precision.lowering import WINDOWS, lowered
from export.progress import step
from export.single_stage.export import export_picture
from export.stages import Request, ship, sign, traced, write_state, write_trial
from export.to_onnx import check_opset
from export.weights import network_with_weights

PYTORCH, FUSED, CUT = "PyTorch in float32", "fused.onnx", "backbone.onnx frame by frame and head.onnx"


def export_network(request: Request) -> Path:
    """Make the folder and give its path. Raises :class:`engines.errors.EngineError`; nothing is left behind then."""
    name, spec = catalogue.find_network(request.network)
    check_opset(request.opset)
    _check_wishes(name, spec, request)
    folder = request.folder(name)
    with artifacts.made_whole(folder, force=request.force) as partial:
        if spec.takes == "picture":
            export_picture(name, spec, request, partial)
        else:
            export_crops(name, spec, request, partial)
    return folder


def _check_wishes(name: str, spec: NetworkSpec, request: Request) -> None:
    """Raise :class:`engines.errors.EngineError` for what only networks of the other kind can do."""
    options = {
        "picture": {"--decode dark": request.decoding != "heatmap", "--input float32": request.pixel != "uint8"},
        "crop": {"--size": request.size is not None, "--candidates": request.candidates is not None},
    }
    wished = [option for option, is_wished in options[spec.takes].items() if is_wished]
    if wished:
        kinds = ("whole pictures", "crops of people")
        takes, others = kinds if spec.takes == "picture" else kinds[::-1]
        raise EngineError(
            f"{wished[0]}: network {name!r} takes {takes}, and only those of {others} have this choice; "
            "leave the option away"
        )


def export_crops(name: str, spec: NetworkSpec, request: Request, folder: Path) -> None:
    """Everything into ``folder``, for a network of crops."""
    with step("weights"):
        signature = _signature(name, spec, request)
        people = calibration.samples(signature, request.frames)
        batch = torch.from_numpy(calibration.normalised(people.crops[[0, -1]], signature))  # people, and noise
        model, source = network_with_weights(name, spec, request.choice, batch if len(spec.window) > 1 else batch[:, 0])
        signature = msgspec.structs.replace(signature, keeps=wrappers.kept_shapes(model, spec.input_size))
    models = {graph.part: traced(graph, request) for graph in wrappers.parts(model, signature, _points(signature))}
    if request.precision != "fp32":
        shown = calibration.samples(signature, request.frames, WINDOWS[request.precision])
        models, signature = lowered(models, model, signature, shown, request.precision)
    with step("writing"):
        trial = write_trial(models, request.precision, folder)
        names = write_graphs(models, folder)
        write_state(model, folder, request)
    accounts = measured(name, trial, names, model, signature, people, request)
    if trial != folder:
        shutil.rmtree(trial)
    ship(models, folder, "heatmaps")
    sign(Manifest, signature, spec, request, source, names, accounts, folder)


def _signature(name: str, spec: NetworkSpec, request: Request) -> Signature:
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


def _points(signature: Signature) -> Points:
    how: Decoding = "dark" if signature.notes["decoding"] == "dark" else "heatmap"
    return Points(how, signature.input_size, signature.blur_px)


def measured(
    name: str,
    folder: Path,
    names: dict[Part, str],
    model: nn.Module,
    signature: Signature,
    people: calibration.Samples,
    request: Request,
) -> dict[Part, Parity]:
    """An account a part. Raises :class:`engines.errors.EngineError` where one breaks its bound."""
    with step("PyTorch on the same crops"):
        wanted = parity.by_pytorch(model, signature, people)
    with step("fused.onnx on the same crops"):
        whole = parity.fused(folder, names["fused"], signature, people, request.threads)
    account = partial(parity.account, samples=people, precision=request.precision, random=request.choice.random)
    accounts: dict[Part, Parity] = {"fused": account(wanted, whole, (PYTORCH, FUSED))}
    if isinstance(model, TemporalModel):
        with step("backbone.onnx and head.onnx, frame by frame"):
            cut = parity.streamed(folder, (names["backbone"], names["head"]), signature, people, request.threads)
        accounts["backbone"] = account(whole, cut, (FUSED, CUT))
        accounts["head"] = account(wanted, cut, (PYTORCH, CUT))
    for part, found in accounts.items():
        parity.check(name, part, found)
    return accounts
