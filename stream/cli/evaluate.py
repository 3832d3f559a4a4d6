"""``posestream eval``: scores keypoints with the metrics of the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli import evaluate_drawn, evaluate_live, evaluate_model
from stream.cli.evaluate_model import cell, without_nan
from stream.cli.registration import add_command, help_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.evaluation.posetrack import JointScore

HELP = """Score a network on a data set, a line while it runs, or files of results.

    Examples:

        posestream eval model fami-w48-384x288-fp32 --data posetrack17 --root ~/posetrack17

        posestream eval drawn fami-small

        posestream eval live 'testsrc fps=15 ! queue ! detect ! track ! queue ! window ! pose ! keypointsink'

        posestream eval coco person_keypoints_val2017.json results.json
    """

app = typer.Typer(no_args_is_help=True, help=help_text(HELP), rich_markup_mode="rich", pretty_exceptions_enable=False)

_Truth = Annotated[Path, typer.Argument(help="Ground truth: a file; for posetrack a folder of them.")]
_Found = Annotated[Path, typer.Argument(help="Predictions: a file, or a folder of the same names.")]
_Json = Annotated[bool, typer.Option("--json", help="Print all numbers as JSON, for programs.")]


def posetrack(annotations: _Truth, results: _Found, as_json: _Json = False) -> None:
    """Score files of keypoints: AP as PoseTrack's poseval computes it.

    'jsonsink format=posetrack' writes such files, and so does 'posestream eval model --results FOLDER'.

    Example:

        posestream eval posetrack annotations/val/ results/
    """
    _posetrack(annotations, results, as_json=as_json)


def coco(annotations: _Truth, results: _Found, as_json: _Json = False) -> None:
    """Score a file of keypoints: AP as COCO's tools compute it.

    'jsonsink format=coco' writes such files, and so does 'posestream eval model --results FOLDER'.

    Example:

        posestream eval coco person_keypoints_val2017.json results.json
    """
    from engines.evaluation import coco

    _print(_in_percent(coco.score_coco(annotations, results)), as_json=as_json)


def crowdpose(annotations: _Truth, results: _Found, as_json: _Json = False) -> None:
    """Score a file of keypoints: AP as CrowdPose's tools compute it.

    Example:

        posestream eval crowdpose crowdpose_val.json results.json
    """
    from engines.evaluation import coco

    _print(_in_percent(coco.score_crowdpose(annotations, results)), as_json=as_json)


def _in_percent(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in numbers.items()}


def _posetrack(annotations: Path, results: Path, *, as_json: bool) -> None:
    from engines.datasets.posetrack_frames import JOINTS
    from engines.evaluation.posetrack import mean, score, table
    from engines.evaluation.posetrack_files import pair_frames

    scores = score(pair_frames(annotations, results))
    if as_json:
        joints = {name: _numbers(one) for name, one in zip(JOINTS, scores, strict=True)}
        account = {"table": table(scores), "joints": joints, "mean": _numbers(mean(scores))}
        return print(json.dumps(without_nan(account), indent=2))
    return _print(table(scores), as_json=False)


def _numbers(one: JointScore) -> dict[str, float]:
    return {"ap": one.ap, "precision": one.precision, "recall": one.recall}


def _print(numbers: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        return print(json.dumps(without_nan(dict(numbers)), indent=2))
    print("  ".join(f"{name:>9}" for name in numbers))
    return print("  ".join(map(cell, numbers.values())))


for _command in (evaluate_model.model, evaluate_drawn.drawn, evaluate_live.live, posetrack, coco, crowdpose):
    add_command(app, _command)
