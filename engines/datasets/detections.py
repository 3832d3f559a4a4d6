"""People that a detector found, in place of the true boxes: what papers are judged on.

A JSON list of ``{"image_name": …, "bbox": [x, y, width, height], "score": …}``; ``image_id`` in place of ``image_name``
is taken too. Boxes of a ``category_id`` other than 1 are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets.clips import Clip, Frame, Person
from engines.datasets.jsonfile import read_json
from engines.errors import EngineError
from engines.skeletons import SKELETONS

THRESHOLD = 0.2
"""The least score in the published trainings."""


def with_detections(clips: Sequence[Clip], path: Path, threshold: float = THRESHOLD) -> list[Clip]:
    """The same clips with detected people, who have no joints, in place of the annotated.

    Raises :class:`EngineError` naming the file and the box, or that no box is of these clips.
    """
    boxes = _read(path, threshold)
    if boxes and not any(_found(boxes, frame) for clip in clips for frame in clip.frames):
        raise EngineError(f"{path}: none of its boxes is of {clips[0].frames[0].name!r} or any other frame judged")
    return [replace(clip, frames=tuple(_redetected(clip, frame, boxes) for frame in clip.frames)) for clip in clips]


def _redetected(clip: Clip, frame: Frame, boxes: Mapping[Any, Sequence[tuple[np.ndarray, float]]]) -> Frame:
    none = np.zeros((len(SKELETONS[clip.skeleton]), 3), np.float32)
    return replace(frame, people=tuple(Person(box, none, score=score) for box, score in _found(boxes, frame)))


def _found(boxes: Mapping[Any, Sequence[tuple[np.ndarray, float]]], frame: Frame) -> Sequence[tuple[np.ndarray, float]]:
    return boxes.get(frame.name) or boxes.get(frame.id) or ()


def _read(path: Path, threshold: float) -> Mapping[Any, list[tuple[np.ndarray, float]]]:
    told = read_json(path)
    if not isinstance(told, list):
        raise EngineError(f"{path}: a list of boxes, with image_name, bbox and score, is wanted")
    boxes: dict[Any, list[tuple[np.ndarray, float]]] = defaultdict(list)
    for number, one in enumerate(told):
        image, box, score = _box(path, number, one)
        if score >= threshold and one.get("category_id", 1) == 1:
            boxes[image].append((box, score))
    return boxes


def _box(path: Path, number: int, told: Mapping[str, Any]) -> tuple[Any, np.ndarray, float]:
    missing = [name for name in ("bbox", "score") if name not in told]
    if missing or not told.keys() & {"image_name", "image_id"}:
        raise EngineError(f"{path}: box {number} has no {(missing or ['image_name'])[0]!r}")
    box = np.array(told["bbox"], np.float64)
    if box.shape != (4,):
        raise EngineError(f"{path}: box {number} has a 'bbox' of {box.size} numbers, 4 are wanted")
    return told.get("image_name", told.get("image_id")), box, float(told["score"])
