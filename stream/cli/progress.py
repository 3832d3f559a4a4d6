"""Progress on a terminal: frames done of how many, frames a second, time left. Elsewhere nothing is shown."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stream.logs import is_quiet
from stream.pipeline.pipeline import Pipeline


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar of ``total`` steps of this process; yields the function to call after each."""
    with _bar(Console(stderr=True, quiet=not is_watched()), what) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def is_watched() -> bool:
    """True where stderr is a terminal, unless ``-q`` was given."""
    return sys.stderr.isatty() and not is_quiet()


def total_frames(pipeline: Pipeline) -> int | None:
    """How many frames all sources will give; None where one of them does not know, or never ends."""
    lengths = [source.length for source in pipeline.sources]
    return None if None in lengths else sum(length or 0 for length in lengths)


class LineProgress:
    """What a line has done so far, and the bar that shows it; a context manager. Any thread may call it.

    ``total`` is the number of frames to come, None where it is not known. Nothing is drawn without a ``console``.
    """

    def __init__(self, total: int | None, console: Console | None) -> None:
        self.dropped: Counter[str] = Counter()
        self._frames: dict[str, int] = {}
        self._lost: Counter[str] = Counter()
        self._began_s = self._latest_s = 0.0
        self._lock = threading.Lock()
        self._progress = None if console is None else _bar(console, "frames", is_endless=total is None)
        self._task = self._progress.add_task("frames", total=total) if self._progress else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    @property
    def frames(self) -> int:
        """How many frames of the sources went through."""
        return sum(self._frames.values())

    @property
    def seconds(self) -> float:
        """How long that took; 0 before the first frame."""
        return max(0.0, self._latest_s - self._began_s)

    def begin(self) -> None:
        """The sources begin to give frames: the clock starts."""
        self._began_s = self._began_s or time.monotonic()

    def reach(self, source: str, frames: int) -> None:
        """So many frames of ``source`` went through since the start."""
        with self._lock:
            if frames > self._frames.get(source, 0):
                self._frames[source] = frames
                self._latest_s = time.monotonic()
                self._update()

    def drop(self, reason: str, count: int, source: str = "") -> None:
        """So many items were dropped; ``source`` names the source that dropped its own frames, as it may."""
        with self._lock:
            self.dropped[reason] += count
            self._lost[source] += count if source else 0
            self._update()

    def _update(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self.frames + self._lost.total())


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} fps")


def _bar(console: Console, what: str, *, is_endless: bool = False) -> Progress:
    text = TextColumn(what)
    columns: tuple[ProgressColumn, ...] = (text, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    if is_endless:
        columns = (SpinnerColumn(), text, TextColumn("{task.completed:.0f}"), _Rate(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
