"""OpenPose's JSON: its documented keys, order of joints and names of files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.skeletons import SKELETONS
from stream.element import Context
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError, StartError, TransportError
from stream.messages import Poses
from stream.output.openpose import openpose_document
from stream.output.results import PersonRecord, Record
from stream.testing import make_poses

OPENPOSE_BODY_25 = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee"),
    *("RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel"),
    *("RBigToe", "RSmallToe", "RHeel"),
)
"""As OpenPose's page lists them."""


def make_record(skeleton: str, *, unknown: tuple[str, ...] = ()) -> Record:
    """A person whose joint number n is at (10 n + 0.5, 20 n + 0.5) with score (n + 1) / 1000."""
    joints = SKELETONS[skeleton].joints
    points = [
        (10 * n + 0.5, 20 * n + 0.5, 0.0 if joint in unknown else (n + 1) / 1000) for n, joint in enumerate(joints)
    ]
    return Record("hall", 7, (640, 480), skeleton, [PersonRecord(3, (0, 0, 9, 9), 0.9, points)])


def read_body(record: Record) -> dict[str, list[float]]:
    (person,) = openpose_document(record)["people"]
    numbers = np.reshape(person["pose_keypoints_2d"], (-1, 3)).tolist()
    return dict(zip(OPENPOSE_BODY_25, [[round(number, 4) for number in row] for row in numbers], strict=True))


def expected(skeleton: str, joint: str) -> list[float]:
    number = SKELETONS[skeleton].index(joint)
    return [10 * number, 20 * number, round((number + 1) / 1000, 4)]


def test_a_document_has_the_keys_that_openpose_writes() -> None:
    document = openpose_document(make_record("coco17"))
    assert list(document) == ["version", "people"]
    (person,) = document["people"]
    assert list(person) == [
        *("person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
        *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
    ]
    assert person.pop("person_id") == [3]
    assert len(person.pop("pose_keypoints_2d")) == 75
    assert set(map(str, person.values())) == {"[]"}
    assert openpose_document(replace_people(make_record("coco17"))) == {"version": 1.3, "people": []}


def replace_people(record: Record) -> Record:
    return Record(record.camera, record.frame_seq, record.size, record.skeleton, [])


def test_cocos_joints_are_in_the_order_of_body_25_with_middles_of_shoulders_and_hips() -> None:
    body = read_body(make_record("coco17"))
    assert body["Nose"] == [0, 0, 0.001]
    assert body["RWrist"] == expected("coco17", "right_wrist") == [100, 200, 0.011]
    assert body["LEar"] == expected("coco17", "left_ear")
    assert body["LAnkle"] == expected("coco17", "left_ankle")
    assert body["Neck"] == [55, 110, 0.006], "the middle of 5 and 6, the lower score"
    assert body["MidHip"] == [115, 230, 0.012], "the middle of 11 and 12, the lower score"
    assert all(body[name] == [0, 0, 0] for name in OPENPOSE_BODY_25 if "Toe" in name or "Heel" in name)


def test_a_middle_without_one_of_its_sides_is_missing() -> None:
    body = read_body(make_record("coco17", unknown=("left_hip", "right_shoulder")))
    assert [name for name in ("Neck", "MidHip", "LHip", "RShoulder") if body[name] != [0, 0, 0]] == []
    assert body["RHip"] == expected("coco17", "right_hip")


def test_the_joints_of_halpe26_fill_all_of_body_25() -> None:
    body = read_body(make_record("halpe26"))
    assert body["Neck"] == expected("halpe26", "neck")
    assert body["MidHip"] == expected("halpe26", "pelvis")
    assert body["LSmallToe"] == expected("halpe26", "left_small_toe")
    assert body["RHeel"] == expected("halpe26", "right_heel")
    assert all(point[2] > 0 for point in body.values())


def test_whole_bodies_have_face_and_hands() -> None:
    (person,) = openpose_document(make_record("coco-wholebody133"))["people"]
    face = np.reshape(person["face_keypoints_2d"], (70, 3))
    assert face[[0, 67], :2].tolist() == [[230, 460], [900, 1800]]
    assert not face[68:].any(), "it has no pupils"
    left, right = (np.reshape(person[f"hand_{side}_keypoints_2d"], (21, 3)) for side in ("left", "right"))
    assert left[:, 0].tolist() == list(range(910, 1120, 10))
    assert right[:, 0].tolist() == list(range(1120, 1330, 10))


def test_a_skeleton_without_any_of_these_joints_is_refused() -> None:
    record = Record("hall", 0, (9, 9), "wand2", [PersonRecord(1, (0, 0, 1, 1), 1.0, [(1, 1, 1), (2, 2, 1)])])
    with pytest.raises(PropertyError) as caught:
        openpose_document(record)
    assert str(caught.value).startswith(
        "jsonsink: keypoints of 'hall' are of skeleton 'wand2', which cannot be converted to OpenPose's BODY_25; use "
    )


def poses_of(seq: int, file: str, camera: str = "walk") -> Poses:
    poses = make_poses(seq, camera, count=1)
    return replace(poses, frame=replace(poses.frame, file=file))


def test_files_are_called_as_openpose_calls_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    animation = tmp_path / "wave.tiff"
    assert cv2.imwritemulti(str(animation), [np.zeros((8, 8, 3), np.uint8)] * 2)
    files = ["shots/0001.png", "shots/b.jpg", "clips/a.mp4", "", str(animation), str(animation), "shots/b.png"]
    with JsonSink(location=str(tmp_path / "out"), format="openpose") as sink:
        for seq, file in enumerate(files):
            sink.consume(poses_of(seq, file))
        sink.flush()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0001_keypoints.json",
        "a_000000000002_keypoints.json",
        "b_000000000006_keypoints.json",
        "b_keypoints.json",
        "walk_000000000003_keypoints.json",
        "wave_000000000004_keypoints.json",
        "wave_000000000005_keypoints.json",
    ]
    assert "shots/b.png has the name of another frame and becomes b_000000000006" in caplog.text
    first = json.loads((tmp_path / "out/0001_keypoints.json").read_text())
    nose = make_poses(0, count=1).keypoints[0, 0] - (0.5, 0.5, 0)
    np.testing.assert_allclose(first["people"][0]["pose_keypoints_2d"][:3], nose, atol=6e-5)


