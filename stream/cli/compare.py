"""``posestream compare``: whether two networks, or one network on two backends, give the same keypoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stream.cli.completion import complete_models

if TYPE_CHECKING:
    from rich.table import Table

    from engines.inference.comparison import Comparison, Spread
    from engines.inference.engine import Engine
    from engines.inference.export_loader import Crop
    from engines.spec.signature import Signature

BOUND_PX = 2.0
"""Half a cell of a heatmap at a quarter of the crop's size: how far the quarter shift moves a keypoint when two
neighbours of a maximum are equally high."""

DIFFER = 1

_A = "A network: a name, an .onnx or an export's folder; then @BACKEND, 'auto' without it."


def _argument(text: str) -> Any:
    """One of the two networks."""
    return typer.Argument(metavar="MODEL[@BACKEND]", help=text, show_default=False, autocompletion=complete_models)


class Side(NamedTuple):
    """A network and the backend that runs it."""

    model: str
    backend: str


def compare(
    first: Annotated[str, _argument(_A)],
    second: Annotated[str, _argument("The other one.")],
    bound: Annotated[
        float,
        typer.Option("--bound", metavar="PX", min=0, help="How far apart 99 of 100 keypoints may lie in the crop."),
    ] = BOUND_PX,
    frames: Annotated[
        str, typer.Option("--frames", metavar="FILE", help="A video or pictures; synthetic people without it.")
    ] = "",
    detector: Annotated[
        str, typer.Option("--detector", help="The detector for FILE; 'whole' takes each picture for one person.")
    ] = "yolox-nano",
    windows: Annotated[int, typer.Option("--windows", min=1, help="How many windows to compare.")] = 30,
    crop: Annotated[
        str, typer.Option("--crop", help="How people are cropped, as in pose: exact, lock or auto.")
    ] = "exact",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each.")] = 1,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="PNG", help="Draw both where they differ most.")
    ] = None,
) -> int:
    """Compare two networks, or one on two backends: how far apart their keypoints are, and how fast each is.

    The exit code is 0 when they agree, and 1 when more than 1 keypoint in 100 lies farther apart than --bound, in
    pixels of the crop.

    Examples:

        posestream compare hrnet-small hrnet-small@onnxrt:cpu

        posestream compare fami-fp16 fami-fp16@torch --picture apart.png

        posestream compare fami-fp32 fami-fp16 --frames people.mp4 --windows 200
    """
    from engines.inference.comparison import compare as compare_engines
    from stream.cli.comparison import make_windows
    from stream.cli.progress import progress_bar

    with _load(first, threads, crop) as one, _load(second, threads, crop) as other:
        with progress_bar("windows", windows) as done:
            comparison = compare_engines(one, other, make_windows(one.signature, windows, frames, detector), done)
        _print(comparison, (first, second), (one, other))
        if picture is not None:
            _draw(comparison, one.signature, (first, second), picture)
    agrees = comparison.agrees(bound)
    print(_verdict(comparison, agrees, bound))
    return 0 if agrees else DIFFER


def parse_side(text: str) -> Side:
    """Parse ``MODEL[@BACKEND]``; a folder's name may hold an ``@``, since a backend's holds no ``/`` and no dot."""
    model, at, backend = text.rpartition("@")
    if not at or not model or "/" in backend or "." in backend:
        return Side(text, "auto")
    return Side(model, backend or "auto")


def _load(text: str, threads: int, crop: str) -> Engine:
    from engines.inference.engine import load
    from stream.errors import PropertyError

    if crop not in ("auto", "exact", "lock"):
        raise PropertyError(f"compare: --crop {crop!r} is not one of auto, exact and lock")
    chosen: Crop = crop  # type: ignore[assignment]
    model, backend = parse_side(text)
    return load(model, backend, threads, crop=chosen)


# -- output -----------------------------------------------------------------------------------------------------------


def _print(comparison: Comparison, names: Sequence[str], engines: Sequence[Engine]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for letter, name, engine in zip("AB", names, engines, strict=True):
        console.print(f"{letter} {name}: {engine.choice}, fingerprint {engine.fingerprint or 'none'}", markup=False)
    console.print(f"{comparison.people} people in {len(comparison.differences)} windows", markup=False)
    console.print(_distances(comparison))
    console.print(_speeds(comparison))


def _distances(comparison: Comparison) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", "mean", "99 of 100 within", "largest"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("keypoints apart, px of the crop", *_cells(comparison.compute_spread(lambda one: one.crop_px)))
    table.add_row("keypoints apart, px of the frame", *_cells(comparison.compute_spread(lambda one: one.frame_px)))
    table.add_row("scores apart", *_cells(comparison.compute_spread(lambda one: one.scores)))
    return table


def _cells(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.mean:.4f}", f"{spread.percentile:.4f}", f"{spread.max:.4f}"


def _speeds(comparison: Comparison) -> str:
    shares = ", ".join(f"{100 * float(comparison.compute_pck(alpha)):.1f} % @{alpha:g}" for alpha in (0.05, 0.1, 0.2))
    lines = [f"PCK of B with A as the truth: {shares}"]
    lines += [f"A: {_speed(comparison, comparison.first_s)}", f"B: {_speed(comparison, comparison.second_s)}"]
    return "\n".join(lines)


def _speed(comparison: Comparison, seconds: Sequence[float]) -> str:
    from statistics import median

    return f"{comparison.people / sum(seconds):.1f} people a second, {1e3 * median(seconds):.1f} ms a window (median)"


def _verdict(comparison: Comparison, agrees: bool, bound: float) -> str:
    within = comparison.compute_spread(lambda one: one.crop_px).percentile
    text = f"99 of 100 keypoints lie within {within:.4f} px of the crop (--bound {bound:g})"
    return f"they agree: {text}" if agrees else f"they do not agree: {text}"


def _draw(comparison: Comparison, signature: Signature, names: Sequence[str], path: Path) -> None:
    from stream.cli.comparison import draw, write

    write(draw(comparison.worst, signature, names), path)
    print(f"{path}: where they differ most", file=sys.stderr)
