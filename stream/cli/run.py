"""``posestream run``: run the line in a YAML file, or one part of it."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.completion import complete_lines
from stream.cli.launch import InProcess, RunDir
from stream.errors import LaunchError


def run(
    file: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or a line that ships: branch, demo, file, rtsp, two_cameras, webcam.",
            show_default=False,
            autocompletion=complete_lines,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ELEMENT.]PROPERTY=VALUE", help="Other values of properties.", show_default=False),
    ] = None,
    print_it: Annotated[bool, typer.Option("--print", help="Print the line as YAML instead of running it.")] = False,
    part: Annotated[str, typer.Option("--part", help="Run this part alone; 'posestream validate' lists them.")] = "",
    run_dir: RunDir = None,
    in_process: InProcess = False,
) -> int:
    """Run a line written in YAML, or one part of it with --part.

    A property without an element is that of the source, else of the only element that has it.

    Parts that you start one by one find each other in the same --run-dir; on two hosts, at the tcp:// address of the
    queue between them. Use it to attach a debugger to a part, or to spread a line over two machines.

    Examples:

        posestream run file location=clip.mp4 jsonsink.location=clip.jsonl

        posestream run webcam --print > mine.yaml

        posestream run mine.yaml --part detect --run-dir mine-run
    """
    from engines.formats.files import decode_text
    from engines.redaction import redact
    from stream.cli.line_argument import find_line, load_line
    from stream.cli.line_runner import run_line
    from stream.runtime.runner import run_part_alone

    pipeline = load_line(file, overrides or ())
    if print_it:
        text = pipeline.to_yaml() if overrides else decode_text(find_line(file).read_bytes())
        print(redact(text), end="")
        return 0
    if not part:
        return run_line(pipeline, in_process=in_process, run_dir=run_dir)
    if run_dir is None:
        raise LaunchError(f"--part {part} needs --run-dir: the folder where the parts of this line find each other")
    return run_part_alone(pipeline, part, run_dir)
