"""PoseTrack's annotation and result files, of 2017 (``annolist``) and of 2018 and 2021 (COCO-style), for its metric.

Coordinates stay as the files have them: index coordinates, the centre of the first pixel being 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets import posetrack17
from engines.datasets.clips import Floats
from engines.datasets.coco_json import (
    Annotations,
    JsonObject,
    check_document,
    get_field,
    group_by_image,
    ignored_regions,
)
from engines.datasets.files import read_json
from engines.datasets.posetrack17 import head_box, image_name, iterate_points, unwrap
from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.errors import EngineError

Numbered = Iterable[tuple[int, JsonObject]]


@dataclass(frozen=True)
class AnnotatedFrame:
    """A frame of an annotation file: its ``file`` as the data set names it, and its people."""

    file: str
    people: Annotated


@dataclass(frozen=True)
class PredictedFrame:
    """A frame of a result file."""

    file: str
    people: Predicted


def read_annotations(path: Path) -> list[AnnotatedFrame]:
    """Every labelled frame of one sequence. Raises :class:`EngineError` naming the file and the annotation."""
    document = _read(path)
    if "annolist" in document:
        return [_annotated_2017(path, number, frame) for number, frame in enumerate(document["annolist"])]
    joints, frames, people = _parse(path, document)
    return [
        AnnotatedFrame(str(frame["file_name"]), _annotated(path, frame, people.get(frame["id"], ()), joints))
        for frame in frames
        if frame.get("is_labeled", True)
    ]


def read_predictions(path: Path) -> list[PredictedFrame]:
    """Every frame of one result file. Raises :class:`EngineError` naming the file and the annotation."""
    document = _read(path)
    if "annolist" in document:
        return [_predicted_2017(path, number, frame) for number, frame in enumerate(document["annolist"])]
    joints, frames, people = _parse(path, document)
    return [
        PredictedFrame(str(frame["file_name"]), _predicted(path, people.get(frame["id"], ()), joints))
        for frame in frames
    ]


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if isinstance(document, dict) and "annolist" in document:
        posetrack17.check_document(path, document)
        return document
    if isinstance(document, dict) and document.keys() >= _PARTS:
        check_document(path, document)
        return document
    raise EngineError(f"{path}: it is not a PoseTrack file: it has neither 'annolist' (2017) nor {sorted(_PARTS)}")


# -- 2018 and 2021 ----------------------------------------------------------------------------------------------------

_PARTS = {"images", "annotations", "categories"}


def _parse(path: Path, document: Mapping[str, Any]) -> tuple[list[int], list[JsonObject], Annotations]:
    """The index in the file of each of the 15 joints, the frames, and the annotations of each frame's id."""
    people = group_by_image(path, document["annotations"])
    if unknown := people.keys() - {image["id"] for image in document["images"]}:
        number, person = people[min(unknown, key=str)][0]
        raise EngineError(f"{path}: annotation {number} is of image {person['image_id']!r}, which is not in the file")
    return _joint_order(path, document["categories"]), document["images"], people


def _joint_order(path: Path, categories: Sequence[JsonObject]) -> list[int]:
    names = next((category["keypoints"] for category in categories if "keypoints" in category), None)
    if names is None or not set(JOINTS) <= set(names):
        missing = sorted(set(JOINTS) - set(names or ()))
        raise EngineError(f"{path}: its category has no keypoints {', '.join(missing)}; it is not a PoseTrack file")
    return [names.index(joint) for joint in JOINTS]


def _annotated(path: Path, frame: JsonObject, people: Numbered, joints: list[int]) -> Annotated:
    with_joints = [(number, person) for number, person in people if any(person.get("keypoints", ()))]
    points = [_points(path, number, person, joints) for number, person in with_joints]
    heads = [_head(path, number, person) for number, person in with_joints]
    return Annotated(_stack(points, (15, 2)), _stack(heads, (4,)), ignored_regions(frame))


def _predicted(path: Path, people: Numbered, joints: list[int]) -> Predicted:
    numbered = list(people)
    points = [_points(path, number, person, joints) for number, person in numbered]
    scores = [_scores(path, number, person, joints) for number, person in numbered]
    return Predicted(_stack(points, (15, 2)), _stack(scores, (15,)))


def _scores(path: Path, number: int, person: JsonObject, joints: list[int]) -> Floats:
    scores = np.array(get_field(path, number, person, "scores") or (), np.float64)
    if scores.size <= max(joints):
        raise EngineError(f"{path}: annotation {number} has {scores.size} numbers in 'scores', not 17")
    return scores[joints]


def _points(path: Path, number: int, person: JsonObject, joints: list[int]) -> Floats:
    """(15, 2), NaN where the third number is 0."""
    numbers = np.array(get_field(path, number, person, "keypoints"), np.float64)
    if numbers.size % 3 or numbers.size // 3 <= max(joints):
        raise EngineError(f"{path}: annotation {number} has {numbers.size} numbers in 'keypoints', not 51")
    triples = numbers.reshape(-1, 3)[joints]
    return np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)


def _head(path: Path, number: int, person: JsonObject) -> Floats:
    box: Sequence[float] = get_field(path, number, person, "bbox_head") or ()
    if len(box) != 4:
        raise EngineError(f"{path}: annotation {number} has a 'bbox_head' of {len(box)} numbers, not 4")
    x, y, width, height = box
    return np.array([x, y, x + width, y + height], np.float64)


# -- 2017 -------------------------------------------------------------------------------------------------------------


def _annotated_2017(path: Path, number: int, frame: JsonObject) -> AnnotatedFrame:
    people = [(person, _joints_2017(path, number, person)[0]) for person in frame.get("annorect") or ()]
    with_joints = [(index, *one) for index, one in enumerate(people) if not np.isnan(one[1]).all()]
    points = _stack([joints for _, _, joints in with_joints], (15, 2))
    heads = _stack([head_box(path, number, index, person) for index, person, _ in with_joints], (4,))
    return AnnotatedFrame(image_name(frame), Annotated(points, heads, posetrack17.ignored_regions(frame)))


def _predicted_2017(path: Path, number: int, frame: JsonObject) -> PredictedFrame:
    people = [_joints_2017(path, number, person) for person in frame.get("annorect") or ()]
    points, scores = [joints for joints, _ in people], [scores for _, scores in people]
    return PredictedFrame(image_name(frame), Predicted(_stack(points, (15, 2)), _stack(scores, (15,))))


def _joints_2017(path: Path, number: int, person: JsonObject) -> tuple[Floats, Floats]:
    """(15, 2) and (15,) scores, NaN where absent."""
    joints, scores = np.full((15, 2), np.nan), np.full(15, np.nan)
    for index, point in iterate_points(path, number, person):
        joints[index] = unwrap(point["x"]), unwrap(point["y"])
        scores[index] = unwrap(point.get("score", [np.nan]))
    return joints, scores


def _stack(rows: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, *shape))
