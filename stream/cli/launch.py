"""``posestream launch``: run the line on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.completion import complete_launch_words

InProcess = Annotated[bool, typer.Option("--in-process", help="Run the whole line in this process, for debugging.")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Folder of the sockets while it runs; a new temporary one by default.")
]


def launch(
    line: Annotated[
        list[str],
        typer.Argument(
            help="Elements joined by '!', as in GStreamer.", show_default=False, autocompletion=complete_launch_words
        ),
    ],
    in_process: InProcess = False,
    run_dir: RunDir = None,
) -> int:
    """Run a line: elements joined by '!', one process for each part between two queues. Ctrl-C ends it.

    A line that ends before a sink prints its output. On a terminal you see where keypoints are published and how to
    watch them, the progress of files, and a summary at the end; -q shows none of it.

    Examples:

        posestream launch 'testsrc num_frames=30 ! detect model=truth ! track ! window ! pose'

        posestream launch 'camerasrc ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'

        posestream launch 'filesrc location=a.mp4 ! detect ! track ! window ! pose ! overlaysink location=b.mp4'
    """
    from stream.cli.line_argument import parse_line
    from stream.cli.line_runner import run_line

    return run_line(parse_line(" ".join(line)), in_process=in_process, run_dir=run_dir)
