"""``posestream export``: from a checkpoint to a folder that runs on any backend, with the proof in it.

Only Typer and the standard library are imported here, since every ``posestream --help`` does.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

_NEEDED = ("torch", "onnx", "onnxscript", "safetensors")


class Target(StrEnum):
    """What runs it in the end."""

    onnx = "onnx"
    tensorrt = "tensorrt"


class Route(StrEnum):
    """Whose kernel computes deformable layers in TensorRT."""

    fused = "fused"
    nvidia = "nvidia"


class Kind(StrEnum):
    """Of the numbers inside."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Decode(StrEnum):
    """How heatmaps become points."""

    heatmap = "heatmap"
    dark = "dark"


class Input(StrEnum):
    """What the graph is fed."""

    uint8 = "uint8"
    float32 = "float32"


def export(
    network: Annotated[
        str,
        typer.Argument(help="A network that 'posestream models' lists, or a .yaml of your own.", show_default=False),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint (.pth or .safetensors); without it, what 'posestream pull' has fetched."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="How the checkpoint names its weights; found out where it is not told.")
    ] = None,
    to: Annotated[Target, typer.Option(help="tensorrt builds engines too; it needs a GPU.")] = Target.onnx,
    precision: Annotated[Kind, typer.Option(help="Types of the numbers inside.")] = Kind.fp32,
    decode: Annotated[
        Decode, typer.Option(help="Highest cell and a quarter towards the higher neighbour, or DARK.")
    ] = Decode.heatmap,
    input: Annotated[  # noqa: A002 - it is the option's name
        Input, typer.Option(help="Crops as they are, or ordered and normalised by whoever feeds them.")
    ] = Input.uint8,
    frames: Annotated[
        Path | None,
        typer.Option(help="Video, or folder of pictures, to measure and to calibrate on; drawn people without it."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Of the pictures that a network of whole pictures takes, such as 960x544; else its own."),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=3840, help="For such a network: places looked at; 500 without it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; NETWORK-PRECISION here without it.")] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 20 or newer.")] = 20,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint/--no-checkpoint", help="The weights for PyTorch too; graphs alone take half the space."
        ),
    ] = True,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="No checkpoint at all: for trying the chain.")
    ] = False,
    plugin: Annotated[
        Route, typer.Option(help="With --to tensorrt, for deformable layers: our kernel, or TensorRT's own.")
    ] = Route.fused,
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="With --to tensorrt: how many people an engine takes at once.")
    ] = 16,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="With --to tensorrt: engines without weights, for many checkpoints of one network."
        ),
    ] = False,
) -> None:
    """Make a folder of a checkpoint that runs on any backend, measured against PyTorch.

    Examples:

        posestream export fami-w48-384x288 --weights my.pth --to tensorrt --precision fp16

        posestream export hrnet-compact-256x192 --random-weights --out trial

    Run it in a line: pose model=FOLDER
    """
    _check_installed()
    _check_words(weights, layout, random=random_weights)
    from export.exporter import export_network
    from export.stages import Request
    from export.weights import Choice

    request = Request(
        network=network,
        choice=Choice(weights=weights, layout=layout, random=random_weights),
        precision=precision.value,
        decoding=decode.value,
        pixel=input.value,
        frames=frames,
        size=None if size is None else _size(size),
        candidates=candidates,
        out=out,
        opset=opset,
        force=force,
        checkpoint=checkpoint,
    )
    if random_weights:
        print(f"{network}: random weights, for trying the chain only", file=sys.stderr)
    folder = export_network(request)
    print(_told(folder))
    if to is Target.tensorrt:
        _build_engines(folder, plugin, max_batch, refit=refit)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        from engines.errors import install_hint

        _refuse(f"posestream export needs {', '.join(missing)}; {install_hint('torch')}")


def _check_words(weights: Path | None, layout: str | None, *, random: bool) -> None:
    if random and weights is not None:
        _refuse(f"--random-weights and --weights {weights} exclude each other; give one of them")
    if layout is not None and weights is None:
        _refuse(f"--layout {layout} says how a checkpoint is written down; give the checkpoint with --weights FILE")


def _size(told: str) -> tuple[int, int]:
    """Width and height of ``960x544``."""
    width, by, height = told.partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        _refuse(f"--size {told}: give width and height of the pictures in px, such as 960x544")
    return int(width), int(height)


def _refuse(told: str) -> None:
    from engines.errors import EngineError

    raise EngineError(told)


def _told(folder: Path) -> str:
    """What came of it, in a few lines."""
    from engines.spec.manifest import Manifest, read_any_manifest

    manifest = read_any_manifest(folder)
    lines = [f"{folder}: {manifest.precision}, {sum(f.bytes for f in manifest.files.values()) / 1e6:.1f} MB"]
    for part, account in manifest.parity.items():
        lines.append(
            f"  {part}: {account.runner} against {account.reference}: heatmaps {account.heatmap_error:.1e}, keypoints "
            f"{account.shift_px_max:.2f} px at most ({account.inputs})"
        )
    element = "pose" if isinstance(manifest, Manifest) else "posedetect"
    return "\n".join([*lines, f"  run it in a line: {element} model={folder}"])


def _build_engines(folder: Path, plugin: Route, max_batch: int, *, refit: bool) -> None:
    from engines.backends.trt.options import BuildOptions
    from export.to_tensorrt import build_engines

    build_engines(folder, plugin=plugin.value, options=BuildOptions(max_batch=max_batch, refit=refit))
