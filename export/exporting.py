"""One export, from a checkpoint to a verified folder: read, trace, lower the precision, write, measure, sign."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import onnx
import torch
from torch import nn

from engines import catalogue
from engines.backends.base import make_backend
from engines.errors import EngineError
from engines.layers.decoding import Decoding, Points, blur_of
from engines.manifest import (
    Exported,
    Manifest,
    Parity,
    Part,
    Precision,
    Source,
    fingerprint_of,
    verify,
    write_manifest,
)
from engines.models.temporal import TemporalModel
from engines.networks import NetworkSpec
from engines.picture_signature import PictureSignature
from engines.signature import Pixel, Signature
from export import artefact, graphs, parity, samples
from export.lowering import WINDOWS, lowered
from export.precision.rounding import rounded
from export.sources import Choice, network_with_weights
from export.telling import step
from export.to_onnx import OPSET, check_opset, to_onnx, without_output
from export.weights_file import save, write_graphs

STATE = "weights.safetensors"
PYTORCH, FUSED, CUT = "PyTorch in float32", "fused.onnx", "backbone.onnx frame by frame and head.onnx"


@dataclass(frozen=True)
class Request:
    """What is wanted. ``out``: the folder, or None for ``<network>-<precision>`` here.

    ``size`` (width, height) px and ``candidates`` are for networks of whole pictures. ``checkpoint`` puts the weights
    for PyTorch beside the graphs.
    """

    network: str
    choice: Choice = field(default_factory=Choice)
    precision: Precision = "fp32"
    decoding: Decoding = "heatmap"
    pixel: Pixel = "uint8"
    frames: Path | None = None
    size: tuple[int, int] | None = None
    candidates: int | None = None
    out: Path | None = None
    opset: int = OPSET
    force: bool = False
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    checkpoint: bool = True

    def folder(self, name: str) -> Path:
        """Where it goes. A name says when weights are random, so that nobody takes it for the network."""
        chance = "-random" if self.choice.random else ""
        return self.out or Path(f"{name}-{self.precision}{chance}")


def export_network(request: Request) -> Path:
    """Make the folder and give its path. Raises :class:`engines.errors.EngineError`; nothing is left behind then."""
    name, spec = catalogue.network(request.network)
    check_opset(request.opset)
    _check_wishes(name, spec, request)
    folder = request.folder(name)
    with artefact.made_whole(folder, force=request.force) as partial:
        if spec.takes == "picture":
            from export.pictures import export_picture

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
        people = samples.samples(signature, request.frames)
        batch = torch.from_numpy(samples.normalised(people.crops[[0, -1]], signature))  # people, and noise
        model, source = network_with_weights(name, spec, request.choice, batch if len(spec.window) > 1 else batch[:, 0])
        signature = msgspec.structs.replace(signature, keeps=graphs.kept_shapes(model, spec.input_size))
    models = {graph.part: traced(graph, request) for graph in graphs.parts(model, signature, _points(signature))}
    if request.precision != "fp32":
        shown = samples.samples(signature, request.frames, WINDOWS[request.precision])
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


def traced(graph: graphs.Graph, request: Request) -> onnx.ModelProto:
    with step(f"{graph.part} to ONNX"):
        return to_onnx(graph, request.opset)


def _signature(name: str, spec: NetworkSpec, request: Request) -> Signature:
    return msgspec.structs.replace(
        spec.signature(name),
        layout="nthwc" if request.pixel == "uint8" else "ntchw",
        pixel=request.pixel,
        decode="points",
        blur_px=blur_of(spec.input_size),
        inputs=("crops",),
        outputs=("points",),
        notes={"decoding": request.decoding},
    )


def _points(signature: Signature) -> Points:
    how: Decoding = "dark" if signature.notes["decoding"] == "dark" else "heatmap"
    return Points(how, signature.input_size, signature.blur_px)


def write_trial(models: dict[Part, onnx.ModelProto], precision: Precision, folder: Path) -> Path:
    """Where the graphs lie that are measured: the exported ones, but every float16 in them rounded as a GPU does.

    ONNX Runtime on a CPU computes float16 in float32 and would flatter them.
    """
    if precision == "fp32":
        return folder
    trial = folder / "trial"
    trial.mkdir()
    write_graphs({part: rounded(model) for part, model in models.items()}, trial)
    return trial


def write_state(model: nn.Module, folder: Path, request: Request) -> None:
    """The checkpoint under this project's names, where it is wanted."""
    if not request.checkpoint:
        return
    from safetensors.torch import save as serialised

    # Not its own save_file, which leaves a file that only its owner may read.
    (folder / STATE).write_bytes(serialised({key: value.contiguous() for key, value in model.state_dict().items()}))


def measured(
    name: str,
    folder: Path,
    names: dict[Part, str],
    model: nn.Module,
    signature: Signature,
    people: samples.Samples,
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


def ship(models: dict[Part, onnx.ModelProto], folder: Path, *measured: str) -> None:
    """The graphs without the outputs they were ``measured`` by, and each opened once more."""
    for part, model in models.items():
        for output in measured:
            without_output(model, output)
        backend = make_backend(folder / save(model, part, folder), "onnxrt:cpu")
        backend.open()
        backend.close()


def sign(
    kind: Callable[..., Exported],
    signature: Signature | PictureSignature,
    spec: NetworkSpec,
    request: Request,
    source: Source,
    names: dict[Part, str],
    accounts: dict[Part, Parity],
    folder: Path,
) -> None:
    """Write the manifest of this ``kind`` over all that lies in ``folder``."""
    files = artefact.files_of(folder)
    manifest = kind(
        signature=signature,
        network=spec,
        precision=request.precision,
        graphs=names,
        weights=STATE if request.checkpoint else None,
        files=files,
        source=source,
        versions=artefact.versions(),
        parity=accounts,
        fingerprint=fingerprint_of(files),
        opset=request.opset,
    )
    write_manifest(manifest, folder)
    verify(manifest, folder)
