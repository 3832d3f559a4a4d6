"""COCO's and CrowdPose's average precision of keypoints, by pycocotools: the reference itself, not an imitation.

CrowdPose (Li et al., CVPR 2019) is the same measure with its own constants, with 0.53 of a box as the area of a person
who has no mask, and with its pictures parted by how crowded they are. Its own tool is a fork of pycocotools; numbers
here are equal to the fork's.

Where a file leaves out what pycocotools asks for, as files of one's own may, it is put in: a person's number, how many
joints are annotated, and 0.53 of the box for the area.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

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


Results = Path | Sequence[Mapping[str, Any]]
"""A file of results, or what it would hold."""


class _Found(NamedTuple):
    """Results, and what messages call them."""

    name: Path
    people: Any


def check_installed() -> None:
    """Raises :class:`EngineError` without pycocotools, so that nobody learns of it at the end."""
    if find_spec("pycocotools") is None:
        raise EngineError("COCO's measure needs pycocotools: pip install 'posestream[eval]'")


def coco(
    annotations: Path, results: Results, images: Collection[Any] | None = None, sigmas: Sequence[float] = ()
) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, 0 … 1; NaN where nobody is of that size.

    Of the pictures ``images`` only, where ids are given; ``sigmas`` for joints that are not COCO's. Raises
    :class:`EngineError` naming the broken file.
    """
    truth = _completed(read_json(annotations))
    return dict(zip(COCO_NAMES, _evaluated(annotations, truth, _read(results), sigmas, images), strict=True))


def coco_of(truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The ten numbers of maps in memory: a document of annotations, and results. NaN where nobody is annotated."""
    if not any(told["num_keypoints"] for told in truth["annotations"]):
        return dict.fromkeys(COCO_NAMES, float("nan"))
    if not found:
        return dict.fromkeys(COCO_NAMES, 0.0)
    numbers = _evaluated(Path("the annotations"), _completed(truth), _read(found))
    return dict(zip(COCO_NAMES, numbers, strict=True))


def crowdpose(annotations: Path, results: Results, images: Collection[Any] | None = None) -> dict[str, float]:
    """CrowdPose's nine numbers, 0 … 1; NaN for a degree of crowding that no picture has. Otherwise likewise."""
    truth = _completed(_with_areas(read_json(annotations)))
    found = _read(results)
    numbers = _evaluated(annotations, truth, found, CROWD_SIGMAS, images, any_size=True)
    whole = dict(zip(CROWD_NAMES, (numbers[place] for place in _CROWD_PLACES), strict=True))
    return whole | {
        name: _of_pictures(annotations, truth, found, images, between) for name, between in CROWDING.items()
    }


def _read(results: Results) -> _Found:
    return _Found(results, read_json(results)) if isinstance(results, Path) else _Found(Path("results"), results)


def _of_pictures(
    annotations: Path,
    truth: Mapping[str, Any],
    found: _Found,
    images: Collection[Any] | None,
    between: tuple[float, float],
) -> float:
    low, high = between
    crowded = [image["id"] for image in truth["images"] if low <= image.get("crowdIndex", -1) <= high]
    ids = [number for number in crowded if images is None or number in images]
    return _evaluated(annotations, truth, found, CROWD_SIGMAS, ids, any_size=True)[0] if ids else float("nan")


def _with_areas(truth: Any) -> Any:
    return {**truth, "annotations": [{**told, "area": _area(told)} for told in truth.get("annotations", ())]}


def _completed(truth: Any) -> Any:
    people = [
        {
            "id": number,
            "iscrowd": 0,
            "area": _area(told),
            "num_keypoints": sum(flag > 0 for flag in told.get("keypoints", ())[2::3]),
            **told,
        }
        for number, told in enumerate(truth.get("annotations", ()), 1)
    ]
    return {**truth, "annotations": people}


def _area(told: Mapping[str, Any]) -> float:
    return float(told["bbox"][2] * told["bbox"][3] * BODY_OF_BOX)


def _evaluated(
    annotations: Path,
    truth: Any,
    found: _Found,
    sigmas: Sequence[float] = (),
    images: Collection[Any] | None = None,
    *,
    any_size: bool = False,
) -> list[float]:
    """The ten numbers; NaN where nobody is of the size that one is about."""
    check_installed()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # pycocotools prints as it goes
    with contextlib.redirect_stdout(io.StringIO()):
        table = COCO()
        table.dataset = truth
        table.createIndex()
        judge = COCOeval(table, _loaded(table, annotations, found), "keypoints")
        if sigmas:
            judge.params.kpt_oks_sigmas = np.array(sigmas)
        if any_size:
            judge.params.areaRng = [[0, 1e10]] * 3
        if images is not None:
            judge.params.imgIds = sorted(images)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) if value >= 0 else float("nan") for value in judge.stats]


def _loaded(table: Any, annotations: Path, found: _Found) -> Any:
    name, people = found
    if not isinstance(people, list) or not people:
        raise EngineError(
            f"{name}: it holds no results; a list of those, with image_id, keypoints and score, is wanted"
        )
    for number, told in enumerate(people):
        missing = {"image_id", "category_id", "keypoints", "score"} - told.keys()
        if missing:
            raise EngineError(f"{name}: result {number} has no {' and no '.join(map(repr, sorted(missing)))}")
    strangers = {told["image_id"] for told in people} - set(table.getImgIds())
    if strangers:
        raise EngineError(f"{name}: image_id {min(strangers)} is not in {annotations}; they are not of one data set")
    # pycocotools writes into what it is given.
    return table.loadRes([dict(told) for told in people])
