"""PoseTrack's annotation and result files; errors name the broken annotation."""

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
    keypoints = [number for index in range(17) for number in (index * 10, index, 1)]
    person = {
        "id": 70, "image_id": 5, "track_id": 0, "bbox_head": [10, 20, 30, 40], "keypoints": keypoints,
        "scores": [index / 17 for index in range(17)], **changes,
    }  # fmt: skip
    frame = {
        "id": 5, "file_name": "images/val/a/000000.jpg", "is_labeled": True,
        "ignore_regions_x": [[0, 9, 9]], "ignore_regions_y": [[0, 0, 9]],
    }  # fmt: skip
    return {"images": [frame], "annotations": [person], "categories": [{"id": 1, "keypoints": list(NAMES)}]}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "sequence.json"
    path.write_text(json.dumps(content))
    return path


def test_joints_are_in_posevals_order_for_any_order_in_the_file(tmp_path: Path) -> None:
    (frame,) = read_annotations(write(tmp_path, document()))
    assert frame.file == "images/val/a/000000.jpg"
    for index, joint in enumerate(JOINTS):
        assert frame.people.joints[0, index].tolist() == [NAMES.index(joint) * 10, NAMES.index(joint)]
    assert frame.people.heads.tolist() == [[10, 20, 40, 60]]
    assert frame.people.ignored[0].tolist() == [[0, 0], [9, 0], [9, 9]]


def test_joints_without_annotation_are_nan(tmp_path: Path) -> None:
    keypoints = [1, 2, 0] * 16 + [3, 4, 1]
    (frame,) = read_annotations(write(tmp_path, document(keypoints=keypoints)))
    seen = ~np.isnan(frame.people.joints[0, :, 0])
    assert [joint for joint, there in zip(JOINTS, seen, strict=True) if there] == ["right_ankle"]


def test_unlabelled_frames_are_left_out(tmp_path: Path) -> None:
    annotations = document()
    annotations["images"].append({**annotations["images"][0], "id": 6, "is_labeled": False})
    assert len(read_annotations(write(tmp_path, annotations))) == 1


def test_a_file_of_2017_gives_the_same(tmp_path: Path) -> None:
    points = [{"id": [index], "x": [index * 10], "y": [index], "score": [0.5]} for index in range(14)]
    person = {"x1": [10], "y1": [20], "x2": [40], "y2": [60], "annopoints": [{"point": points}]}
    region = {"point": [{"x": [0], "y": [0]}, {"x": [9], "y": [0]}, {"x": [9], "y": [9]}]}
    frame = {"image": [{"name": "images/a/00000001.jpg"}], "annorect": [person], "ignore_regions": [region]}
    path = write(tmp_path, {"annolist": [frame]})
    (annotated,), (predicted,) = read_annotations(path), read_predictions(path)
    assert annotated.file == "images/a/00000001.jpg"
    assert annotated.people.heads.tolist() == [[10, 20, 40, 60]]
    assert annotated.people.joints[0, 13].tolist() == [130, 13]
    assert np.isnan(annotated.people.joints[0, 14]).all()
    assert predicted.people.scores[0, 13] == 0.5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": []}, "sequence.json: it is not a PoseTrack file"),
        ([1, 2], "sequence.json: it is not a PoseTrack file"),
        (document(keypoints=[1, 2, 1]), "sequence.json: annotation 0 has 3 numbers in 'keypoints', not 51"),
        (
            {**document(), "categories": [{"keypoints": ["nose"]}]},
            "sequence.json: its category has no keypoints head_bottom, head_top",
        ),
        (
            {**document(), "annotations": [{"id": 70, "image_id": 5, "keypoints": [1, 2, 1] * 17}]},
            "sequence.json: annotation 0 (id 70) has no 'bbox_head'",
        ),
        ({**document(), "annotations": [{"id": 70}]}, "sequence.json: annotation 0 (id 70) has no 'image_id'"),
    ],
)
def test_a_broken_file_is_an_error_naming_the_annotation(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        read_annotations(write(tmp_path, content))
    assert words in str(caught.value)


def test_a_truncated_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(EngineError, match=r"cut\.json line 1, column 13: it ends too early"):
        read_annotations(tmp_path / "cut.json")
    with pytest.raises(EngineError, match=r"none\.json: No such file"):
        read_annotations(tmp_path / "none.json")
