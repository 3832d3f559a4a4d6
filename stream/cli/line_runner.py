"""Runs a pipeline for a command: in processes or in this one, with progress where somebody watches."""

from __future__ import annotations

import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.cli.progress import Watch
    from stream.pipeline.pipeline import Pipeline
    from stream.pipeline.wiring import Line
    from stream.runtime.supervisor import Supervisor

_LISTENER_PATIENCE_S = 5.0


def play(pipeline: Pipeline, *, in_process: bool, run_dir: Path | None, quiet: bool) -> int:
    """Run the whole line to its end and return the exit code; a line that ends before a sink prints what comes out."""
    from stream.cli.progress import watching

    closed = with_sinks(pipeline)
    with watching(closed, quiet=quiet) as watch:
        if in_process or (len(closed.parts) == 1 and run_dir is None):
            return play_here(closed, watch)
        return play_in_processes(closed, run_dir, watch)


def play_here(pipeline: Pipeline, watch: Watch) -> int:
    """Run the line in this process."""
    counted = pipeline.with_lines(*(_counted(line, watch) for line in pipeline.lines)) if watch.is_shown else pipeline
    with _terminable():
        for _ in counted.run():
            pass
    return 0


def play_in_processes(pipeline: Pipeline, run_dir: Path | None, watch: Watch) -> int:
    """Run the line with a process for each part; 128 + its number when a signal ended it."""
    from stream.runtime.supervisor import Supervisor

    words = LastWords()

    def hear(part: str, line: str) -> None:
        if reader_has_left():
            supervisor.kill()
        else:
            words.hear(part, line)

    with Supervisor(pipeline, run_dir, on_stderr=hear) as supervisor, _telling(supervisor, pipeline, watch):
        number = supervisor.run()
    words.say()
    return 128 + number if number else 0


class LastWords:
    """Prints what parts write to stderr. An element's own complaint is held back until more is heard: when it is why
    the line ends, the error that ends it says the same, and a user's mistake is answered once."""

    def __init__(self) -> None:
        self._held = ""

    def hear(self, part: str, line: str) -> None:
        """A line of a part's stderr; one that names its element already is not named twice."""
        self.say()
        self._held = line if line.startswith(f"{part}: ") else ""
        if not self._held:
            print(f"{part}: {line}", file=sys.stderr)

    def say(self) -> None:
        """Print what is held back."""
        if self._held:
            print(self._held, file=sys.stderr)
        self._held = ""


def reader_has_left() -> bool:
    """Nobody reads stdout any more, as after ``posestream … | head``: parts that print then fail, and nobody cares."""
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in watched.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system, no descriptor behind stdout, or closed
        return False


def play_part(pipeline: Pipeline, name: str, run_dir: Path) -> int:
    """Run one part in this process; Ctrl-C ends its streams, and a second one ends it at once."""
    from stream.runtime.runner import run_part_alone

    return run_part_alone(pipeline, name, run_dir)


def with_sinks(pipeline: Pipeline) -> Pipeline:
    """The same lines, each open end closed by a sink that prints: JSON for poses, a line of words for all else."""
    if not pipeline.open_ends:
        return pipeline
    return pipeline.with_lines(*(_closed(line, pipeline) for line in pipeline.lines))


def _closed(line: Line, pipeline: Pipeline) -> Line:
    from stream.element import Sink
    from stream.elements.queue import Queue
    from stream.elements.tee import Tee
    from stream.pipeline.wiring import Line
    from stream.registry import make

    last = line.elements[-1]
    if isinstance(last, Sink | Queue | Tee):
        return line
    gives = pipeline.caps_of(last)[1]
    has_poses = gives is not None and gives.media == "people/poses"
    return Line(
        *line.elements, make("jsonsink") if has_poses else make("fakesink", dump=True), from_queue=line.from_queue
    )


def _counted(line: Line, watch: Watch) -> Line:
    """The same line, with a counter in front of its sink."""
    from stream.cli.counter import Counter
    from stream.element import Sink
    from stream.pipeline.wiring import Line
    from stream.registry import label

    *others, last = line.elements
    if not isinstance(last, Sink):
        return line
    return Line(*others, Counter().telling(watch, label(last)), last, from_queue=line.from_queue)


@contextmanager
def _telling(supervisor: Supervisor, pipeline: Pipeline, watch: Watch) -> Iterator[None]:
    """Let the heartbeats of the parts at the end of the line move the progress bar."""
    ends = {part.name for part in pipeline.parts if not part.outboxes}

    def listen() -> None:
        from stream.runtime.bus import Stats

        for notice in supervisor.messages():
            if isinstance(notice, Stats) and notice.part in ends:
                watch.reach(notice.part, notice.items)

    listener = threading.Thread(target=listen, name="progress", daemon=True)
    if watch.is_shown:
        supervisor.pause()
        listener.start()
    yield
    if watch.is_shown:
        listener.join(_LISTENER_PATIENCE_S)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that files are closed and cameras given back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
