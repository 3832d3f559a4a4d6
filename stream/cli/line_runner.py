"""Runs a pipeline for a command: in processes or in this one; on a terminal, with progress and a summary."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.caps import ANY, Caps
from stream.element import Sink, Transform
from stream.errors import TransportError
from stream.registry import label
from stream.runtime.signals import raising_interrupts

if TYPE_CHECKING:
    from stream.cli.progress import LineProgress
    from stream.pipeline.pipeline import Pipeline
    from stream.pipeline.wiring import Line
    from stream.runtime.supervisor import Supervisor

_LISTENER_JOIN_S = 5.0


def run_line(pipeline: Pipeline, *, in_process: bool, run_dir: Path | None) -> int:
    """Run the whole line to its end and return the exit code; a line that ends before a sink prints its output."""
    from engines.hub.fetching import fetch_missing
    from stream.logs import is_quiet

    closed = close_open_ends(pipeline)
    fetch_missing(closed.networks, quiet=is_quiet())
    closed.check()
    has_processes = not in_process and (len(closed.parts) > 1 or run_dir is not None)
    with _reporting(closed, has_processes=has_processes) as progress:
        if has_processes:
            return run_in_processes(closed, run_dir, progress)
        return run_here(closed, progress)


def run_here(pipeline: Pipeline, progress: LineProgress | None = None) -> int:
    """Run the line in this process."""
    if progress is not None:
        progress.begin()
        pipeline = pipeline.with_lines(*(_count_frames(line, progress) for line in pipeline.lines))
    with raising_interrupts():
        try:
            for _ in pipeline.run():
                pass
        except BrokenPipeError:
            check_other_outputs(pipeline)
            raise
    return 0


def check_other_outputs(pipeline: Pipeline) -> None:
    """Raise :class:`TransportError` if sinks wrote elsewhere than to stdout, whose reader has gone before the end."""
    sinks = [
        label(element)
        for part in pipeline.parts
        for element in part.elements
        if isinstance(element, Sink) and any(element.outputs(part.cameras))
    ]
    if sinks:
        raise TransportError(
            f"the program that reads stdout has ended, and the line with it, so that the output of {', '.join(sinks)} "
            "may lack frames; write to a file instead of stdout"
        )


def run_in_processes(pipeline: Pipeline, run_dir: Path | None, progress: LineProgress | None = None) -> int:
    """Run the line with a process for each part; 128 + its number when a signal ended it."""
    from stream.runtime.supervisor import Supervisor

    output = PartOutput()
    is_cut_off = False

    def print_line(part: str, line: str) -> None:
        nonlocal is_cut_off
        if is_reader_gone():
            is_cut_off = True
            supervisor.kill()
        else:
            output.print_line(part, line)

    with Supervisor(pipeline, run_dir, on_stderr=print_line) as supervisor, _follow(supervisor, pipeline, progress):
        number = supervisor.run()
    output.flush()
    if is_cut_off:
        check_other_outputs(pipeline)
    return 128 + number if number else 0


class PartOutput:
    """Prints what parts write to stderr. A line that names its part is held back until the next one: where it is why
    the line ends, the error that follows says the same, and a mistake is reported once."""

    def __init__(self) -> None:
        self._held = ""

    def print_line(self, part: str, line: str) -> None:
        """Print a line of the part's stderr behind its name, unless the line begins with it."""
        self.flush()
        self._held = line if line.startswith(f"{part}: ") else ""
        if not self._held:
            print(f"{part}: {line}", file=sys.stderr)

    def flush(self) -> None:
        """Print what is held back."""
        if self._held:
            print(self._held, file=sys.stderr)
        self._held = ""


def is_reader_gone() -> bool:
    """True when the reader of stdout has gone, as after ``posestream … | head``: parts that print then fail, which is
    no error."""
    try:
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poller.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system, no descriptor behind stdout, or closed
        return False


# -- open ends --------------------------------------------------------------------------------------------------------


def close_open_ends(pipeline: Pipeline) -> Pipeline:
    """The same lines, each open end closed by a sink that prints: JSON for poses, a line of text for all else."""
    if not pipeline.open_ends:
        return pipeline
    return pipeline.with_lines(*(_close(line, pipeline) for line in pipeline.lines))


