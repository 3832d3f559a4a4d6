"""``posestream estimate``: keypoints of photos and videos, one file of them for each.

Nothing heavy is imported here, since every ``posestream --help`` imports this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.cli.completion import complete_models


def estimate(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Photos, videos, folders, and patterns in quotes.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Pose network: a name that 'posestream models' lists, a file, a folder.",
            autocompletion=complete_models,
        ),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            "--detector",
            "-d",
            help="Network that finds the people: a name or a file.",
            autocompletion=complete_models,
        ),
    ] = "auto",
    backend: Annotated[str, typer.Option("--backend", help="What runs both networks, as onnxrt:cuda.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Processor threads of each network.", show_default="all cores"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; - prints JSON lines.")] = Path("poses"),
    format: Annotated[  # noqa: A002 - it is the option's name
        Literal["json", "lines", "coco", "posetrack", "openpose", "csv", "trc", "parquet"],
        typer.Option("--format", "-f", help="One JSON document, JSON lines, or the result files of 'jsonsink'."),
    ] = "json",
    pictures: Annotated[bool, typer.Option("--pictures", help="Draw the people into a copy of each photo.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Draw the people into a copy of each video.")] = False,
    track: Annotated[bool, typer.Option(help="Give people ids that stay the same through a video.")] = True,
    smooth: Annotated[bool, typer.Option("--smooth", help="Take the jitter out of tracked keypoints.")] = False,
) -> int:
    """Estimate the keypoints of people in photos and videos; write one JSON file for each input.

    An input that cannot be read is reported, the others are processed, and the exit code is 1.

    Examples:

        posestream estimate photo.jpg --model rtmpose-s --pictures

        posestream estimate holiday/ 'clips/*.mp4' --model rtmpose-s --out keypoints --video

        posestream estimate clip.mp4 --model my-export --detector people.onnx --format coco

        posestream estimate photo.jpg --model rtmpose-s --out - | jq '.people[0].box'
    """
    from functools import partial

    from engines.hub.catalogue import DEFAULT_MODEL
    from posestream import batch, estimation
    from posestream.outputs import Outputs

    estimating = partial(
        estimation.estimate,
        model=model or DEFAULT_MODEL,
        detector=detector,
        backend=backend,
        threads=threads or "auto",
        track=track,
        smooth=smooth,
    )
    outputs = Outputs(None if str(out) == "-" else out, format, pictures=pictures, video=video)
    return batch.run(sources, estimating, outputs)
