"""``posestream doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from stream.commands.findings import Finding

_MARKS = {"good": "[green]✓[/]", "note": "[yellow]–[/]", "bad": "[red]✗[/]"}


def doctor() -> None:
    """Say what this machine can do: cores, shared memory, cameras, codecs, GPU, backends; and remedies.

    Ends with 1 when something is missing that posestream cannot do without.

        posestream doctor
    """
    from rich.console import Console

    from stream.commands.findings import findings

    found = list(findings())
    Console(highlight=False).print(_page(found))
    if any(finding.state == "bad" for finding in found):
        raise typer.Exit(1)


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
