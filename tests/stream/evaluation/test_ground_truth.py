"""Who is where in which frame: drawn once more, or read from a file; and what the judges make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from engines.datasets.posetrack_frames import JOINTS
from engines.errors import EngineError
from engines.skeletons import SKELETONS
from stream.evaluation.ground_truth import judge_of
from stream.evaluation.line_variants import Asked
from stream.evaluation.scorers import Judge
from stream.output.results import PersonRecord, Record
from stream.pipeline.launch import parse_launch

COCO = SKELETONS["coco17"].joints
POSETRACK = SKELETONS["posetrack17"].joints
SIZE = (320, 240)
BOX = (100.0, 40.0, 180.0, 200.0)


def points(names: tuple[str, ...], moved_px: float = 0.0) -> np.ndarray:
    """(K, 3) joints of somebody in :data:`BOX`; each name has its place, whatever the order."""
    places = sorted({*COCO, *POSETRACK})
    return np.array([(110 + 3.0 * places.index(name) + moved_px, 50 + 6.0 * places.index(name), 2) for name in names])


def record(moved_px: float = 0.0, skeleton: str = "coco17") -> Record:
    """Somebody found there, in continuous coordinates; the annotations count pixels by index."""
    found = points(SKELETONS[skeleton].joints, moved_px + 0.5)
    found[:, 1] += 0.5
    found[:, 2] = 0.9
    return Record("hall", 0, SIZE, skeleton, [PersonRecord(1, BOX, 0.9, [(x, y, s) for x, y, s in found.tolist()])])


def document(names: tuple[str, ...], files: list[str], **more: Any) -> dict[str, Any]:
    """Annotations with the same person in each of the pictures."""
    person = {
        "category_id": 1,
        "bbox": [100, 40, 80, 160],
        "bbox_head": [120, 40, 40, 40],
        "keypoints": points(names).ravel().tolist(),
        **more,
    }
    return {
        "images": [{"id": 70 + place, "file_name": file} for place, file in enumerate(files)],
        "annotations": [{**person, "id": place, "image_id": 70 + place} for place in range(len(files))],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }


def judge(folder: Path, told: Any, source: str = "filesrc location=x.mp4") -> Judge:
    truth = folder / "truth.json"
    truth.write_text(json.dumps(told))
    return judge_of(Asked(parse_launch(f"{source} ! tests.toys.oracle ! keypointsink"), truth))


# -- COCO -------------------------------------------------------------------------------------------------------------


def test_a_coco_file_is_scored_by_cocos_measure_and_pck(tmp_path: Path) -> None:
    found = judge(tmp_path, document(COCO, ["000000.jpg", "000003.jpg"]))
    assert [number for number in range(5) if found.knows(number)] == [0, 3]
    assert found.score([(0, record()), (3, record())]) == pytest.approx(dict.fromkeys(("AP", "AP50", "AP75", "PCK@0.2"), 100.0))  # fmt: skip # noqa: E501
    half = found.score([(0, record()), (3, None)])
    assert half["PCK@0.2"] == 50.0
    assert half["AP"] == pytest.approx(100 * 51 / 101)  # one of two is recalled: 51 of the 101 points of recall
    assert found.score([(0, None), (3, None)])["AP"] == 0.0


def test_half_a_pixel_lies_between_the_two_ways_to_count(tmp_path: Path) -> None:
    # PCK by hand: right within 0.2 * 160 = 32 px of the truth.
    found = judge(tmp_path, document(COCO, ["000000.jpg"]))
    assert found.score([(0, record(moved_px=31.9))])["PCK@0.2"] == 100.0
    assert found.score([(0, record(moved_px=-31.9))])["PCK@0.2"] == 100.0
    assert found.score([(0, record(moved_px=32.1))])["PCK@0.2"] == 0.0


def test_a_picture_may_stand_in_a_score_twice(tmp_path: Path) -> None:
    found = judge(tmp_path, document(COCO, ["000000.jpg"]))
    assert found.score([(0, record()), (0, None)])["PCK@0.2"] == 50.0


def test_ids_number_the_frames_where_names_do_not(tmp_path: Path) -> None:
    found = judge(tmp_path, document(COCO, ["a.jpg", "b.jpg"]))
    assert found.knows(70)
    assert found.knows(71)
    assert not found.knows(0)


def test_a_source_that_begins_later_numbers_from_there(tmp_path: Path) -> None:
    found = judge(tmp_path, document(COCO, ["000000.jpg", "000003.jpg"]), "filesrc location=x.mp4 start=2")
    assert found.knows(1)
    assert not found.knows(3)


def test_joints_may_stand_in_any_order_and_areas_may_be_missing(tmp_path: Path) -> None:
    names = COCO[::-1]
    found = judge(tmp_path, document(names, ["000000.jpg"], keypoints=points(names).ravel().tolist()))
    assert found.score([(0, record())])["AP"] == pytest.approx(100.0)


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def test_a_posetrack_file_is_scored_by_posetracks_measure(tmp_path: Path) -> None:
    found = judge(tmp_path, document(POSETRACK, ["images/val/000001_x/000000.jpg", "images/val/000001_x/000004.jpg"]))
    assert found.measure == "PoseTrack's AP"
    assert [number for number in range(6) if found.knows(number)] == [0, 4]
    everywhere = [(0, record(skeleton="posetrack17")), (4, record(skeleton="posetrack17"))]
    assert found.score(everywhere) == dict.fromkeys(("AP", "precision", "recall"), 100.0)
    # COCO's joints are 13 of PoseTrack's 15.
    assert found.score([(0, record()), (4, record())])["recall"] == pytest.approx(100 * 13 / len(JOINTS))
    assert found.score([(0, record(skeleton="posetrack17")), (4, None)])["recall"] == 50.0


def test_where_nobody_is_annotated_there_is_no_number(tmp_path: Path) -> None:
    told = document(POSETRACK, ["images/val/000001_x/000000.jpg"])
    found = judge(tmp_path, {**told, "annotations": []})
    assert all(math.isnan(value) for value in found.score([(0, record())]).values())


# -- drawn people -----------------------------------------------------------------------------------------------------


def test_drawn_people_are_the_same_as_those_of_the_source() -> None:
    source = parse_launch("testsrc seed=3 fps=12 num_frames=8 conditions=crossing ! fakesink").sources[0]
    with source:
        frame = [*source.frames()][7]
    assert frame is not None
    assert frame.truth is not None
    truth = frame.truth
    people = [
        PersonRecord(int(row), tuple(box), 1.0, [(x, y, 1.0) for x, y, _ in joints])  # type: ignore[arg-type]
        for row, box, joints in zip(truth.ids, truth.boxes.tolist(), truth.keypoints.tolist(), strict=True)
    ]
    line = "testsrc seed=3 fps=12 conditions=crossing ! tests.toys.oracle ! keypointsink"
    found = judge_of(Asked(parse_launch(line)))
    assert found.score([(7, Record("hall", 7, (640, 480), "coco17", people))]) == pytest.approx(
        dict.fromkeys(("AP", "AP50", "AP75", "PCK@0.2"), 100.0)
    )
    assert found.score([(0, Record("hall", 0, (640, 480), "coco17", people))])["AP"] < 100


# -- files that will not do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "it is no file of COCO's or PoseTrack18's make"),
        ({"annolist": []}, "it is no file of COCO's or PoseTrack18's make"),
        (document(COCO, ["000001.jpg", "1.jpg"]), "several of its pictures have one number"),
        (document(COCO[:14], ["000001.jpg"]), "its joints are not those of skeleton 'coco17'"),
        (document(COCO, ["1.jpg"], keypoints=[1, 2, 2]), "annotation 0 has 3 numbers in 'keypoints'"),
        (
            {**document(COCO, ["a.jpg"]), "images": [{"id": "first", "file_name": "a.jpg"}]},
            "nothing says which frame of the clip 'a.jpg' is",
        ),
    ],
)
def test_a_truth_that_is_none_is_told(tmp_path: Path, told: Any, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        judge(tmp_path, told)
    assert "truth.json" in str(caught.value)
    assert words in str(caught.value)
