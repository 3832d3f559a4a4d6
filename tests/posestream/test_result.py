"""What is found in a frame, as attributes, as plain values and as files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.skeletons import SKELETONS
from posestream.result import Result
from stream.errors import PropertyError, TransportError
from stream.testing.items import make_poses


@pytest.fixture
def result() -> Result:
    return Result(make_poses(7, "hall.mp4", count=2))


def test_it_has_the_frame_and_when_and_where_it_is_from(result: Result) -> None:
    frame = result.poses.frame
    assert (result.source, result.index, result.time_s) == ("hall.mp4", 7, frame.pts_ns / 1e9)
    assert result.frame is frame.pixels
    assert result.size == frame.size
    assert repr(result) == f"<Result hall.mp4 7 at {result.time_s:.3f} s: 2 people>"


def test_people_have_the_numbers_of_the_message(result: Result) -> None:
    first, second = result.people
    assert [first.id, second.id] == result.poses.ids.tolist()
    assert second.box == tuple(result.poses.boxes[1].tolist())
    assert first.score == result.poses.scores[0]
    assert first["left_wrist"].tolist() == result.poses.keypoints[0, 9].tolist()
    assert tuple(dict(first)) == result.joints == SKELETONS["coco17"].joints


def test_joints_of_a_skeleton_without_names_are_numbered() -> None:
    assert Result(replace(make_poses(0), skeleton="wand17")).joints == tuple(map(str, range(17)))


def test_the_dict_is_what_json_can_hold(result: Result) -> None:
    content = json.loads(json.dumps(result.to_dict()))
    assert list(content) == ["source", "index", "time_s", "size", "skeleton", "joints", "model", "people"]
    assert np.array_equal(
        np.array([person["keypoints"] for person in content["people"]], np.float32), result.poses.keypoints
    )
    assert [person["id"] for person in content["people"]] == [person.id for person in result.people]


def test_supervision_gets_the_same_people(result: Result) -> None:
    import supervision

    converted: Any = result.to_supervision()
    (key_points, detections), poses = converted, result.poses
    assert [type(one) for one in converted] == [supervision.KeyPoints, supervision.Detections]
    assert np.array_equal(key_points.xy, poses.keypoints[..., :2])
    assert np.array_equal(key_points.keypoint_confidence, poses.keypoints[..., 2])
    assert np.array_equal(key_points.detection_confidence, poses.scores)
    assert np.array_equal(detections.xyxy, poses.boxes)
    assert np.array_equal(detections.confidence, poses.scores)
    assert np.array_equal(detections.tracker_id, poses.ids)
    assert detections.data["class_name"].tolist() == ["person", "person"]
    assert len(key_points[key_points.detection_confidence > 0.5]) == 2
    drawn = supervision.VertexAnnotator(radius=1).annotate(np.zeros_like(result.frame), key_points)
    x, y = poses.keypoints[0, 0, :2].astype(int)
    assert drawn[y, x].any()


@pytest.mark.parametrize("count", [0, 1])
def test_supervision_gets_no_ids_where_there_are_none(count: int) -> None:
    poses = make_poses(0, count=count)
    key_points, detections = Result(replace(poses, ids=np.full(count, -1))).to_supervision()
    assert (key_points.xy.shape, detections.xyxy.shape) == ((count, 17, 2), (count, 4))
    assert detections.tracker_id is None


def test_drawing_leaves_the_frame_as_it_is(result: Result) -> None:
    before = result.frame.copy()
    assert result.draw(scale=2).shape == (result.size[1] * 2, result.size[0] * 2, 3)
    assert not np.array_equal(result.draw(), before)
    assert np.array_equal(result.frame, before)


def test_it_is_saved_as_a_picture_or_as_json(result: Result, tmp_path: Path) -> None:
    picture = result.save(tmp_path / "new" / "drawn.png")
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    assert np.array_equal(pixels, result.draw())
    keypoints = json.loads(result.save(tmp_path / "keypoints.json").read_text())
    assert np.allclose([person["keypoints"] for person in keypoints["people"]], result.poses.keypoints, atol=1e-4)


@pytest.mark.parametrize("name", ["drawn", "drawn.docx"])
def test_a_suffix_of_no_picture_is_refused(name: str, result: Result, tmp_path: Path) -> None:
    with pytest.raises(PropertyError) as caught:
        result.save(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name} does not end as a picture does; save to .jpg, .png or .json"


def test_a_place_that_cannot_be_written_is_named(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransportError, match=r"file/drawn\.png cannot be written: .*; choose another place"):
        result.save(tmp_path / "file" / "drawn.png")


def test_a_frame_too_large_for_its_format_leaves_no_file(tmp_path: Path) -> None:
    poses = make_poses(0, count=0)
    wide = Result(replace(poses, frame=replace(poses.frame, pixels=np.zeros((1, 65_501, 3), np.uint8))))
    with pytest.raises(PropertyError) as caught:
        wide.save(tmp_path / "wide.jpg")
    assert str(caught.value) == (
        f"{tmp_path / 'wide.jpg'} is 65,501 x 1 px, and a side of a .jpg has at most 65,500 px; "
        "save to .tiff, or write draw(scale=...) smaller"
    )
    assert list(tmp_path.iterdir()) == []
    assert wide.save(tmp_path / "wide.tiff").stat().st_size


def test_saving_replaces_a_link_and_refuses_what_is_no_file(result: Result, tmp_path: Path) -> None:
    precious, link, pipe = tmp_path / "precious.txt", tmp_path / "link.jpg", tmp_path / "pipe.json"
    precious.write_text("mine")
    link.symlink_to(precious)
    result.save(link)
    assert (precious.read_text(), link.is_symlink()) == ("mine", False)
    os.mkfifo(pipe)
    with pytest.raises(TransportError, match="it is a pipe, not a file"):
        result.save(pipe)
