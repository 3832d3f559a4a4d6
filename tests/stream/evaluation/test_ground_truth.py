"""Ground truth, rendered again or read from a file, and its scores."""

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
from stream.evaluation.ground_truth import load_judge
from stream.evaluation.line_variants import Request
from stream.evaluation.scorers import Judge
from stream.output.results import PersonRecord, Record
from stream.pipeline.launch import parse_launch

COCO = SKELETONS["coco17"].joints
POSETRACK = SKELETONS["posetrack17"].joints
SIZE = (320, 240)
BOX = (100.0, 40.0, 180.0, 200.0)


def points(names: tuple[str, ...], moved_px: float = 0.0) -> np.ndarray:
    """(K, 3) joints of a person in :data:`BOX`; the position depends on the name only, not on the order."""
    places = sorted({*COCO, *POSETRACK})
    return np.array([(110 + 3.0 * places.index(name) + moved_px, 50 + 6.0 * places.index(name), 2) for name in names])


def record(moved_px: float = 0.0, skeleton: str = "coco17") -> Record:
    """The record of that person, in continuous coordinates; the annotations use pixel indices."""
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
        "images": [{"id": 70 + index, "file_name": file} for index, file in enumerate(files)],
        "annotations": [{**person, "id": index, "image_id": 70 + index} for index in range(len(files))],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }


def make_judge(folder: Path, annotations: Any, source: str = "filesrc location=x.mp4") -> Judge:
    truth = folder / "truth.json"
    truth.write_text(json.dumps(annotations))
    return load_judge(Request(parse_launch(f"{source} ! tests.toys.oracle ! keypointsink"), truth))


# -- COCO -------------------------------------------------------------------------------------------------------------


def test_a_coco_file_is_scored_by_the_coco_metric_and_pck(tmp_path: Path) -> None:
    found = make_judge(tmp_path, document(COCO, ["000000.jpg", "000003.jpg"]))
    assert [number for number in range(5) if found.has_truth(number)] == [0, 3]
    assert found.score([(0, record()), (3, record())]) == pytest.approx(dict.fromkeys(("AP", "AP50", "AP75", "PCK@0.2"), 100.0))  # fmt: skip # noqa: E501
    half = found.score([(0, record()), (3, None)])
    assert half["PCK@0.2"] == 50.0
    assert half["AP"] == pytest.approx(100 * 51 / 101)  # one of two is recalled: 51 of the 101 points of recall
    assert found.score([(0, None), (3, None)])["AP"] == 0.0


def test_continuous_coordinates_and_pixel_indices_differ_by_half_a_pixel(tmp_path: Path) -> None:
    # PCK by hand: right within 0.2 * 160 = 32 px of the truth.
    found = make_judge(tmp_path, document(COCO, ["000000.jpg"]))
    assert found.score([(0, record(moved_px=31.9))])["PCK@0.2"] == 100.0
    assert found.score([(0, record(moved_px=-31.9))])["PCK@0.2"] == 100.0
    assert found.score([(0, record(moved_px=32.1))])["PCK@0.2"] == 0.0


def test_a_frame_may_be_scored_twice(tmp_path: Path) -> None:
    found = make_judge(tmp_path, document(COCO, ["000000.jpg"]))
    assert found.score([(0, record()), (0, None)])["PCK@0.2"] == 50.0


def test_ids_number_the_frames_if_names_do_not(tmp_path: Path) -> None:
    found = make_judge(tmp_path, document(COCO, ["a.jpg", "b.jpg"]))
    assert found.has_truth(70)
    assert found.has_truth(71)
    assert not found.has_truth(0)


def test_frames_are_numbered_from_the_start_of_the_source(tmp_path: Path) -> None:
    found = make_judge(tmp_path, document(COCO, ["000000.jpg", "000003.jpg"]), "filesrc location=x.mp4 start=2")
    assert found.has_truth(1)
    assert not found.has_truth(3)


def test_joints_may_have_any_order_and_areas_may_be_missing(tmp_path: Path) -> None:
    names = COCO[::-1]
    found = make_judge(tmp_path, document(names, ["000000.jpg"], keypoints=points(names).ravel().tolist()))
    assert found.score([(0, record())])["AP"] == pytest.approx(100.0)


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def test_a_posetrack_file_is_scored_by_the_posetrack_metric(tmp_path: Path) -> None:
    found = make_judge(
        tmp_path, document(POSETRACK, ["images/val/000001_x/000000.jpg", "images/val/000001_x/000004.jpg"])
    )
    assert found.measure == "PoseTrack's AP"
    assert [number for number in range(6) if found.has_truth(number)] == [0, 4]
    everywhere = [(0, record(skeleton="posetrack17")), (4, record(skeleton="posetrack17"))]
    assert found.score(everywhere) == dict.fromkeys(("AP", "precision", "recall"), 100.0)
    # COCO's joints are 13 of PoseTrack's 15.
    assert found.score([(0, record()), (4, record())])["recall"] == pytest.approx(100 * 13 / len(JOINTS))
    assert found.score([(0, record(skeleton="posetrack17")), (4, None)])["recall"] == 50.0


def test_without_annotated_people_scores_are_nan(tmp_path: Path) -> None:
    annotations = document(POSETRACK, ["images/val/000001_x/000000.jpg"])
    found = make_judge(tmp_path, {**annotations, "annotations": []})
    assert all(math.isnan(value) for value in found.score([(0, record())]).values())


# -- drawn people -----------------------------------------------------------------------------------------------------


def test_the_annotations_of_a_testsrc_equal_its_ground_truth() -> None:
    source = parse_launch("testsrc seed=3 fps=12 num_frames=8 conditions=crossing ! fakesink").sources[0]
    with source:
        frame = [*source.frames()][7]
    assert frame is not None
    assert frame.truth is not None
    truth = frame.truth
    people = [
        PersonRecord(int(row), tuple(box), 1.0, [(x, y, 1.0) for x, y, _ in joints])
        for row, box, joints in zip(truth.ids, truth.boxes.tolist(), truth.keypoints.tolist(), strict=True)
    ]
    line = "testsrc seed=3 fps=12 conditions=crossing ! tests.toys.oracle ! keypointsink"
    found = load_judge(Request(parse_launch(line)))
    assert found.score([(7, Record("hall", 7, (640, 480), "coco17", people))]) == pytest.approx(
        dict.fromkeys(("AP", "AP50", "AP75", "PCK@0.2"), 100.0)
    )
    assert found.score([(0, Record("hall", 0, (640, 480), "coco17", people))])["AP"] < 100


# -- invalid files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ([], "it is not a COCO or PoseTrack18 file"),
        ({"annolist": []}, "it is not a COCO or PoseTrack18 file"),
        (document(COCO, ["000001.jpg", "1.jpg"]), "several of its pictures have the same number"),
        (document(COCO[:14], ["000001.jpg"]), "its joints are not those of skeleton 'coco17'"),
        (document(COCO, ["1.jpg"], keypoints=[1, 2, 2]), "annotation 0 has 3 numbers in 'keypoints'"),
        (
            {**document(COCO, ["a.jpg"]), "images": [{"id": "first", "file_name": "a.jpg"}]},
            "'a.jpg' has no frame number; name pictures by number",
        ),
    ],
)
def test_an_invalid_annotation_file_raises(tmp_path: Path, annotations: Any, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        make_judge(tmp_path, annotations)
    assert "truth.json" in str(caught.value)
    assert words in str(caught.value)
