"""``posestream export``: from a checkpoint to a folder that runs on any backend, measured against PyTorch.

Only Typer and the standard library are imported here, since every ``posestream --help`` imports this module.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

_PACKAGES = ("torch", "onnx", "onnxscript", "safetensors")


def export(
    network: Annotated[
        str,
        typer.Argument(help="A network that 'posestream models' lists, or a .yaml of your own.", show_default=False),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint (.pth or .safetensors); by default what 'posestream pull' fetched."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="How the checkpoint names its weights; detected by default.")
    ] = None,
    to: Annotated[
        Literal["onnx", "tensorrt"], typer.Option(help="tensorrt builds engines too and needs a GPU.")
    ] = "onnx",
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Types of the numbers inside.")] = "fp32",
    decode: Annotated[
        Literal["heatmap", "dark"],
        typer.Option(help="Highest cell and a quarter towards the higher neighbour, or DARK."),
    ] = "heatmap",
    input: Annotated[  # noqa: A002 - it is the option's name
        Literal["uint8", "float32"],
        typer.Option(help="uint8: crops as they are; float32: ordered and normalised before."),
    ] = "uint8",
    frames: Annotated[
        Path | None,
        typer.Option(help="Video or folder of pictures to measure and calibrate on; by default drawn people."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Picture size for a network of whole pictures, such as 960x544; by default its own."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=3840, help="For such a network: candidates per picture; 500 by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; NETWORK-PRECISION by default.")] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 20 or newer.")] = 20,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing export.")] = False,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint/--no-checkpoint", help="Include the weights for PyTorch; graphs alone take half the space."
        ),
    ] = True,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Random weights instead of a checkpoint, for testing.")
    ] = False,
    plugin: Annotated[
        Literal["fused", "nvidia"],
        typer.Option(help="With --to tensorrt: deformable layers by our kernel or by TensorRT's."),
    ] = "fused",
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="With --to tensorrt: the most people in one run of an engine.")
    ] = 16,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="With --to tensorrt: engines without weights, for many checkpoints of one network."
        ),
    ] = False,
) -> None:
    """Export a checkpoint as a folder that runs on any backend, measured against PyTorch.

    Examples:

        posestream export fami-w48-384x288 --weights my.pth --to tensorrt --precision fp16

        posestream export hrnet-compact-256x192 --random-weights --out trial

    Run it in a pipeline: pose model=FOLDER
    """
    _check_installed()
    _check_options(weights, layout, random=random_weights)
    from export.exporter import export_network
    from export.stages import Request
    from export.weights import Choice

    request = Request(
        network=network,
        choice=Choice(weights=weights, layout=layout, random=random_weights),
        precision=precision,
        decoding=decode,
        pixel=input,
        frames=frames,
        size=None if size is None else _parse_size(size),
        candidates=candidates,
        out=out,
        opset=opset,
        force=force,
        checkpoint=checkpoint,
    )
    if random_weights:
        print(f"{network}: random weights, for testing only", file=sys.stderr)
    folder = export_network(request)
    print(_describe_folder(folder))
    if to == "tensorrt":
        _build_engines(folder, plugin, max_batch, refit=refit)


def _check_installed() -> None:
    from engines.errors import EngineError, install_hint

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise EngineError(f"posestream export needs {', '.join(missing)}; {install_hint('torch')}")


def _check_options(weights: Path | None, layout: str | None, *, random: bool) -> None:
    from engines.errors import EngineError

    if random and weights is not None:
        raise EngineError(f"--random-weights and --weights {weights} exclude each other; give one of them")
    if layout is not None and weights is None:
        raise EngineError(f"--layout {layout} needs a checkpoint; give it with --weights FILE")


def _parse_size(text: str) -> tuple[int, int]:
    """Width and height of ``960x544``."""
    from engines.errors import EngineError

    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise EngineError(f"--size {text}: give width and height of the pictures in px, such as 960x544")
    return int(width), int(height)


def _describe_folder(folder: Path) -> str:
    """Size, parity and how to run it, in a few lines."""
    from engines.spec.manifest import Manifest, read_any_manifest

    manifest = read_any_manifest(folder)
    lines = [f"{folder}: {manifest.precision}, {sum(f.bytes for f in manifest.files.values()) / 1e6:.1f} MB"]
    for part, account in manifest.parity.items():
        lines.append(
            f"  {part}: {account.runner} against {account.reference}: heatmaps {account.heatmap_error:.1e}, keypoints "
            f"{account.shift_px_max:.2f} px at most ({account.inputs})"
        )
    element = "pose" if isinstance(manifest, Manifest) else "posedetect"
    return "\n".join([*lines, f"  run it in a pipeline: {element} model={folder}"])


def _build_engines(folder: Path, plugin: Literal["fused", "nvidia"], max_batch: int, *, refit: bool) -> None:
    from engines.backends.trt.options import BuildOptions
    from export.to_tensorrt import build_engines

    build_engines(folder, plugin=plugin, options=BuildOptions(max_batch=max_batch, refit=refit))