def _close(line: Line, pipeline: Pipeline) -> Line:
    from stream.element import Sink
    from stream.elements.queue import Queue
    from stream.elements.tee import Tee
    from stream.pipeline.wiring import Line
    from stream.registry import make

    last = line.elements[-1]
    if isinstance(last, Sink | Queue | Tee):
        return line
    src = pipeline.get_caps(last)[1]
    has_poses = src is not None and src.media == "people/poses"
    return Line(
        *line.elements, make("jsonsink") if has_poses else make("fakesink", dump=True), from_queue=line.from_queue
    )


# -- progress ---------------------------------------------------------------------------------------------------------


@contextmanager
def _reporting(pipeline: Pipeline, *, has_processes: bool) -> Iterator[LineProgress | None]:
    """On a terminal: an introduction, progress while the line runs, and a summary, also after Ctrl-C.

    Elsewhere only what was dropped is reported, in one line.
    """
    from stream.cli.progress import LineProgress, is_watched, total_frames
    from stream.logs import is_quiet

    if is_quiet() or not (is_watched() or has_processes):  # in one process nothing is dropped
        yield None
        return
    if not is_watched():
        with _reporting_drops() as progress:
            yield progress
        return
    from rich.console import Console

    from stream.cli.run_report import introduce, prints_to_terminal, summarise, written_files

    console, since_s = Console(stderr=True, highlight=False), time.time()
    for text in introduce(pipeline, has_processes=has_processes):
        console.print(text, markup=False, style="dim")
    progress = LineProgress(total_frames(pipeline), None if prints_to_terminal(pipeline) else console)
    try:
        with progress:
            yield progress
    finally:
        if progress.frames:
            files = written_files(pipeline, since_s)
            for text in summarise(progress.frames, progress.seconds, progress.dropped, files):
                console.print(text, markup=False)


@contextmanager
def _reporting_drops() -> Iterator[LineProgress]:
    from stream.cli.progress import LineProgress
    from stream.cli.run_report import summarise

    progress = LineProgress(None, None)
    yield progress
    if progress.dropped and not is_reader_gone():
        (text,) = summarise(progress.frames, progress.seconds, progress.dropped, [])
        print(f"posestream: {text}", file=sys.stderr)


@dataclass
class FrameCounter(Transform):
    """Passes everything on and counts it; stands behind a source when a line runs in this process."""

    sink = Caps(ANY)
    src = Caps(ANY)

    def __post_init__(self) -> None:
        self.count = 0
        self.progress: LineProgress | None = None
        self.source = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
        self.count += 1
        if self.progress is not None:
            self.progress.reach(self.source, self.count)


def _count_frames(line: Line, progress: LineProgress) -> Line:
    """The same line with a counter behind its source, if it begins with one."""
    from stream.element import Source
    from stream.pipeline.wiring import Line, camera_name

    first, *others = line.elements
    if not isinstance(first, Source):
        return line
    counter = FrameCounter()
    counter.progress, counter.source = progress, camera_name(first)
    return Line(first, counter, *others)


@contextmanager
def _follow(supervisor: Supervisor, pipeline: Pipeline, progress: LineProgress | None) -> Iterator[None]:
    """Pass on to ``progress`` what the parts report."""
    if progress is None:
        yield
        return
    sources = {part.name for part in pipeline.parts if part.source is not None}

    def listen() -> None:
        from stream.runtime.bus import Qos, StateChanged, Stats

        for notice in supervisor.messages():
            match notice:
                case StateChanged(new="PLAYING"):
                    progress.begin()
                case Stats(part=part, items=items) if part in sources:
                    progress.reach(part, items)
                case Qos(part=part, camera=camera, reason=reason, dropped=dropped) if dropped:
                    what = f"{reason} of {camera!r}" if len(pipeline.cameras) > 1 else reason
                    progress.drop(what, dropped, part if part in sources and reason == "no credit" else "")

    listener = threading.Thread(target=listen, name="progress", daemon=True)
    supervisor.pause()
    listener.start()
    yield
    listener.join(_LISTENER_JOIN_S)
