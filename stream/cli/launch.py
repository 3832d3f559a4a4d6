"""``posestream launch``: run the line that stands on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InProcess = Annotated[bool, typer.Option("--in-process", help="Run the whole line in this one process, for debugging.")]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Where sockets and notes lie while it runs; a new temporary folder if not given."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; it is also left out when nobody watches.")]


def launch(
    line: Annotated[list[str], typer.Argument(help="Elements joined by '!', as in GStreamer.", show_default=False)],
    in_process: InProcess = False,
    run_dir: RunDir = None,
    quiet: Quiet = False,
) -> int:
    """Run a line: elements joined by '!', a process for each part between two queues. Ctrl-C ends it.

    A line that ends before a sink prints what comes out of it.

    Examples:

        posestream launch 'testsrc num_frames=30 ! detect model=truth ! track ! window ! pose'

        posestream launch 'camerasrc ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'

        posestream launch 'filesrc location=clip.mp4 ! detect ! track ! window ! pose ! overlaysink location=out.mp4'
    """
    from stream.cli.line_argument import from_launch
    from stream.cli.line_runner import play

    return play(from_launch(" ".join(line)), in_process=in_process, run_dir=run_dir, quiet=quiet)
