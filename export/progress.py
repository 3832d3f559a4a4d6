"""Progress of an export on stderr: what it does now, how long each step took, and a bar for builds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show ``name`` while the block runs, with a spinner on a terminal, and its duration when it has succeeded."""
    started_s = time.monotonic()
    if sys.stderr.isatty():
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        ) as progress:  # fmt: skip
            progress.add_task(name)
            yield
    else:
        yield
    announce(f"{name}: {time.monotonic() - started_s:.1f} s")


def announce(line: str) -> None:
    """Print one line at once."""
    print(line, file=sys.stderr, flush=True)


def build_progress() -> Progress:
    """A bar for phases that TensorRT reports; it disappears at the end."""
    return Progress(console=Console(stderr=True), transient=True)
