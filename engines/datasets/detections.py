"""Boxes of a person detector in place of the annotated ones, as papers are evaluated.

A JSON list of ``{"image_name": …, "bbox": [x, y, width, height], "score": …}``; ``image_id`` may replace
``image_name``. Boxes of a ``category_id`` other than 1 are ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.datasets.clips import Clip, Floats, Frame, Person
from engines.datasets.files import Id, Number, check_fields, read_json
from engines.errors import EngineError
from engines.skeletons import SKELETONS

MIN_SCORE = 0.2
"""The minimum score in the published trainings."""

ScoredBox = tuple[Floats, float]
Boxes = Mapping[Any, Sequence[ScoredBox]]
"""The boxes of each image, by its name or id."""


class _Detection(msgspec.Struct):
    bbox: tuple[Number, Number, Number, Number]
    score: Number
    image_name: str | None = None
    image_id: Id | None = None
    category_id: Id = 1


def replace_people(clips: Sequence[Clip], path: Path, min_score: float = MIN_SCORE) -> list[Clip]:
    """The same clips with the detected people of the file ``path``, who have no joints, in place of the annotated ones.

    Raises :class:`EngineError` naming the file and the box, or if no box belongs to these clips.
    """
    boxes = _read(path, min_score)
    if boxes and not any(_find(boxes, frame) for clip in clips for frame in clip.frames):
        raise EngineError(f"{path}: no box belongs to {clips[0].frames[0].name!r} or to any other evaluated frame")
    return [replace(clip, frames=tuple(_replace(clip, frame, boxes) for frame in clip.frames)) for clip in clips]


def _replace(clip: Clip, frame: Frame, boxes: Boxes) -> Frame:
    joints = np.zeros((len(SKELETONS[clip.skeleton]), 3), np.float32)
    return replace(frame, people=tuple(Person(box, joints, score=score) for box, score in _find(boxes, frame)))


def _find(boxes: Boxes, frame: Frame) -> Sequence[ScoredBox]:
    return boxes.get(frame.name) or boxes.get(frame.id) or ()


def _read(path: Path, min_score: float) -> Boxes:
    detections = read_json(path)
    check_fields(path, detections, list[_Detection])
    boxes: dict[Any, list[ScoredBox]] = defaultdict(list)
    for number, detection in enumerate(detections):
        image, box, score = _parse(path, number, detection)
        if score >= min_score and detection.get("category_id", 1) == 1:
            boxes[image].append((box, score))
    return boxes


def _parse(path: Path, number: int, detection: Mapping[str, Any]) -> tuple[Any, Floats, float]:
    if not detection.keys() & {"image_name", "image_id"}:
        raise EngineError(f"{path}: box {number} has no 'image_name'")
    box = np.array(detection["bbox"], np.float64)
    return detection.get("image_name", detection.get("image_id")), box, float(detection["score"])
