"""``posestream eval live``: how much dropped frames and lateness lower the score of a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from stream.logs import print_notice


def live(
    line: Annotated[
        list[str],
        typer.Argument(help="A line that ends in a keypointsink, or a YAML file of one.", show_default=False),
    ],
    truth: Annotated[
        Path | None,
        typer.Option("--truth", "-t", help="COCO or PoseTrack18 annotations of the frames; testsrc has its own."),
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--clip", help="The file that rtspsrc's server loops, for the offline run.")
    ] = None,
    loop_s: Annotated[
        float | None,
        typer.Option("--loop-s", min=0.001, help="Duration of one loop, where the server does not loop seamlessly."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Duration of the part that is scored.")] = 10,
    warmup_s: Annotated[
        float, typer.Option("--warmup-s", min=0, help="Duration left out first, from the first keypoints on.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON, for programs.")] = False,
) -> None:
    """Score a line while it runs, with its dropped frames and its lateness, and the same frames offline.

    The line runs twice. Live, its source runs in real time and a subscriber receives the keypoints; offline, the source
    waits and nothing is dropped. Frames are matched by their source time. As in streaming perception, the newest
    keypoints received at the time of a frame are scored for it.

    Examples:

        posestream eval live 'testsrc fps=15 ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'

        posestream eval live -t clip.json 'filesrc location=clip.mp4 ! detect ! track ! window ! pose ! keypointsink'

        posestream eval live --truth clip.json --clip clip.mp4 line.yaml
    """
    from stream.cli.demo import free_port
    from stream.cli.line_argument import read_line
    from stream.cli.line_runner import PartOutput
    from stream.evaluation.line_variants import Request
    from stream.evaluation.live import Evaluation
    from stream.evaluation.runs import Span

    output = PartOutput()
    address = f"tcp://127.0.0.1:{free_port(0)}"
    evaluation = Evaluation(address, Span(seconds, warmup_s), loop_s, output.print_line, print_notice)
    report = evaluation.run(Request(read_line(line), truth, clip))
    output.flush()
    print(json.dumps(report.map(), indent=2) if as_json else report)
