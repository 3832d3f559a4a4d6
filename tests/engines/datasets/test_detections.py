"""Detected boxes in place of annotated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.datasets import posetrack18
from engines.datasets.detections import replace_people
from engines.errors import EngineError
from tests.engines.datasets import sample_datasets

NAME = "images/val/000001_test/000001.jpg"


@pytest.mark.parametrize("image", [{"image_name": NAME}, {"image_id": 1}])
def test_boxes_above_the_minimum_score_replace_people(tmp_path: Path, image: dict[str, Any]) -> None:
    sample_datasets.posetrack18(tmp_path)
    box = {"bbox": [1, 2, 30, 40], **image}
    detections = [{**box, "score": 0.9}, {**box, "score": 0.1}, {**box, "score": 0.8, "category_id": 3}]
    path = sample_datasets.write_json(tmp_path / "boxes.json", detections)
    (clip,) = replace_people(posetrack18.read(tmp_path, "val"), path)
    (person,) = clip.frames[0].people
    assert (person.box.tolist(), person.score) == ([1, 2, 30, 40], 0.9)
    assert not person.joints.any()
    assert clip.frames[1].people == ()


@pytest.mark.parametrize(
    ("detections", "words"),
    [
        ({}, r"must be a list, not a mapping"),
        ([{"image_name": NAME, "score": 1}], r"\[0\] lacks 'bbox'"),
        ([{"bbox": [1, 2, 3, 4], "score": 1}], "box 0 has no 'image_name'"),
        (
            [{"image_name": NAME, "bbox": [1, 2], "score": 1}],
            "must be a list of 4 values, not 2",
        ),
        ([{"image_name": "x", "bbox": [1, 2, 3, 4], "score": 1}], f"no box belongs to '{NAME}'"),
    ],
)
def test_broken_boxes_are_errors(tmp_path: Path, detections: Any, words: str) -> None:
    sample_datasets.posetrack18(tmp_path)
    path = sample_datasets.write_json(tmp_path / "boxes.json", detections)
    with pytest.raises(EngineError, match=words):
        replace_people(posetrack18.read(tmp_path, "val"), path)
