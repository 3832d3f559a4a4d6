"""``posestream top``: the statistics of each part of a running line, live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import TransportError

if TYPE_CHECKING:
    from rich.console import Console, Group

    from stream.metrics.line_watch import PartState
    from stream.runtime.run_dir import Run

_TEXTS = ("part", "state")
_NUMBERS = ("fps", "ms p50/95", "age p50/95", "wait", "drops", "errors", "restarts")
_REFRESH_S = 0.5


def top(
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="The line's folder; the newest without it.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="How long; 0 shows it until Ctrl-C.")] = 0.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="The cameras of the cluster that this host is in, and their hosts.")
    ] = False,
) -> None:
    """Show the parts of a running line, live: frames a second, milliseconds, age, drops, errors, restarts.

    'ms' is the time that the elements of a part take for an item, 'age' how old its frame was when it left the part, in
    milliseconds: the median, and what 95 of 100 stay below. 'wait' is the number of items before the part. Some
    elements add a line, as pose does about the features that it reused.

    Examples:

        posestream top

        posestream top --once

        posestream top --cluster
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if cluster:
        if run_dir is not None:
            raise typer.BadParameter("it names one line of this host; leave it out", param_hint="'--run-dir'")
        return _watch_cluster(console, seconds, is_once=once or not sys.stdout.isatty())
    with Board(_find_run_dir(run_dir)) as board:
        board.note = _describe_choice(board.run_dir) if run_dir is None else ""
        if once or not sys.stdout.isatty():
            board.wait_for_all()
            return console.print(board.render())
        end_s = time.monotonic() + seconds if seconds else float("inf")
        with Live(board.render(), console=console, auto_refresh=False) as live:
            while time.monotonic() < end_s:
                board.line.listen(_REFRESH_S)
                live.update(board.render(), refresh=True)
    return None


def _watch_cluster(console: Console, seconds: float, *, is_once: bool) -> None:
    """Show the cluster as 'posestream cluster status' does, again and again."""
    from rich.live import Live

    from stream.cli.cluster import open_client, render

    with open_client() as (client, _):
        if is_once:
            return console.print(render(client.status()))
        end_s = time.monotonic() + seconds if seconds else float("inf")
        with Live(render(client.status()), console=console, auto_refresh=False) as live:
            while time.monotonic() < end_s:
                time.sleep(_REFRESH_S)
                live.update(render(client.status()), refresh=True)
    return None


def _find_run_dir(run_dir: Path | None) -> Path:
    """The run directory meant. Raises :class:`TransportError` when no line runs there, or anywhere."""
    from stream.runtime.run_dir import list_runs

    if run_dir is not None:
        if not (run_dir / "run.json").is_file():
            raise TransportError(f"no line runs in {run_dir}; start one there with 'posestream launch … --run-dir'")
        return run_dir
    runs: list[Run] = list_runs()
    if not runs:
        raise TransportError("no line of yours runs on this host; start one, as with 'posestream demo'")
    return runs[-1].directory


def _describe_choice(shown: Path) -> str:
    """Which of several running lines this is, and how to see the others; empty where it is the only one."""
    from engines.redaction import redact
    from stream.runtime.run_dir import list_runs

    titles = {run.directory: redact(run.title) for run in list_runs()}
    others = [f"--run-dir {directory}: {title}" for directory, title in titles.items() if directory != shown]
    if not others:
        return ""
    return "\n".join([f"the newest of {len(titles)} lines: {titles.get(shown, shown)}", *others])


class Board:
    """The newest statistics of each part, as the bus of one line publishes them; a context manager."""

    def __init__(self, run_dir: Path) -> None:
        from stream.metrics.line_watch import LineWatch

        self.run_dir, self.note = run_dir, ""
        self.line = LineWatch(run_dir)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def wait_for_all(self, timeout_s: float = 5.0) -> None:
        """Listen until every part has sent its statistics, or the time is over."""
        end_s = time.monotonic() + timeout_s
        while not self.line.is_complete and time.monotonic() < end_s:
            self.line.listen(0.1)

    def render(self) -> Group:
        """A row for each part, upstream first; then what elements say about themselves."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, collapse_padding=True)
        for title in (*_TEXTS, *_NUMBERS):
            table.add_column(title, justify="left" if title in _TEXTS else "right")
        states = dict(self.line.states())
        for name in self.line.parts:
            table.add_row(name, *_cells(states.get(name)))
        notes = [Text(f"{name}: {state.stats.status}") for name, state in states.items() if state.stats.status]
        return Group(*([Text(self.note)] if self.note else []), table, *notes)


def _cells(part: PartState | None) -> tuple[str, ...]:
    if part is None:
        return ("unknown",)
    stats = part.stats
    return (
        "ended" if stats.finished else "silent" if part.is_silent else stats.state.lower(),
        f"{stats.fps:.1f}",
        f"{stats.process_p50_ms:.1f}/{stats.process_p95_ms:.1f}",
        f"{stats.age_p50_ms:.0f}/{stats.age_p95_ms:.0f}",
        *map(str, (stats.waiting, stats.dropped, stats.errors, stats.incarnation)),
    )
