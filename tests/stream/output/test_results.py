from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.elements.jsonsink import JsonSink
from stream.messages import Poses
from stream.output.results import PersonRecord, Record, coco_results, posetrack_lists
from stream.testing import make_poses


def poses_of(seq: int, file: str) -> Poses:
    poses = make_poses(seq, "walk", count=1)
    return replace(poses, frame=replace(poses.frame, file=file))


def write(path: Path, kind: Any, files: list[str]) -> Any:
    with JsonSink(location=str(path), format=kind) as sink:
        for seq, file in enumerate(files):
            sink.consume(poses_of(seq, file))
        sink.flush()
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if kind == "lines" else json.loads(text)


FILES = ["shots/000001.png", "shots/12.jpg", "clips/a.mp4", ""]


def test_a_line_has_the_path_of_the_file_of_its_frame(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", "lines", FILES)
    assert [line.get("file") for line in lines] == [*FILES[:3], None], "a camera has none"


def test_a_coco_result_has_the_name_of_the_file_of_its_frame(tmp_path: Path) -> None:
    results = write(tmp_path / "a.json", "coco", FILES)
    assert [result.get("file_name") for result in results] == ["000001.png", "12.jpg", "a.mp4", None]
    assert [result["image_id"] for result in results] == [0, 1, 2, 3], "not all are pictures"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["000000000139.jpg", "a/COCO_val2014_000000000285.jpg", "IMG_7.png"], [139, 285, 7]),
        (["3.jpg", "3.png", "5.jpg"], [0, 1, 2]),  # two have one number
        (["3.jpg", "b.jpg", "5.jpg"], [0, 1, 2]),  # one has none
        (["a3.tif", "a3.tif"], [0, 1]),  # pages of one file
        (["3/a.jpg", "4/b.jpg"], [0, 1]),
        (["clip3.mp4", "clip4.mp4"], [0, 1]),
        (["20240101123059123456.jpg"], [0]),  # more digits than a number of JSON may have
        (["9007199254740991.jpg"], [2**53 - 1]),
        (["٣.jpg"], [0]),
    ],
)
def test_the_image_id_of_coco_is_the_number_of_the_picture_where_each_has_one(
    tmp_path: Path, files: list[str], expected: list[int]
) -> None:
    results = write(tmp_path / "a.json", "coco", files)
    assert [result["image_id"] for result in results] == expected


def test_coco_evaluates_the_results_of_its_own_pictures(shared: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("engines.evaluation.coco")
    pytest.importorskip("pycocotools", reason="needs pycocotools (pip install '.[eval]')")
    truth = shared / "data/annot/coco_val_mini/person_keypoints.json"
    document = json.loads(truth.read_text())
    with JsonSink(location=str(tmp_path / "a.json"), format="coco") as sink:
        for seq, image in enumerate(sorted(document["images"], key=lambda image: image["file_name"])):
            people = [one for one in document["annotations"] if one["image_id"] == image["id"] and one["num_keypoints"]]
            keypoints = np.array([one["keypoints"] for one in people], np.float32).reshape(-1, 17, 3)
            keypoints += (0.5, 0.5, 0)
            keypoints[..., 2] = 1
            boxes, ones = np.zeros((len(people), 4), np.float32), np.ones(len(people), np.float32)
            frame = replace(make_poses(seq).frame, file=f"val2017/{image['file_name']}")
            sink.consume(Poses(frame, boxes, ones, np.arange(len(people)), keypoints, "coco17"))
        sink.flush()
    scores = coco.score_coco(truth, tmp_path / "a.json")
    assert (scores["AP"], scores["AR"]) == pytest.approx((1, 1))


def test_the_pages_of_one_picture_have_names_of_their_own_in_posetrack(tmp_path: Path) -> None:
    images = write(tmp_path / "a.json", "posetrack", ["7.tif", "8.tif", "8.tif"])["images"]
    assert [image["file_name"] for image in images] == [
        "images/val/walk/7.tif",
        "images/val/walk/000001.jpg",
        "images/val/walk/000002.jpg",
    ]


def test_joints_in_the_line_name_the_keypoints_of_a_skeleton_that_this_process_does_not_know() -> None:
    person = PersonRecord(1, (0, 0, 9, 9), 1.0, [(3.5, 4.5, 0.5), (5.5, 6.5, 0.25)])
    record = Record("hall", 0, (9, 9), "own2", [person], joints=("left_wrist", "tail"))
    (result,) = coco_results(record)
    points = [result["keypoints"][start : start + 3] for start in range(0, 51, 3)]
    assert points == [[3, 4, 0.5] if number == 9 else [0, 0, 0] for number in range(17)]


def test_a_posetrack_image_has_the_name_of_its_picture_or_the_number_of_its_frame(tmp_path: Path) -> None:
    images = write(tmp_path / "a.json", "posetrack", FILES)["images"]
    names = ["000001.png", "12.jpg", "000002.jpg", "000003.jpg"]
    assert [image["file_name"] for image in images] == [f"images/val/walk/{name}" for name in names]


@pytest.mark.parametrize("name", ["12:30.jsonl", "~x.jsonl", "-a.jsonl", "tcp:a.jsonl", "%d.jsonl"])
def test_an_output_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(write(Path(name), "lines", FILES)) == 4


def _record(seq: int, people: int) -> Record:
    found = [PersonRecord(number, (0, 0, 9, 9), 1.0, [(1.0, 1.0, 1.0)] * 17) for number in range(people)]
    return Record("003418_mpii_test", seq, (10, 10), "coco17", found)


@pytest.mark.parametrize("people", [100, 101, 1001])
def test_annotations_of_posetrack_have_ids_of_their_own(people: int) -> None:
    records = [_record(0, people), _record(1, 2), _record(2, people)]
    ids = [one["id"] for key, entries in posetrack_lists(lambda: records) for one in entries if key == "annotations"]
    assert len(set(ids)) == len(ids) == 2 * people + 2
    assert ids[0] == 10034180000 * (100 if people == 100 else 10 ** len(str(people)))
