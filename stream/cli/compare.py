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
"""Half a cell of a heatmap at a quarter of the crop's size: as far as the quarter shift jumps when two neighbours of a
top are equally high."""

DIFFER = 1

_A = "A network: a name, an .onnx or an export's folder; then @BACKEND, 'auto' without it."


def _argument(text: str) -> Any:
    """One of the two networks."""
    return typer.Argument(metavar="MODEL[@BACKEND]", help=text, show_default=False, autocompletion=complete_models)


class Side(NamedTuple):
    """What one of the two arguments says."""

    model: str
    backend: str


def compare(
    first: Annotated[str, _argument(_A)],
    second: Annotated[str, _argument("The other one.")],
    bound: Annotated[
        float,
        typer.Option("--bound", metavar="PX", min=0, help="99 of 100 keypoints may lie so far apart in the crop."),
    ] = BOUND_PX,
    frames: Annotated[
        str, typer.Option("--frames", metavar="FILE", help="A video or pictures to look at; else drawn people.")
    ] = "",
    detector: Annotated[
        str, typer.Option("--detector", help="Who finds people in FILE; 'whole' takes each picture for one person.")
    ] = "yolox-nano",
    windows: Annotated[int, typer.Option("--windows", min=1, help="How many windows to ask both.")] = 30,
    crop: Annotated[
        str, typer.Option("--crop", help="How people are cropped, as in pose: exact, lock or auto.")
    ] = "exact",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of each.")] = 1,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="PNG", help="Draw both where they differ most.")
    ] = None,
) -> int:
    """Ask two networks, or one on two backends, the same: how far apart are their keypoints, and how fast is each?

    Ends with 0 when they agree, with 1 when they do not: when more than 1 keypoint in 100 lies farther apart than
    --bound, in pixels of the crop.

    Examples:

        posestream compare hrnet-small hrnet-small@onnxrt:cpu

        posestream compare fami-fp16 fami-fp16@torch --picture apart.png

        posestream compare fami-fp32 fami-fp16 --frames people.mp4 --windows 200
    """
    from engines.inference.comparison import compare as ask_both
    from stream.cli.comparison import windows_of
    from stream.cli.progress import progress_bar

    with _engine(first, threads, crop) as one, _engine(second, threads, crop) as other:
        with progress_bar("windows", windows) as done:
            found = ask_both(one, other, windows_of(one.signature, windows, frames, detector), done)
        _show(found, (first, second), (one, other))
        if picture is not None:
            _draw(found, one.signature, (first, second), picture)
    agrees = found.agrees(bound)
    print(_verdict(found, agrees, bound))
    return 0 if agrees else DIFFER


def side_of(told: str) -> Side:
    """Read ``MODEL[@BACKEND]``; a folder's own name may hold an ``@``, since a backend's holds no ``/`` and no dot."""
    model, at, backend = told.rpartition("@")
    if not at or not model or "/" in backend or "." in backend:
        return Side(told, "auto")
    return Side(model, backend or "auto")


def _engine(told: str, threads: int, crop: str) -> Engine:
    from engines.inference.engine import load
    from stream.errors import PropertyError

    if crop not in ("auto", "exact", "lock"):
        raise PropertyError(f"compare: --crop {crop!r} is none of auto, exact and lock")
    chosen: Crop = crop  # type: ignore[assignment]
    model, backend = side_of(told)
    return load(model, backend, threads, crop=chosen)


# -- what is told -----------------------------------------------------------------------------------------------------


def _show(found: Comparison, told: Sequence[str], engines: Sequence[Engine]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for letter, name, engine in zip("AB", told, engines, strict=True):
        console.print(f"{letter} {name}: {engine.choice}, fingerprint {engine.fingerprint or 'none'}", markup=False)
    console.print(f"{found.people} people in {len(found.differences)} windows", markup=False)
    console.print(_distances(found))
    console.print(_speeds(found))


def _distances(found: Comparison) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("", "mean", "99 of 100 within", "largest"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("keypoints apart, px of the crop", *_cells(found.compute_spread(lambda one: one.crop_px)))
    table.add_row("keypoints apart, px of the frame", *_cells(found.compute_spread(lambda one: one.frame_px)))
    table.add_row("scores apart", *_cells(found.compute_spread(lambda one: one.scores)))
    return table


def _cells(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.mean:.4f}", f"{spread.percentile:.4f}", f"{spread.max:.4f}"


def _speeds(found: Comparison) -> str:
    shares = ", ".join(f"{100 * float(found.compute_pck(alpha)):.1f} % @{alpha:g}" for alpha in (0.05, 0.1, 0.2))
    lines = [f"PCK of B with A as the truth: {shares}"]
    lines += [
        f"{letter}: {_speed(found, seconds)}" for letter, seconds in (("A", found.first_s), ("B", found.second_s))
    ]
    return "\n".join(lines)


def _speed(found: Comparison, seconds: Sequence[float]) -> str:
    from statistics import median

    return f"{found.people / sum(seconds):.1f} people a second, {1e3 * median(seconds):.1f} ms a window (median)"


def _verdict(found: Comparison, agrees: bool, bound: float) -> str:
    within = found.compute_spread(lambda one: one.crop_px).percentile
    told = f"99 of 100 keypoints lie within {within:.4f} px of the crop (--bound {bound:g})"
    return f"they agree: {told}" if agrees else f"they do not agree: {told}"


def _draw(found: Comparison, signature: Signature, told: Sequence[str], path: Path) -> None:
    from stream.cli.comparison import drawn, write

    write(drawn(found.worst, signature, told), path)
    print(f"{path}: where they differ most", file=sys.stderr)
