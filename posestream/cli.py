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
        str,
        typer.Option(
            "--model",
            "-m",
            help="Pose network: a name that 'posestream models' lists, a file, a folder.",
            autocompletion=complete_models,
        ),
    ] = "auto",
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
    pictures: Annotated[
        bool | None,
        typer.Option("--pictures/--no-pictures", help="Draw the people into a copy of each photo; the default."),
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Draw the people into a copy of each video.")] = False,
    track: Annotated[bool, typer.Option(help="Give people ids that stay the same through a video.")] = True,
    smooth: Annotated[bool, typer.Option("--smooth", help="Take the jitter out of tracked keypoints.")] = False,
) -> int:
    """Estimate the keypoints of people in photos and videos; write one JSON file and one picture for each input.

    Without --model and --detector it runs the networks for real people, which are downloaded once. An input that
    cannot be read is reported, the others are processed, and the exit code is 1.

    Examples:

        posestream estimate photo.jpg

        posestream estimate holiday/ 'clips/*.mp4' --out keypoints --video

        posestream estimate clip.mp4 --model my-export --detector people.onnx --format coco

        posestream estimate photo.jpg --out - | jq '.people[0].box'
    """
    from functools import partial

    from posestream import batch, estimation
    from posestream.outputs import Outputs
    from stream.errors import PropertyError

    estimating = partial(
        estimation.estimate,
        model=model,
        detector=detector,
        backend=backend,
        threads=threads or "auto",
        track=track,
        smooth=smooth,
    )
    if format == "trc" and not track:
        raise PropertyError("--format trc follows people by their ids; leave --no-track away")
    folder = None if str(out) == "-" else out
    has_pictures = folder is not None if pictures is None else pictures
    outputs = Outputs(folder, format, pictures=has_pictures, video=video)
    return batch.run(sources, estimating, outputs)
