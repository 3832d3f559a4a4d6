"""The chain on the terminal: a row a step as soon as it has ended, tables of what was measured, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.gpu_selftest.chain import Attempt, Outcome, Step
from export.gpu_selftest.report import KERNELS, RATES, rows_of, verdict
from export.gpu_selftest.results import Result

_MARKS = {"ok": "[green]✓[/]", "not run": "[yellow]–[/]", "failed": "[red]✗[/]"}
_TITLE = 26


class Page:
    """Where the chain is told."""

    def __init__(self, steps: int) -> None:
        self._console = Console(highlight=False)
        self._steps, self._ended = steps, 0

    def watched(self, attempt: Attempt) -> Attempt:
        """``attempt`` with a line that says what runs, while it does."""

        def told(step: Step) -> Result:
            with self._running(step):
                return attempt(step)

        return told

    @contextmanager
    def _running(self, step: Step) -> Iterator[None]:
        with self._console.status(
            f"{self._ended + 1} of {self._steps}: {escape(step.title)} (Ctrl-C ends and reports)"
        ):
            yield

    def row(self, result: Result) -> None:
        """One step that has ended, or was not begun."""
        self._ended += 1
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=_TITLE)
        table.add_column(overflow="fold")
        why = "" if result.state == "ok" else f"{result.state}: "
        remedy = f"\n[dim]{escape(result.remedy)}[/]" if result.remedy else ""
        seconds = f" [dim]({result.seconds:.0f} s)[/]" if result.seconds >= 1 else ""
        table.add_row(
            _MARKS[result.state], f"[bold]{escape(result.title)}[/]", escape(why + result.told) + seconds + remedy
        )
        self._console.print(table)

    def end(self, outcome: Outcome, reported: str) -> None:
        """What was measured, and how it went; ``reported`` says where the report is, or how to have one."""
        for columns in (KERNELS, RATES):
            if rows := rows_of(outcome, columns):
                self._console.print(_table(columns, rows))
        self._console.print(f"{escape(verdict(outcome))}. {escape(reported)}")


def _table(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> Table:
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    return table
