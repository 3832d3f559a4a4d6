"""The chain on the terminal: a row for each step when it ends, tables of measurements, and a summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.gpu_selftest.chain import Attempt, Outcome, Step
from export.gpu_selftest.report import KERNELS, RATES, find_rows, summarise
from export.gpu_selftest.results import Result

_MARKS = {"ok": "[green]✓[/]", "not run": "[yellow]–[/]", "failed": "[red]✗[/]"}
_TITLE = 26


class Terminal:
    """Prints the progress and the results of a chain of ``steps`` steps."""

    def __init__(self, steps: int) -> None:
        self._console = Console(highlight=False)
        self._steps, self._ended = steps, 0

    def with_status(self, attempt: Attempt) -> Attempt:
        """``attempt`` with a status line while a step runs."""

        def run(step: Step) -> Result:
            with self._running(step):
                return attempt(step)

        return run

    @contextmanager
    def _running(self, step: Step) -> Iterator[None]:
        with self._console.status(
            f"{self._ended + 1} of {self._steps}: {escape(step.title)} (Ctrl-C stops and reports)"
        ):
            yield

    def print_result(self, result: Result) -> None:
        """Print one step that ended or was skipped."""
        self._ended += 1
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=_TITLE)
        table.add_column(overflow="fold")
        state = "" if result.state == "ok" else f"{result.state}: "
        remedy = f"\n[dim]{escape(result.remedy)}[/]" if result.remedy else ""
        seconds = f" [dim]({result.seconds:.0f} s)[/]" if result.seconds >= 1 else ""
        table.add_row(
            _MARKS[result.state], f"[bold]{escape(result.title)}[/]", escape(state + result.message) + seconds + remedy
        )
        self._console.print(table)

    def print_summary(self, outcome: Outcome, report: str) -> None:
        """Print what was measured and a summary; ``report`` says where the report is, or how to get one."""
        for columns in (KERNELS, RATES):
            if rows := find_rows(outcome, columns):
                self._console.print(_make_table(columns, rows))
        self._console.print(f"{escape(summarise(outcome))}. {escape(report)}")


def _make_table(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> Table:
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    return table