@pytest.mark.parametrize("killed_after", [None, 0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    ("files", "renamed"),
    [
        (["a/1.png", "a/2.png", "b/1.png", "b/2.png"], {"1_000000000002", "2_000000000003"}),
        (["walk.mp4", "walk.mp4", "walk_000000000001.png"], {"walk_000000000001_000000000002"}),
        (["walk_000000000001.png", "walk.mp4"], {"walk_000000000001_000000000001"}),
        (["b.png", "c/b.png", "b_000000000001.png"], {"b_000000000001", "b_000000000001_000000000002"}),
        (["walk_000000000002.png", "", ""], {"walk_000000000002_000000000002"}),
    ],
)
def test_no_two_frames_of_a_run_have_one_name_also_after_a_restart(
    files: list[str], renamed: set[str], killed_after: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory: dict[str, int] = {}
    sent = list(enumerate(files))
    runs = [sent] if killed_after is None else [sent[:killed_after], sent[max(0, killed_after - 1) :]]
    for incarnation, items in enumerate(runs):  # the last frame before a kill comes again
        sink = JsonSink(location=str(tmp_path), format="openpose")
        sink.context = Context(memory=memory, incarnation=incarnation)
        sink.__enter__()
        for seq, file in items:
            sink.consume(poses_of(seq, file))
    sink.__exit__(None, None, None)
    names = {path.name.removesuffix("_keypoints.json") for path in tmp_path.iterdir()}
    assert len(names) == len(files)
    assert renamed <= names
    assert all(name in caplog.text for name in renamed)


@pytest.mark.parametrize("start", [b"", b"x", b'["\xff", "'], ids=["removed", "no JSON", "no UTF-8"])
def test_names_that_another_program_changed_before_a_restart_are_an_error(start: bytes, tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    kept = tmp_path / ".names.part"
    sink = JsonSink(location=str(tmp_path), format="openpose")
    sink.context = Context(memory=memory)
    sink.__enter__().consume(poses_of(0, "a/b.png"))
    kept.write_bytes(start.ljust(kept.stat().st_size, b"x") + b'"]\n') if start else kept.unlink()
    again = JsonSink(location=str(tmp_path), format="openpose")
    again.context = Context(memory=memory, incarnation=1)
    with pytest.raises(StartError, match=f"{kept} was changed by another program while the line ran"):
        again.__enter__()


def test_old_files_in_the_folder_stay_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 1):
        with JsonSink(location=str(tmp_path), format="openpose") as sink:
            sink.consume(poses_of(number, ""))
        assert ("holds keypoints already (files: 1), which stay" in caplog.text) == bool(number)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_holds_one_camera_and_stays_writable_for_it(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path), format="openpose") as sink:
        sink.consume(poses_of(0, "", "hall"))
        with pytest.raises(PropertyError, match=r"holds camera 'hall' and cannot hold 'yard' as well; put \{camera\}"):
            sink.consume(poses_of(0, "", "yard"))
        sink.consume(poses_of(1, "", "hall"))
    with JsonSink(location=str(tmp_path / "{camera}"), format="openpose") as sink:
        sink.consume(poses_of(0, "", "a/b"))
    assert (tmp_path / "a%2Fb/a%2Fb_000000000000_keypoints.json").exists()


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TransportError) as caught,
        JsonSink(location=str(tmp_path / "file"), format="openpose"),
    ):
        pass
    assert str(caught.value) == (
        f"jsonsink cannot write {tmp_path}/file: it is a file, not a folder; choose another location="
    )
    with JsonSink(location=str(tmp_path / "out"), format="openpose") as sink:
        (tmp_path / "out").rmdir()
        with pytest.raises(TransportError) as caught:
            sink.consume(poses_of(0, ""))
    assert "out/.names.part: No such file or directory; choose another location=" in str(caught.value)


def test_pose_format_reads_the_folder(tmp_path: Path) -> None:
    openpose = pytest.importorskip("pose_format.utils.openpose", reason="needs the package pose-format")
    with JsonSink(location=str(tmp_path), format="openpose") as sink:
        for seq in (0, 1, 3):
            sink.consume(poses_of(seq, ""))
    pose = openpose.load_openpose_directory(str(tmp_path), fps=25, width=64, height=48)
    names = pose.header.components[0].points
    data = np.ma.getdata(pose.body.data)[:, 0]
    assert len(data) == 4
    for seq in (0, 1, 3):
        points = make_poses(seq, count=1).keypoints[0]
        for ours, theirs in (("right_wrist", "RWrist"), ("left_ear", "LEar"), ("left_ankle", "LAnkle")):
            row = points[SKELETONS["coco17"].index(ours), :2] - 0.5
            np.testing.assert_allclose(data[seq, names.index(theirs), :2], row, atol=1e-4)
