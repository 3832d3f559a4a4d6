"""COCO's and CrowdPose's average precision of keypoints, computed by pycocotools itself.

CrowdPose (Li et al., CVPR 2019) is the same metric with its own constants, with 0.53 of the box as the area of a person
without a mask, and with its pictures grouped by crowding. Its own tool is a fork of pycocotools; the numbers here equal
those of the fork.

Fields that pycocotools needs and a user's own file may lack are added: the number of annotated joints, and 0.53 of the
box as the area. Annotations are numbered from 1: pycocotools counts one with id 0 as missed.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engines.datasets.coco_json import check_document, get_field
from engines.datasets.files import Id, Number, check_fields, read_json
from engines.errors import EngineError, install_hint

COCO_NAMES = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")
CROWD_NAMES = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
_CROWD_INDICES = (0, 1, 2, 5, 6, 7)
"""The indices of those in pycocotools' statistics; CrowdPose does not distinguish sizes."""

CROWDING = {"AP_easy": (0.0, 0.1), "AP_medium": (0.1, 0.8), "AP_hard": (0.8, 1.0)}
"""Ranges of a picture's ``crowdIndex``, both ends included."""

CROWD_SIGMAS = (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079)
"""OKS constants of CrowdPose's 14 joints (shoulders to ankles, head, neck)."""

BODY_OF_BOX = 0.53
"""The average share of its box that a person covers, used as the area without a mask."""

_logger = logging.getLogger(__name__)

Results = Path | Sequence[Mapping[str, Any]]
"""A result file, or its content."""


class _Results(NamedTuple):
    """Results, and their name in messages."""

    name: Path
    people: Any


class _Result(msgspec.Struct):
    """The fields of one result that count."""

    image_id: Id
    category_id: Id
    keypoints: list[Number]
    score: Number


def check_installed() -> None:
    """Raise :class:`EngineError` if pycocotools is not installed, before an evaluation runs."""
    if find_spec("pycocotools") is None:
        raise EngineError(f"COCO's metric needs pycocotools; {install_hint('eval')}")


def score_coco(
    annotations: Path, results: Results, images: Collection[Any] | None = None, sigmas: Sequence[float] = ()
) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, 0 … 1; NaN if there are no people of that size.

    ``images`` limits it to pictures with these ids; ``sigmas`` are for joints other than COCO's. Raises
    :class:`EngineError` naming the broken file.
    """
    truth = _add_missing_fields(_read_truth(annotations))
    return dict(zip(COCO_NAMES, _evaluate(annotations, truth, _read(results), sigmas, images), strict=True))


def score_coco_documents(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The ten numbers for an annotation document and results in memory. NaN if no person is annotated."""
    if not any(annotation["num_keypoints"] for annotation in truth["annotations"]):
        return dict.fromkeys(COCO_NAMES, float("nan"))
    if not results:
        return dict.fromkeys(COCO_NAMES, 0.0)
    numbers = _evaluate(Path("the annotations"), _add_missing_fields(truth), _read(results))
    return dict(zip(COCO_NAMES, numbers, strict=True))


def score_crowdpose(annotations: Path, results: Results, images: Collection[Any] | None = None) -> dict[str, float]:
    """CrowdPose's nine numbers, 0 … 1; NaN if no picture has that degree of crowding. Arguments as for COCO."""
    truth = _add_missing_fields(_replace_areas(_read_truth(annotations)))
    found = _read(results)
    numbers = _evaluate(annotations, truth, found, CROWD_SIGMAS, images, any_size=True)
    overall = dict(zip(CROWD_NAMES, (numbers[index] for index in _CROWD_INDICES), strict=True))
    by_crowding = {
        name: _score_crowding(annotations, truth, found, images, limits) for name, limits in CROWDING.items()
    }
    return overall | by_crowding


def _score_crowding(
    annotations: Path,
    truth: Mapping[str, Any],
    found: _Results,
    images: Collection[Any] | None,
    limits: tuple[float, float],
) -> float:
    low, high = limits
    crowded = [image["id"] for image in truth["images"] if low <= image.get("crowdIndex", -1) <= high]
    ids = [number for number in crowded if images is None or number in images]
    return _evaluate(annotations, truth, found, CROWD_SIGMAS, ids, any_size=True)[0] if ids else float("nan")


