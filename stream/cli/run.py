"""``posestream run``: run a YAML file's line, or one part of it."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.launch import InProcess, Quiet, RunDir
from stream.errors import LaunchError


def run(
    file: Annotated[str, typer.Argument(help="A YAML file, or the name of a line that ships.", show_default=False)],
    part: Annotated[str, typer.Option("--part", help="Run this part alone; see 'posestream validate FILE'.")] = "",
    run_dir: RunDir = None,
    in_process: InProcess = False,
    quiet: Quiet = False,
) -> int:
    """Run a line written in YAML; or, with --part, one part of it alone.

    Parts started by hand find one another in the same --run-dir; on two hosts, by the tcp:// address of the queue
    between them. That is how a debugger is attached to one part, and how parts sit on two machines.

    Examples:

        posestream run line.yaml

        posestream run line.yaml --part detect --run-dir line-run
    """
    from stream.cli.line_argument import from_yaml
    from stream.cli.line_runner import play, play_part

    pipeline = from_yaml(file)
    if not part:
        return play(pipeline, in_process=in_process, run_dir=run_dir, quiet=quiet)
    if run_dir is None:
        raise LaunchError(f"--part {part} needs --run-dir: the folder where the parts of this line find one another")
    return play_part(pipeline, part, run_dir)
