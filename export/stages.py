"""The stages that exports of crop networks and of whole-picture networks share: request, trace, write, record."""

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
from export.graph.editing import remove_output
from export.graph.weights_file import write_graph, write_graphs
from export.precision.rounding import round_float16
from export.progress import step
from export.to_onnx import OPSET, to_onnx
from export.weights import Choice

STATE = "weights.safetensors"


@dataclass(frozen=True)
class Request:
    """The options of an export. ``out`` is the folder, or None for ``<network>-<precision>`` in the current one.

    ``size`` (width, height) px and ``candidates`` are for networks of whole pictures. ``checkpoint`` adds the weights
    for PyTorch to the graphs.
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
        """The folder to export into. Its default name says if weights are random."""
        suffix = "-random" if self.choice.random else ""
        return self.out or Path(f"{name}-{self.precision}{suffix}")


def trace(graph: wrappers.Graph, request: Request) -> onnx.ModelProto:
    """One graph as ONNX, with its weights inside."""
    with step(f"{graph.part} to ONNX"):
        return to_onnx(graph, request.opset)


def write_trial(models: dict[Part, onnx.ModelProto], precision: Precision, folder: Path) -> Path:
    """The folder of the graphs to measure, in which every float16 is rounded as a GPU does.

    ONNX Runtime on a CPU computes float16 in float32, which is more accurate than a GPU.
    """
    if precision == "fp32":
        return folder
    trial = folder / "trial"
    trial.mkdir()
    write_graphs({part: round_float16(model) for part, model in models.items()}, trial)
    return trial


def write_state(model: nn.Module, folder: Path, request: Request) -> None:
    """Write the checkpoint under this project's names, if requested."""
    if not request.checkpoint:
        return
    from safetensors.torch import save as serialise

    # Not save_file, which writes a file that only its owner may read.
    (folder / STATE).write_bytes(serialise({key: value.contiguous() for key, value in model.state_dict().items()}))


def write_final_graphs(models: dict[Part, onnx.ModelProto], folder: Path, *measured: str) -> None:
    """Write the graphs without their ``measured`` outputs, and open each once."""
    for part, model in models.items():
        for output in measured:
            remove_output(model, output)
        backend = make_backend(folder / write_graph(model, part, folder), "onnxrt:cpu")
        backend.open()
        backend.close()


def record(
    kind: Callable[..., BaseManifest],
    signature: Signature | PictureSignature,
    spec: NetworkSpec,
    request: Request,
    source: Source,
    names: dict[Part, str],
    accounts: dict[Part, Parity],
    folder: Path,
) -> None:
    """Write the manifest of this ``kind`` for all files in ``folder``."""
    files = artifacts.describe_files(folder)
    manifest = kind(
        signature=signature,
        network=spec,
        precision=request.precision,
        graphs=names,
        weights=STATE if request.checkpoint else None,
        files=files,
        source=source,
        versions=artifacts.find_versions(),
        parity=accounts,
        fingerprint=fingerprint_files(files),
        opset=request.opset,
    )
    write_manifest(manifest, folder)
    verify_files(manifest, folder)