def _read_truth(annotations: Path) -> dict[str, Any]:
    truth: dict[str, Any] = read_json(annotations)
    check_document(annotations, truth)
    for number, annotation in enumerate(truth["annotations"]):
        get_field(annotations, number, annotation, "image_id")
        if len(annotation.get("bbox", ())) != 4:
            raise EngineError(f"{annotations}: annotation {number} has no 'bbox' of 4 numbers")
        if any(annotation.get("keypoints", ())) and len(annotation["keypoints"]) != 3 * _joint_count(truth):
            raise EngineError(
                f"{annotations}: annotation {number} has {len(annotation['keypoints'])} numbers in 'keypoints', "
                f"not {3 * _joint_count(truth)}"
            )
    return truth


def _joint_count(truth: Mapping[str, Any]) -> int:
    """The number of joints of the categories; COCO's where they name none."""
    return next((len(one["keypoints"]) for one in truth["categories"] if one.get("keypoints")), 17)


def _read(results: Results) -> _Results:
    if not isinstance(results, Path):
        return _Results(Path("results"), results)
    people = read_json(results)
    if isinstance(people, list) and not people:
        _logger.warning("%s holds no people: every annotated person counts as missed", results)
    return _Results(results, people)


def _replace_areas(truth: Any) -> Any:
    return {**truth, "annotations": [{**one, "area": _area(one)} for one in truth["annotations"]]}


def _add_missing_fields(truth: Any) -> Any:
    absent = [0] * 3 * _joint_count(truth)
    categories = [{"id": 1, **category} for category in truth["categories"] or [{}]]
    annotations = [
        {
            "iscrowd": 0,
            "category_id": categories[0]["id"],
            "num_keypoints": sum(flag > 0 for flag in annotation.get("keypoints", ())[2::3]),
            **annotation,
            "id": number,
            "area": _area(annotation) if annotation.get("area") is None else annotation["area"],
            "keypoints": annotation.get("keypoints") or absent,
        }
        for number, annotation in enumerate(truth["annotations"], 1)
    ]
    return {**truth, "categories": categories, "annotations": annotations}


def _area(annotation: Mapping[str, Any]) -> float:
    return float(annotation["bbox"][2] * annotation["bbox"][3] * BODY_OF_BOX)


def _evaluate(
    annotations: Path,
    truth: Any,
    found: _Results,
    sigmas: Sequence[float] = (),
    images: Collection[Any] | None = None,
    *,
    any_size: bool = False,
) -> list[float]:
    """pycocotools' ten numbers; NaN where it has none."""
    check_installed()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        table = COCO()
        table.dataset = truth
        table.createIndex()
        evaluation = COCOeval(table, _load_results(table, annotations, found), "keypoints")
        if sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if any_size:
            evaluation.params.areaRng = [[0, 1e10]] * 3
        if images is not None:
            evaluation.params.imgIds = sorted(images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) if value >= 0 else float("nan") for value in evaluation.stats]


def _load_results(table: Any, annotations: Path, found: _Results) -> Any:
    name, people = found
    if isinstance(people, list) and not people:
        return _empty_like(table)
    check_fields(name, people, list[_Result])
    numbers = 3 * _joint_count(table.dataset)
    images, categories = set(table.getImgIds()), table.getCatIds()
    for number, result in enumerate(people):
        if len(result["keypoints"]) != numbers:
            raise EngineError(
                f"{name}: result {number} has {len(result['keypoints'])} numbers in 'keypoints', not {numbers}; "
                f"give results with the joints of {annotations}"
            )
        if result["image_id"] not in images:
            raise EngineError(
                f"{name}: result {number} has image_id {result['image_id']!r}, which is not in {annotations} "
                f"(its first is {min(images, default=None)!r}); give results of this data set"
            )
        if result["category_id"] not in categories:
            raise EngineError(
                f"{name}: result {number} has category_id {result['category_id']!r}, but the categories of "
                f"{annotations} are {', '.join(map(repr, categories))}"
            )
    # pycocotools modifies its input.
    return table.loadRes([dict(result) for result in people])


def _empty_like(table: Any) -> Any:
    """Results without people, which pycocotools itself cannot load."""
    empty = type(table)()
    empty.dataset = {**table.dataset, "annotations": []}
    empty.createIndex()
    return empty
