"""The stages that exports of crop networks and of whole-picture networks share: request, trace, write, sign."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from torch import nn

from engines.backends.registry import make_backend
from engines.layers.decoding import Decoding
from engines.spec.manifest import (
    BaseManifest,
    Parity,
    Part,
    Precision,
    Source,
    fingerprint_files,
    verify_files,
    write_manifest,
)
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import PictureSignature
from engines.spec.signature import Pixel, Signature
from export import artifacts
from export.graph import wrappers
from export.graph.pruning import without_output
from export.graph.weights_file import save, write_graphs
from export.precision.rounding import rounded
from export.progress import step
from export.to_onnx import OPSET, to_onnx
from export.weights import Choice

STATE = "weights.safetensors"


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


def traced(graph: wrappers.Graph, request: Request) -> onnx.ModelProto:
    with step(f"{graph.part} to ONNX"):
        return to_onnx(graph, request.opset)


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


def ship(models: dict[Part, onnx.ModelProto], folder: Path, *measured: str) -> None:
    """The graphs without the outputs they were ``measured`` by, and each opened once more."""
    for part, model in models.items():
        for output in measured:
            without_output(model, output)
        backend = make_backend(folder / save(model, part, folder), "onnxrt:cpu")
        backend.open()
        backend.close()


def sign(
    kind: Callable[..., BaseManifest],
    signature: Signature | PictureSignature,
    spec: NetworkSpec,
    request: Request,
    source: Source,
    names: dict[Part, str],
    accounts: dict[Part, Parity],
    folder: Path,
) -> None:
    """Write the manifest of this ``kind`` over all that lies in ``folder``."""
    files = artifacts.files_of(folder)
    manifest = kind(
        signature=signature,
        network=spec,
        precision=request.precision,
        graphs=names,
        weights=STATE if request.checkpoint else None,
        files=files,
        source=source,
        versions=artifacts.versions(),
        parity=accounts,
        fingerprint=fingerprint_files(files),
        opset=request.opset,
    )
    write_manifest(manifest, folder)
    verify_files(manifest, folder)
