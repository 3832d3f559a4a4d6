"""PoseTrack's files, read; broken ones named with the annotation that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets.posetrack import read_annotations, read_predictions
from engines.datasets.posetrack_frames import JOINTS
from engines.errors import EngineError
from engines.skeletons import SKELETONS

NAMES = SKELETONS["posetrack17"].joints


def document(**changes: Any) -> dict[str, Any]:
    keypoints = [number for place in range(17) for number in (place * 10, place, 1)]
    person = {
        "id": 70, "image_id": 5, "track_id": 0, "bbox_head": [10, 20, 30, 40], "keypoints": keypoints,
        "scores": [place / 17 for place in range(17)], **changes,
    }  # fmt: skip
    frame = {
        "id": 5, "file_name": "images/val/a/000000.jpg", "is_labeled": True,
        "ignore_regions_x": [[0, 9, 9]], "ignore_regions_y": [[0, 0, 9]],
    }  # fmt: skip
    return {"images": [frame], "annotations": [person], "categories": [{"id": 1, "keypoints": list(NAMES)}]}


def written(tmp_path: Path, told: Any) -> Path:
    path = tmp_path / "sequence.json"
    path.write_text(json.dumps(told))
    return path


def test_joints_come_in_the_order_of_the_15_whatever_order_the_file_has(tmp_path: Path) -> None:
    (frame,) = read_annotations(written(tmp_path, document()))
    assert frame.file == "images/val/a/000000.jpg"
    for place, joint in enumerate(JOINTS):
        assert frame.people.joints[0, place].tolist() == [NAMES.index(joint) * 10, NAMES.index(joint)]
    assert frame.people.heads.tolist() == [[10, 20, 40, 60]]
    assert frame.people.ignored[0].tolist() == [[0, 0], [9, 0], [9, 9]]


def test_what_is_not_annotated_is_not_a_number(tmp_path: Path) -> None:
    keypoints = [1, 2, 0] * 16 + [3, 4, 1]
    (frame,) = read_annotations(written(tmp_path, document(keypoints=keypoints)))
    seen = ~np.isnan(frame.people.joints[0, :, 0])
    assert [joint for joint, there in zip(JOINTS, seen, strict=True) if there] == ["right_ankle"]


def test_frames_that_nobody_labelled_are_left_out(tmp_path: Path) -> None:
    told = document()
    told["images"].append({**told["images"][0], "id": 6, "is_labeled": False})
    assert len(read_annotations(written(tmp_path, told))) == 1


def test_a_file_of_2017_says_the_same(tmp_path: Path) -> None:
    points = [{"id": [place], "x": [place * 10], "y": [place], "score": [0.5]} for place in range(14)]
    person = {"x1": [10], "y1": [20], "x2": [40], "y2": [60], "annopoints": [{"point": points}]}
    region = {"point": [{"x": [0], "y": [0]}, {"x": [9], "y": [0]}, {"x": [9], "y": [9]}]}
    frame = {"image": [{"name": "images/a/00000001.jpg"}], "annorect": [person], "ignore_regions": [region]}
    path = written(tmp_path, {"annolist": [frame]})
    (labelled,), (predicted,) = read_annotations(path), read_predictions(path)
    assert labelled.file == "images/a/00000001.jpg"
    assert labelled.people.heads.tolist() == [[10, 20, 40, 60]]
    assert labelled.people.joints[0, 13].tolist() == [130, 13]
    assert np.isnan(labelled.people.joints[0, 14]).all()
    assert predicted.people.scores[0, 13] == 0.5


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"images": []}, "sequence.json: it is no file of PoseTrack's"),
        ([1, 2], "sequence.json: it is no file of PoseTrack's"),
        (document(keypoints=[1, 2, 1]), "sequence.json: annotation 0 has 3 numbers in 'keypoints', 51 are wanted"),
        (
            {**document(), "categories": [{"keypoints": ["nose"]}]},
            "sequence.json: its category names no keypoints head_bottom, head_top",
        ),
        (
            {**document(), "annotations": [{"id": 70, "image_id": 5, "keypoints": [1, 2, 1] * 17}]},
            "sequence.json: annotation 0 (id 70) has no 'bbox_head'",
        ),
        ({**document(), "annotations": [{"id": 70}]}, "sequence.json: annotation 0 (id 70) has no 'image_id'"),
    ],
)
def test_a_broken_file_is_named_with_its_annotation(tmp_path: Path, told: Any, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        read_annotations(written(tmp_path, told))
    assert words in str(caught.value)


def test_a_truncated_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(EngineError, match=r"cut\.json: it is no JSON"):
        read_annotations(tmp_path / "cut.json")
    with pytest.raises(EngineError, match=r"none\.json: No such file"):
        read_annotations(tmp_path / "none.json")
