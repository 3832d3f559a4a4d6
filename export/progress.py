"""What an export is doing, on stderr: a spinner and the time on a terminal, a plain line a step elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def step(told: str) -> Iterator[None]:
    """Shows ``told`` while the block runs, and what it took once it is done; nothing of one that failed."""
    started_s = time.monotonic()
    if sys.stderr.isatty():
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        ) as progress:  # fmt: skip
            progress.add_task(told)
            yield
    else:
        yield
    print(f"{told}: {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)
