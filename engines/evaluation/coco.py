"""COCO's and CrowdPose's average precision of keypoints, by pycocotools: the reference itself, not an imitation.

CrowdPose (Li et al., CVPR 2019) is the same measure with its own constants, with 0.53 of a box as the area of a person
who has no mask, and with its pictures parted by how crowded they are. Its own tool is a fork of pycocotools; numbers
here are equal to the fork's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets.jsonfile import read_json
from engines.errors import EngineError

COCO_NAMES = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")
CROWD_NAMES = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
_CROWD_PLACES = (0, 1, 2, 5, 6, 7)
"""Where those stand in what pycocotools gives: CrowdPose has no sizes."""

CROWDING = {"AP_easy": (0.0, 0.1), "AP_medium": (0.1, 0.8), "AP_hard": (0.8, 1.0)}
"""A picture's ``crowdIndex``, both ends included."""

CROWD_SIGMAS = (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079)
"""OKS constants of CrowdPose's 14 joints (shoulders to ankles, head, neck)."""

BODY_OF_BOX = 0.53
"""The share of its box that a person covers on average, where no mask says it."""


def coco(annotations: Path, results: Path) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, 0 … 1. Raises :class:`EngineError` naming the broken file."""
    truth, found = read_json(annotations), read_json(results)
    return dict(zip(COCO_NAMES, _evaluated(annotations, truth, results, found), strict=True))


def coco_of(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The same of maps in memory: a document of annotations, and results. NaN where nobody is annotated.

    Both are written to by pycocotools.
    """
    if not any(told["num_keypoints"] for told in truth["annotations"]):
        return dict.fromkeys(COCO_NAMES, float("nan"))
    if not found:
        return dict.fromkeys(COCO_NAMES, 0.0)
    numbers = _judged(truth, lambda table: table.loadRes(list(found)))
    return {name: value if value >= 0 else float("nan") for name, value in zip(COCO_NAMES, numbers, strict=True)}


def check_installed() -> None:
    """Raises :class:`EngineError` with the command that mends it, where pycocotools is missing."""
    _tools()


def crowdpose(annotations: Path, results: Path) -> dict[str, float]:
    """CrowdPose's nine numbers, 0 … 1; NaN for a degree of crowding that no picture has."""
    truth, found = _with_areas(read_json(annotations)), read_json(results)
    numbers = _evaluated(annotations, truth, results, found, CROWD_SIGMAS)
    whole = dict(zip(CROWD_NAMES, (numbers[place] for place in _CROWD_PLACES), strict=True))
    return whole | {
        name: _of_pictures(annotations, truth, results, found, between) for name, between in CROWDING.items()
    }


def _of_pictures(
    annotations: Path, truth: Mapping[str, Any], results: Path, found: Any, between: tuple[float, float]
) -> float:
    low, high = between
    ids = [image["id"] for image in truth["images"] if low <= image.get("crowdIndex", -1) <= high]
    return float(_evaluated(annotations, truth, results, found, CROWD_SIGMAS, ids)[0]) if ids else float("nan")


def _with_areas(truth: Any) -> Any:
    people = [
        {**told, "area": told["bbox"][2] * told["bbox"][3] * BODY_OF_BOX} for told in truth.get("annotations", ())
    ]
    return {**truth, "annotations": people}


def _evaluated(
    annotations: Path,
    truth: Any,
    results: Path,
    found: Any,
    sigmas: Sequence[float] = (),
    images: Sequence[int] | None = None,
) -> list[float]:
    return _judged(truth, lambda table: _loaded(table, annotations, results, found), sigmas, images)


def _tools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError:
        raise EngineError("COCO's measure needs pycocotools: pip install 'posestream[eval]'") from None
    return COCO, COCOeval


def _judged(
    truth: Any, load: Callable[[Any], Any], sigmas: Sequence[float] = (), images: Sequence[int] | None = None
) -> list[float]:
    """The numbers of pycocotools; ``load`` makes its table of results from that of ``truth``."""
    coco_class, judge_class = _tools()
    # pycocotools prints as it goes
    with contextlib.redirect_stdout(io.StringIO()):
        table = coco_class()
        table.dataset = truth
        table.createIndex()
        judge = judge_class(table, load(table), "keypoints")
        if sigmas:
            judge.params.kpt_oks_sigmas = np.array(sigmas)
            judge.params.areaRng = [[0, 1e10]] * 3
        if images is not None:
            judge.params.imgIds = list(images)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]


def _loaded(table: Any, annotations: Path, results: Path, found: Any) -> Any:
    if not isinstance(found, list) or not found:
        raise EngineError(
            f"{results}: it holds no results; a list of those, with image_id, keypoints and score, is wanted"
        )
    for number, told in enumerate(found):
        missing = {"image_id", "category_id", "keypoints", "score"} - told.keys()
        if missing:
            raise EngineError(f"{results}: result {number} has no {' and no '.join(map(repr, sorted(missing)))}")
    strangers = {told["image_id"] for told in found} - set(table.getImgIds())
    if strangers:
        raise EngineError(f"{results}: image_id {min(strangers)} is not in {annotations}; they are not of one data set")
    return table.loadRes(found)
