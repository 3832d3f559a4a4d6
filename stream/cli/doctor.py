"""``posestream doctor``: checks what this machine can do, with a remedy for what it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from stream.cli.doctor_checks import Result

_MARKS = {"good": "[green]✓[/]", "note": "[yellow]–[/]", "bad": "[red]✗[/]"}


def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Test all that needs a GPU: kernel, export, TensorRT, speed. Takes minutes.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="With --gpu: write a report (.md or .json)."),
    ] = None,
    limit: Annotated[
        float, typer.Option("--limit", metavar="SECONDS", min=1, help="With --gpu: time limit of a step.")
    ] = 600,
    network: Annotated[
        str,
        typer.Option("--network", help="With --gpu: the network to export, with random weights."),
    ] = "",
) -> int:
    """Check this machine: cores, shared memory, cameras, codecs, GPU, backends; with remedies.

    The exit code is 1 when something is missing that posestream needs.

    With --gpu all steps from kernel to engine run, each in a process of its own: the kernel is compiled, compared and
    timed; a small network is exported, built by TensorRT, compared with ONNX Runtime and timed. A step that fails stops
    only those that need it; Ctrl-C ends with the results so far. The exit code is 0 when all that could run on the GPU
    passed, and 1 when something failed or there is no GPU; the steps that need none still run. The report names no
    user, host or folder.

    Examples:

        posestream doctor

        posestream doctor --gpu --report gpu.md
    """
    if gpu:
        return _check_gpu(report, limit, network)
    if report is not None:
        raise typer.BadParameter("needs --gpu as well", param_hint="--report")
    return _check_machine()


def _check_gpu(report: Path | None, limit_s: float, network: str) -> int:
    from stream.cli import plugins

    code: int = plugins.load_check("gpu")(write_to=report, limit_s=limit_s, network=network)
    return code


def _check_machine() -> int:
    from rich.console import Console

    from stream.cli.doctor_checks import run_checks

    results = list(run_checks())
    Console(highlight=False).print(_table(results))
    return 1 if any(result.state == "bad" for result in results) else 0


def _table(results: Sequence[Result]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    last = ""
    for result in results:
        remedy = f"\n[dim]{escape(result.remedy)}[/]" if result.remedy else ""
        topic = "" if result.topic == last else result.topic
        table.add_row(_MARKS[result.state], f"[bold]{topic}[/]", escape(result.text) + remedy)
        last = result.topic
    return table
