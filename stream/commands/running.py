"""Runs a pipeline for a command: in processes or in this one, with progress where somebody watches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.pipeline import Pipeline
    from stream.wiring import Line


def play(pipeline: Pipeline, *, in_process: bool, run_dir: Path | None, quiet: bool) -> None:
    """Run the whole line to its end; a line that ends before a sink prints what comes out of it."""
    closed = with_sinks(pipeline)
    if in_process or len(closed.parts()) == 1:
        play_here(closed, quiet=quiet)
    else:
        play_in_processes(closed, run_dir, quiet=quiet)


def play_here(pipeline: Pipeline, *, quiet: bool) -> None:
    """Run the line in this process."""
    from stream.commands.progress import watching

    with _terminable(), watching(pipeline, quiet=quiet) as progress:
        for _ in pipeline.run():
            progress.advance()


def play_in_processes(pipeline: Pipeline, run_dir: Path | None, *, quiet: bool) -> None:
    """Run the line with a process for each part."""
    from stream.supervisor import Supervisor

    with Supervisor(pipeline, run_dir=run_dir) as supervisor:
        supervisor.wait()


def play_part(pipeline: Pipeline, name: str, run_dir: Path, *, supervised: bool) -> None:
    """Run one part in this process; Ctrl-C ends its streams, and a second one ends it at once."""
    from stream.runner import Options, Stops, run_part

    stops = Stops()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stops)
    run_dir.mkdir(parents=True, exist_ok=True)
    run_part(pipeline, name, run_dir, Options(is_alone=not supervised), stops)


def with_sinks(pipeline: Pipeline) -> Pipeline:
    """The same lines, each open end closed by a sink that prints."""
    from stream.pipeline import Pipeline

    if not pipeline.open_ends:
        return pipeline
    return Pipeline(*map(_closed, pipeline.lines), in_flight=pipeline._in_flight)


def _closed(line: Line) -> Line:
    from stream.element import Sink
    from stream.elements.queue import Queue
    from stream.elements.tee import Tee
    from stream.registry import make
    from stream.wiring import Line

    if isinstance(line.elements[-1], Sink | Queue | Tee):
        return line
    return Line(*line.elements, make("fakesink", dump=True), from_queue=line.from_queue)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that files are closed and cameras given back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
