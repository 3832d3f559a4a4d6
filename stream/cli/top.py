"""``posestream top``: how each part of a running line is doing, live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.errors import TransportError

if TYPE_CHECKING:
    from rich.table import Table

    from stream.runtime.bus import AnyNotice, Stats
    from stream.runtime.run_dir import Run

_COLUMNS = (
    "part",
    "state",
    "fps",
    "ms p50",
    "ms p95",
    "age p50",
    "age p95",
    "waiting",
    "dropped",
    "errors",
    "restarts",
    "says",
)
_TEXTS = ("part", "state", "says")
_LOOK_S = 0.5
# A part is silent when its heartbeat, sent twice a second, has not come for so long.
_SILENT_S = 3.0


def top(
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Which line; the newest if not given.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="End after so many; 0 runs until Ctrl-C.")] = 0.0,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
) -> None:
    """Show every part of a running line, live: frames a second, milliseconds, age, drops, errors, restarts.

    'ms' is the time a part's elements take for an item; 'age' is how old the frame was when it left the part; 'says' is
    what its elements have to say, as pose does of features it could use again.

    Examples:

        posestream top

        posestream top --once
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    board = Board(_folder(run_dir))
    is_once = once or not sys.stdout.isatty()
    with board:
        if is_once:
            board.wait_for_all()
            return console.print(board.table())
        with Live(board.table(), console=console, auto_refresh=False) as live:
            for _ in _looks(seconds):
                board.listen(_LOOK_S)
                live.update(board.table(), refresh=True)
    return None


def _looks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds if seconds else float("inf")
    while time.monotonic() < end:
        yield


def _folder(run_dir: Path | None) -> Path:
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


class Board:
    """What the bus of one line says, as a table; a context manager."""

    def __init__(self, run_dir: Path) -> None:
        from stream.pipeline.launch import load_yaml
        from stream.transports.bus_sockets import BusSubscriber

        self.parts = [part.name for part in load_yaml(run_dir / "line.yaml").parts]
        self._bus = BusSubscriber(f"ipc://{run_dir}/bus.sock")
        self._stats: dict[str, Stats] = {}
        self._heard_s: dict[str, float] = {}

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def listen(self, seconds: float) -> None:
        """Take in what the bus says for so long."""
        from stream.runtime.bus import decode

        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            for data in self._bus.receive(timeout_ms=max(1, int(1000 * left_s))):
                self.hear(decode(data))

    def hear(self, notice: AnyNotice | None) -> None:
        """Note what one notice says; statistics alone are shown, since all that matters is said again in them."""
        from stream.runtime.bus import Stats

        if isinstance(notice, Stats):
            self._stats[notice.part] = notice
            self._heard_s[notice.part] = time.monotonic()

    def wait_for_all(self, patience_s: float = 5.0) -> None:
        """Listen until every part was heard, but not for ever."""
        end = time.monotonic() + patience_s
        while not self._stats.keys() >= set(self.parts) and time.monotonic() < end:
            self.listen(0.1)

    def table(self) -> Table:
        """A row for each part, upstream first."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in _COLUMNS:
            table.add_column(title, justify="left" if title in _TEXTS else "right")
        for name in self.parts:
            table.add_row(name, *self._row(name))
        return table

    def _row(self, name: str) -> tuple[str, ...]:
        stats = self._stats.get(name)
        if stats is None:
            return ("not heard yet",)
        from rich.markup import escape

        is_silent = time.monotonic() - self._heard_s[name] > _SILENT_S
        return (
            "silent" if is_silent else "ended" if stats.finished else stats.state.lower(),
            *_figures(stats),
            escape(stats.status),
        )


def _figures(stats: Stats) -> tuple[str, ...]:
    times = (stats.process_p50_ms, stats.process_p95_ms, stats.age_p50_ms, stats.age_p95_ms)
    counts = (stats.waiting, stats.dropped, stats.errors, stats.incarnation)
    return (f"{stats.fps:.1f}", *(f"{value:.1f}" for value in times), *map(str, counts))
