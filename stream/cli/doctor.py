"""``posestream doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from stream.cli.doctor_checks import Finding

_MARKS = {"good": "[green]✓[/]", "note": "[yellow]–[/]", "bad": "[red]✗[/]"}


def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Try all that a GPU is for: kernel, export, TensorRT, speed. Takes minutes.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="With --gpu: write what was found (.md, or .json) to send it."),
    ] = None,
    limit: Annotated[float, typer.Option("--limit", metavar="SECONDS", min=1, help="With --gpu: for each step.")] = 600,
    network: Annotated[
        str,
        typer.Option("--network", help="With --gpu: what is exported, with random weights; a small one without it."),
    ] = "",
) -> int:
    """Say what this machine can do: cores, shared memory, cameras, codecs, GPU, backends; and remedies.

    Ends with 1 when something is missing that posestream cannot do without.

    With --gpu the whole chain runs, each step in a process of its own: our kernel compiled, compared and timed; a small
    network exported, built by TensorRT, compared with ONNX Runtime, timed. A step that fails stops only those that need
    it; Ctrl-C ends with what is known. Ends with 0 when all that could run on the GPU passed; with 1 when something
    failed or there is no GPU, where it still does what needs none. The report names no user, host or folder.

    Examples:

        posestream doctor

        posestream doctor --gpu --report gpu.md
    """
    if gpu:
        return _check_gpu(report, limit, network)
    if report is not None:
        raise typer.BadParameter("goes with --gpu", param_hint="--report")
    return _look()


def _check_gpu(report: Path | None, limit_s: float, network: str) -> int:
    from stream.cli import plugins

    code: int = plugins.load_check("gpu")(write_to=report, limit_s=limit_s, network=network)
    return code


def _look() -> int:
    from rich.console import Console

    from stream.cli.doctor_checks import findings

    found = list(findings())
    Console(highlight=False).print(_page(found))
    return 1 if any(finding.state == "bad" for finding in found) else 0


def _page(found: Sequence[Finding]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    shown = ""
    for finding in found:
        remedy = f"\n[dim]{escape(finding.remedy)}[/]" if finding.remedy else ""
        topic = "" if finding.topic == shown else finding.topic
        table.add_row(_MARKS[finding.state], f"[bold]{topic}[/]", escape(finding.text) + remedy)
        shown = finding.topic
    return table
