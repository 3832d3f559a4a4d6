"""``posestream eval``: how good keypoints are, by the yardsticks of the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.evaluation.posetrack import JointScore

Measure = Literal["posetrack", "coco", "crowdpose"]


def evaluate(
    measure: Annotated[Measure, typer.Argument(help="posetrack, coco or crowdpose.")],
    annotations: Annotated[Path, typer.Argument(help="The truth: a file, or for posetrack a folder of them.")],
    results: Annotated[Path, typer.Argument(help="What was predicted: a file, or a folder of the same names.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every number, for programs.")] = False,
) -> None:
    """Score files of keypoints: AP as PoseTrack's poseval, COCO's and CrowdPose's tools compute it.

    'jsonsink format=posetrack' and 'format=coco' write such files.

    Examples:

        posestream eval posetrack annotations/val/ results/

        posestream eval coco person_keypoints_val2017.json results.json
    """
    if measure == "posetrack":
        return _posetrack(annotations, results, as_json=as_json)
    from engines.evaluation import coco

    numbers = coco.coco(annotations, results) if measure == "coco" else coco.crowdpose(annotations, results)
    return _print({name: 100 * value for name, value in numbers.items()}, as_json=as_json)


def _posetrack(annotations: Path, results: Path, *, as_json: bool) -> None:
    from engines.evaluation.posetrack import JOINTS, mean, score, table
    from engines.evaluation.posetrack_files import paired_frames

    scores = score(paired_frames(annotations, results))
    if as_json:
        joints = {name: _numbers(one) for name, one in zip(JOINTS, scores, strict=True)}
        return print(json.dumps({"table": table(scores), "joints": joints, "mean": _numbers(mean(scores))}, indent=2))
    return _print(table(scores), as_json=False)


def _numbers(one: JointScore) -> dict[str, float]:
    return {"ap": one.ap, "precision": one.precision, "recall": one.recall}


def _print(numbers: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        return print(json.dumps(dict(numbers), indent=2))
    print("  ".join(f"{name:>9}" for name in numbers))
    return print("  ".join(f"{value:9.2f}" for value in numbers.values()))
