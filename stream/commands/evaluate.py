"""``posestream eval``: how good keypoints are, by the yardsticks of the field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.evaluation.posetrack import JointScore

app = typer.Typer()

Annotations = Annotated[Path, typer.Argument(help="The truth: a file, or for posetrack a folder of them.")]
Results = Annotated[Path, typer.Argument(help="What was predicted: a file, or a folder of the same names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print every number, for programs.")]


@app.callback()
def evaluate() -> None:
    """Score keypoints: files of them as PoseTrack's, COCO's and CrowdPose's tools do, or a line while it runs.

    Examples:

        posestream eval posetrack annotations/val/ results/

        posestream eval live 'testsrc fps=15 ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'
    """


@app.command()
def posetrack(annotations: Annotations, results: Results, as_json: AsJson = False) -> None:
    """Score files of keypoints as PoseTrack's poseval does; 'jsonsink format=posetrack' writes such files.

    Examples:

        posestream eval posetrack annotations/val/ results/
    """
    from engines.evaluation.posetrack import JOINTS, mean, score, table
    from engines.evaluation.posetrack_files import paired_frames

    scores = score(paired_frames(annotations, results))
    if as_json:
        joints = {name: _numbers(one) for name, one in zip(JOINTS, scores, strict=True)}
        return print(json.dumps({"table": table(scores), "joints": joints, "mean": _numbers(mean(scores))}, indent=2))
    return _print(table(scores), as_json=False)


@app.command()
def coco(annotations: Annotations, results: Results, as_json: AsJson = False) -> None:
    """Score a file of keypoints as COCO's tool does; 'jsonsink format=coco' writes such files.

    Examples:

        posestream eval coco person_keypoints_val2017.json results.json
    """
    from engines.evaluation import coco as measure

    _print(_percent(measure.coco(annotations, results)), as_json=as_json)


@app.command()
def crowdpose(annotations: Annotations, results: Results, as_json: AsJson = False) -> None:
    """Score a file of keypoints as CrowdPose's tool does.

    Examples:

        posestream eval crowdpose crowdpose_val.json results.json
    """
    from engines.evaluation import coco as measure

    _print(_percent(measure.crowdpose(annotations, results)), as_json=as_json)


@app.command()
def live(
    line: Annotated[
        list[str],
        typer.Argument(help="A line that ends in a keypointsink, or a YAML file of one.", show_default=False),
    ],
    truth: Annotated[
        Path | None,
        typer.Option("--truth", "-t", help="COCO or PoseTrack18 annotations of the frames; testsrc knows its own."),
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--clip", help="The file that rtspsrc's server loops, for the offline run.")
    ] = None,
    loop_s: Annotated[
        float | None,
        typer.Option("--loop-s", min=0.001, help="How long one turn lasts, where the server does not loop seamlessly."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How much of the source's time is judged.")] = 10,
    warmup_s: Annotated[
        float, typer.Option("--warmup-s", min=0, help="How much is left out first, from the first answer on.")
    ] = 1,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell how far it is.")] = False,
) -> None:
    """Score a line while it runs: what dropped frames and lateness cost, beside the score of the same frames offline.

    The line runs twice. Live, its source is in time and a subscriber listens; offline, the source waits and nothing is
    dropped. Frames are joined by their source time. What had come at a frame's own moment counts as the answer to it,
    as in streaming perception.

    Examples:

        posestream eval live 'testsrc fps=15 ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'

        posestream eval live -t clip.json 'filesrc location=clip.mp4 ! detect ! track ! window ! pose ! keypointsink'

        posestream eval live --truth clip.json --clip clip.mp4 line.yaml
    """
    from stream.commands.demo import free_port
    from stream.commands.lines import pipeline_of
    from stream.commands.running import LastWords
    from stream.evaluation.lines import Asked
    from stream.evaluation.live import Evaluation
    from stream.evaluation.runs import Span

    words = LastWords()
    address = f"tcp://127.0.0.1:{free_port(0)}"
    tell = (lambda _: None) if quiet else (lambda what: print(what, file=sys.stderr, flush=True))
    evaluation = Evaluation(address, Span(seconds, warmup_s), loop_s, words.hear, tell)
    report = evaluation.of(Asked(pipeline_of(line), truth, clip))
    words.say()
    print(json.dumps(report.map(), indent=2) if as_json else report)


def _percent(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in numbers.items()}


def _numbers(one: JointScore) -> dict[str, float]:
    return {"ap": one.ap, "precision": one.precision, "recall": one.recall}


def _print(numbers: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        return print(json.dumps(dict(numbers), indent=2))
    print("  ".join(f"{name:>9}" for name in numbers))
    return print("  ".join(f"{value:9.2f}" for value in numbers.values()))
