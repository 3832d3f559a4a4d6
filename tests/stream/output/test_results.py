from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.elements.jsonsink import JsonSink
from stream.messages import Poses
from stream.output.results import PersonRecord, Record, posetrack_document
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
    assert [result["image_id"] for result in results] == [0, 1, 2, 3]


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
    document = posetrack_document([_record(0, people), _record(1, 2), _record(2, people)])
    ids = [one["id"] for one in document["annotations"]]
    assert len(set(ids)) == len(ids) == 2 * people + 2
    assert ids[0] == 10034180000 * (100 if people == 100 else 10 ** len(str(people)))
