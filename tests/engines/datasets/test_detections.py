"""Detected boxes in place of true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.datasets import posetrack18
from engines.datasets.detections import with_detections
from engines.errors import EngineError
from tests.engines.datasets import drawn

NAME = "images/val/000001_test/000001.jpg"


@pytest.mark.parametrize("image", [{"image_name": NAME}, {"image_id": 1}])
def test_boxes_of_a_good_score_take_the_place_of_people(tmp_path: Path, image: dict[str, Any]) -> None:
    drawn.posetrack18(tmp_path)
    box = {"bbox": [1, 2, 30, 40], **image}
    told = [{**box, "score": 0.9}, {**box, "score": 0.1}, {**box, "score": 0.8, "category_id": 3}]
    path = drawn.write_json(tmp_path / "boxes.json", told)
    (clip,) = with_detections(posetrack18.read(tmp_path, "val"), path)
    (person,) = clip.frames[0].people
    assert (person.box.tolist(), person.score) == ([1, 2, 30, 40], 0.9)
    assert not person.joints.any()
    assert clip.frames[1].people == ()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "a list of boxes, with image_name, bbox and score, is wanted"),
        ([{"image_name": NAME, "score": 1}], "box 0 has no 'bbox'"),
        ([{"bbox": [1, 2, 3, 4], "score": 1}], "box 0 has no 'image_name'"),
        ([{"image_name": NAME, "bbox": [1, 2], "score": 1}], "box 0 has a 'bbox' of 2 numbers, 4 are wanted"),
        ([{"image_name": "x", "bbox": [1, 2, 3, 4], "score": 1}], f"none of its boxes is of '{NAME}'"),
    ],
)
def test_broken_boxes_are_named(tmp_path: Path, told: Any, words: str) -> None:
    drawn.posetrack18(tmp_path)
    path = drawn.write_json(tmp_path / "boxes.json", told)
    with pytest.raises(EngineError, match=words):
        with_detections(posetrack18.read(tmp_path, "val"), path)
