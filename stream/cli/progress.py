"""A progress bar for lines that end: frames done of how many, frames a second, time left. Silent without a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from stream.pipeline.pipeline import Pipeline


def watching(pipeline: Pipeline, *, quiet: bool) -> Watch:
    """Progress over all frames the sources will give; nothing is shown where nobody watches, or some never end."""
    totals = [source.length for source in pipeline.sources]
    is_shown = sys.stderr.isatty() and not quiet and all(total is not None for total in totals)
    return Watch(sum(total or 0 for total in totals) if is_shown else None)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar of ``total`` things done by this process, where somebody watches; gives what to call after each."""
    with _bar(Console(stderr=True, quiet=not sys.stderr.isatty()), what) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


class Watch:
    """The bar, or nothing at all where ``total`` is None; a context manager."""

    def __init__(self, total: int | None, console: Console | None = None) -> None:
        self._progress = _bar(console or Console(stderr=True)) if total is not None else None
        self._task = self._progress.add_task("frames", total=total) if self._progress else None
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def is_shown(self) -> bool:
        """True where there is a bar."""
        return self._progress is not None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def reach(self, part: str, done: int) -> None:
        """``part``, a last one, has done so many frames since it began; any thread may say so."""
        if self._progress is None or self._task is None:
            return
        with self._lock:
            self._done[part] = done
            self._progress.update(self._task, completed=min(self._done.values()))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} fps")


def _bar(console: Console, what: str = "frames") -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
