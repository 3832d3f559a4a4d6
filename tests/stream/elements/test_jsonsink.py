"""Poses on disk: files are always complete, with each frame once, in the formats of the data sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from stream.element import Context
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError, TransportError
from stream.messages import Frame, Poses, WindowFrame
from stream.testing import check_element, make_poses
from tests.full_disk import room_for


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def open_sink(sink: JsonSink, incarnation: int = 0) -> JsonSink:
    sink.context = Context(name="jsonsink", incarnation=incarnation)
    return sink.__enter__()


def abandon(sink: JsonSink) -> None:
    """Close the files as a kill does, without any clean-up."""
    for lines in sink._files.values():
        lines.close()


def test_jsonsink_is_an_element(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_element("jsonsink")
    check_element(f"jsonsink location={tmp_path}/poses.jsonl")
    check_element(f"jsonsink location={tmp_path}/{{camera}}.json format=coco")
    check_element(f"jsonsink location={tmp_path}/{{camera}}.track.json format=posetrack")
    check_element(f"jsonsink location={tmp_path}/{{camera}} format=openpose")
    check_element(f"jsonsink location={tmp_path}/poses.csv format=csv")
    check_element(f"jsonsink location={tmp_path}/{{camera}}.{{id}}.trc format=trc")
    assert capsys.readouterr().out.count("\n") > 0


def test_a_line_has_the_keys_of_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    keypoints = np.array([[[1.23456, 2.5, 0.9]] * 17], np.float32)
    frame = Frame("hall", 7, 233_000_000, 1_700_000_000_000_000_000, np.zeros((48, 64, 3), np.uint8), {"captured": 5})
    window = (WindowFrame(-1, 6, 200_000_000, "repeated"), WindowFrame(0, 7, 233_000_000, "real"))
    box, score = np.array([[1, 2, 30, 40.5]], np.float32), np.array([0.9], np.float32)
    with JsonSink(location=str(path)) as sink:
        sink.consume(Poses(frame, box, score, np.array([4]), keypoints, "coco17", "small", "abc", window))
    assert read_lines(path) == [
        {
            "camera": "hall",
            "frame_seq": 7,
            "pts_ns": 233_000_000,
            "wall_ns": 1_700_000_000_000_000_000,
            "size": [64, 48],
            "skeleton": "coco17",
            "joints": list(SKELETONS["coco17"].joints),
            "model": "small",
            "fingerprint": "abc",
            "people": [{"id": 4, "box": [1, 2, 30, 40.5], "score": 0.9, "keypoints": [[1.2346, 2.5, 0.9]] * 17}],
            "window": [
                {"offset": -1, "seq": 6, "pts_ns": 200_000_000, "state": "repeated"},
                {"offset": 0, "seq": 7, "pts_ns": 233_000_000, "state": "real"},
            ],
            "ledger": {"captured": 5},
        }
    ]


def test_lines_are_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonSink() as sink:
        sink.consume(make_poses(3, "hall"))
        assert json.loads(capsys.readouterr().out)["frame_seq"] == 3


def test_a_new_run_starts_a_new_file(tmp_path: Path) -> None:
    for seqs in ((0, 1, 2), (0, 1)):
        with JsonSink(location=str(tmp_path / "poses.jsonl")) as sink:
            for seq in seqs:
                sink.consume(make_poses(seq))
    assert [line["frame_seq"] for line in read_lines(tmp_path / "poses.jsonl")] == [0, 1]


@pytest.mark.parametrize("kept_bytes", [0, 1, 500, -1, -200])
def test_after_a_kill_at_any_byte_and_a_restart_every_frame_is_there_once_in_order(
    tmp_path: Path, kept_bytes: int
) -> None:
    path = tmp_path / "poses.jsonl"
    sink = open_sink(JsonSink(location=str(path)))
    for seq in range(4):
        sink.consume(make_poses(seq, "hall"))
        sink.consume(make_poses(seq, "yard"))
    abandon(sink)
    written = path.read_bytes()
    path.write_bytes(written[:kept_bytes] if kept_bytes else b"")
    again = open_sink(JsonSink(location=str(path)), incarnation=1)
    for seq in range(6):  # a restarted stage receives all unacknowledged frames again
        again.consume(make_poses(seq, "hall"))
        again.consume(make_poses(seq, "yard"))
    again.__exit__(None, None, None)
    for camera in ("hall", "yard"):
        assert [line["frame_seq"] for line in read_lines(path) if line["camera"] == camera] == list(range(6))


def test_a_restarted_stage_does_not_print_a_frame_twice(capsys: pytest.CaptureFixture[str]) -> None:
    memory: dict[str, int] = {}
    for incarnation, seqs in enumerate(((0, 1, 2), (1, 2, 3))):
        sink = JsonSink()
        sink.context = Context(memory=memory, incarnation=incarnation)
        with sink:
            for seq in seqs:
                sink.consume(make_poses(seq))
    assert [json.loads(line)["frame_seq"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2, 3]


def test_a_restart_refuses_a_file_it_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(TransportError) as caught:
        open_sink(JsonSink(location=str(path)), incarnation=1)
    assert "jsonsink cannot resume" in str(caught.value)
    assert str(caught.value).endswith("remove the file")
    assert path.read_text() == "dear diary\n"


def test_frames_without_people_make_an_empty_coco_list(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path / "out.json"), format="coco") as sink:
        sink.consume(make_poses(0, count=0))
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_a_coco_result_has_the_fields_and_the_pixel_convention_of_coco(tmp_path: Path) -> None:
    poses = make_poses(5, count=1)
    with JsonSink(location=str(tmp_path / "out.json"), format="coco") as sink:
        sink.consume(poses)
    (result,) = json.loads((tmp_path / "out.json").read_text())
    x1, y1, x2, y2 = poses.boxes[0].tolist()
    assert {key: result[key] for key in ("image_id", "category_id", "track_id")} == {
        "image_id": 5,
        "category_id": 1,
        "track_id": 1,
    }
    assert result["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=1e-3)
    assert result["score"] == pytest.approx(0.9 * 0.8, abs=1e-4)
    # Four decimals are written.
    np.testing.assert_allclose(
        np.reshape(result["keypoints"], (17, 3)), poses.keypoints[0] - np.array([0.5, 0.5, 0.0]), atol=6e-5
    )


def write(sink: JsonSink, items: Sequence[Poses]) -> None:
    """Write all items and flush."""
    with sink:
        for item in items:
            sink.consume(item)
        sink.flush()


def real_poses(document: Any) -> list[Poses]:
    """The poses of a line whose estimates equal a PoseTrack annotation."""
    items = []
    for image in document["images"]:
        people = [one for one in document["annotations"] if one["image_id"] == image["id"]]
        keypoints = np.array([one["keypoints"] for one in people], np.float32).reshape(-1, 17, 3)
        keypoints[..., :2] += 0.5 * (keypoints[..., 2:] > 0)
        camera = image["file_name"].split("/")[2]
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        frame = Frame(camera, image["frame_id"] % 10000, 0, 0, pixels)
        ids = np.array([one["track_id"] for one in people])
        count = len(people)
        boxes, scores = np.zeros((count, 4), np.float32), np.ones(count, np.float32)
        items.append(Poses(frame, boxes, scores, ids, keypoints, "posetrack17"))
    return items


@pytest.mark.parametrize("name", ["003418_mpii_test", "009473_mpii_test", "012834_mpii_test"])
def test_posetrack_json_equals_the_files_that_the_official_evaluation_reads(
    shared: Path, tmp_path: Path, name: str
) -> None:
    expected = json.loads((shared / "data/annot/posetrack18_poseval/A_identity" / f"{name}.json").read_text())
    with JsonSink(location=str(tmp_path / "{camera}.json"), format="posetrack") as sink:
        for poses in real_poses(expected):
            sink.consume(poses)
    written = json.loads((tmp_path / f"{name}.json").read_text())
    assert written.keys() == expected.keys()
    assert written["categories"][0]["keypoints"] == expected["categories"][0]["keypoints"]
    for ours, theirs in zip(written["images"], expected["images"], strict=True):
        assert ours == {key: theirs[key] for key in ours} | {"nframes": 1}
    by_person = {(one["image_id"], one["track_id"]): one for one in expected["annotations"]}
    for ours in written["annotations"]:
        theirs = by_person.pop((ours["image_id"], ours["track_id"]))
        assert ours.keys() == theirs.keys()
        # float32 of coordinates up to 1920 steps by 1.2e-4, and four decimals are written.
        np.testing.assert_allclose(ours["keypoints"], theirs["keypoints"], atol=3e-4)
        assert ours["scores"] == theirs["scores"]
        assert ours["category_id"] == theirs["category_id"]
    assert not by_person


def test_posetrack_joints_that_coco_lacks_are_zero(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path / "out.json"), format="posetrack") as sink:
        sink.consume(make_poses(0, count=1))
    (person,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    joints = SKELETONS["posetrack17"].joints
    points = dict(zip(joints, np.reshape(person["keypoints"], (17, 3)).tolist(), strict=True))
    absent = {"head_top", "head_bottom", "left_ear", "right_ear"}
    assert {joint for joint, point in points.items() if point == [0, 0, 0]} == absent
    assert [score > 0 for score in person["scores"]] == [joint not in absent for joint in joints]


@pytest.mark.parametrize(
    ("properties", "items", "message"),
    [
        (
            {"format": "coco"},
            [],
            "jsonsink: format=coco is one document, not a stream; set location=FILE.json",
        ),
        (
            {"format": "openpose"},
            [],
            "jsonsink: format=openpose is a folder of documents, not a stream; set location=FOLDER",
        ),
        (
            {"format": "trc"},
            [],
            "jsonsink: format=trc is one document, not a stream; set location=FILE_{id}.trc",
        ),
        (
            {"format": "trc", "location": "{tmp}/a.trc"},
            [],
            "jsonsink: location={tmp}/a.trc: a file of format=trc holds one person; put {id} into it, as in w_{id}.trc",
        ),
        (
            {"location": "{tmp}/a.CSV"},
            [],
            "jsonsink: location={tmp}/a.CSV ends as a csv file, but format=lines; set format=csv, or another location",
        ),
        (
            {"format": "coco", "location": "{tmp}/out.json"},
            [make_poses(0, "hall"), make_poses(0, "yard")],
            "jsonsink: {tmp}/out.json holds camera 'hall' and cannot hold 'yard' as well; put {camera} into location=",
        ),
        (
            {"location": "/proc/x.jsonl"},
            [],
            "jsonsink cannot write /proc/x.jsonl: No such file or directory; choose another location=",
        ),
        (
            {"location": "/dev/full"},
            [make_poses(0)],
            "jsonsink cannot write /dev/full: No space left on device; make room, or choose another location=",
        ),
    ],
)
def test_a_file_that_cannot_be_written_raises_in_one_line(
    tmp_path: Path, properties: Any, items: Any, message: str
) -> None:
    filled = {key: value.replace("{tmp}", str(tmp_path)) for key, value in properties.items()}
    with pytest.raises((PropertyError, TransportError)) as caught:
        write(JsonSink(**filled), items)
    assert str(caught.value) == message.replace("{tmp}", str(tmp_path))


def test_a_skeleton_that_cannot_be_converted_to_coco_raises_with_its_name(tmp_path: Path) -> None:
    poses = make_poses(0)
    strange = Poses(poses.frame, poses.boxes, poses.scores, poses.ids, poses.keypoints, "hand21")
    sink = open_sink(JsonSink(location=str(tmp_path / "out.json"), format="coco"))
    sink.consume(strange)
    with pytest.raises(PropertyError) as caught:
        sink.flush()
    abandon(sink)
    assert "skeleton 'hand21', which cannot be converted to coco17; use format=lines" in str(caught.value)


@pytest.mark.parametrize("room", [0, 1, 50], ids=["none", "a byte", "half a line"])
@pytest.mark.parametrize("incarnation", [0, 1])
def test_a_full_disk_leaves_no_torn_line_and_writing_goes_on_when_there_is_room(
    tmp_path: Path, room: int, incarnation: int
) -> None:
    path = tmp_path / "poses.jsonl"
    sink = open_sink(JsonSink(location=str(path)), incarnation)
    sink.consume(make_poses(0))
    with room_for(path.stat().st_size + room):
        for seq in (1, 2):
            with pytest.raises(
                TransportError, match=r"jsonsink cannot write .*poses.jsonl: .* choose another location="
            ):
                sink.consume(make_poses(seq))
    assert path.read_bytes().endswith(b"\n")
    sink.consume(make_poses(3))
    abandon(sink)
    assert [line["frame_seq"] for line in read_lines(path)] == [0, 3]
