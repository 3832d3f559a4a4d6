"""Files of ground truth and of results: every broken field is one error that names the entry, and no warning of NumPy.

Each case changes one value of a sound file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.errors import EngineError
from engines.evaluation.coco import score_coco
from engines.evaluation.posetrack import mean, score, table
from engines.evaluation.posetrack_files import pair_frames
from engines.skeletons import SKELETONS

Place = tuple[str | int, ...]
JOINTS = list(SKELETONS["posetrack17"].joints)
MISSING = object()

COCO: dict[str, Any] = {
    "truth": {
        "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(SKELETONS["coco17"].joints)}],
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 1, "bbox": [0, 0, 170, 100], "keypoints": [50, 50, 2] * 17}
        ],
    },
    "results": [{"image_id": 7, "category_id": 1, "keypoints": [50, 50, 1] * 17, "score": 0.5}],
}
POSETRACK: dict[str, Any] = {
    "truth": {
        "images": [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "a/2.jpg"}],
        "categories": [{"id": 1, "keypoints": JOINTS}],
        "annotations": [{"image_id": 1, "bbox_head": [0, 0, 30, 40], "keypoints": [50, 50, 1] * 17, "track_id": 0}],
    },
    "results": {
        "images": [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "a/2.jpg"}],
        "categories": [{"id": 1, "keypoints": JOINTS}],
        "annotations": [{"image_id": 1, "keypoints": [50, 50, 1] * 17, "scores": [0.5] * 17, "track_id": 0}],
    },
}
_SHAPE = {"point": [{"id": [number], "x": [50], "y": [50], "score": [0.5]} for number in range(15)]}
OLD: dict[str, Any] = {
    part: {
        "annolist": [
            {
                "image": [{"name": "a/1.jpg"}],
                "annorect": [{"x1": [0], "y1": [0], "x2": [30], "y2": [40], "annopoints": [_SHAPE]}],
            },
            {"image": [{"name": "a/2.jpg"}], "annorect": []},
        ]
    }
    for part in ("truth", "results")
}


def _coco(truth: Path, results: Path) -> float:
    return score_coco(truth, results)["AP"]


def _posetrack(truth: Path, results: Path) -> float:
    scores = score(pair_frames(truth, results))
    table(scores)
    return mean(scores).ap / 100


KINDS: dict[str, tuple[dict[str, Any], Callable[[Path, Path], float]]] = {
    "coco": (COCO, _coco),
    "posetrack": (POSETRACK, _posetrack),
    "2017": (OLD, _posetrack),
}

# The kind of file, which of both is broken, the path of the value, the value, and what the error says.
BROKEN: list[tuple[str, str, Place, Any, str]] = [
    # COCO's results
    ("coco", "results", (), {}, "must be a list, not a mapping"),
    ("coco", "results", (0,), 3, "[0] must be a mapping, not an integer"),
    ("coco", "results", (0, "image_id"), "7", "result 0 has image_id '7', which is not in"),
    ("coco", "results", (0, "image_id"), 9, "result 0 has image_id 9, which is not in"),
    ("coco", "results", (0, "image_id"), 7.5, "[0].image_id must be an integer or text, not a number"),
    ("coco", "results", (0, "image_id"), MISSING, "[0] lacks 'image_id'"),
    ("coco", "results", (0, "category_id"), 0, "category_id 0, but the categories of"),
    ("coco", "results", (0, "category_id"), MISSING, "lacks 'category_id'"),
    ("coco", "results", (0, "keypoints"), [1, 2, 3] * 16, "result 0 has 48 numbers in 'keypoints', not 51"),
    ("coco", "results", (0, "keypoints"), [], "result 0 has 0 numbers in 'keypoints', not 51"),
    ("coco", "results", (0, "keypoints"), [[1, 2, 3]] * 17, "[0].keypoints[0] must be a number, not a list"),
    ("coco", "results", (0, "keypoints"), "nose", "[0].keypoints must be a list, not text"),
    ("coco", "results", (0, "keypoints", 4), None, "[0].keypoints[4] must be a number, not null"),
    ("coco", "results", (0, "keypoints", 4), 1e200, "[0].keypoints[4] must be a number of at most 10000000"),
    ("coco", "results", (0, "score"), "high", "[0].score must be a number, not text"),
    ("coco", "results", (0, "score"), float("nan"), "NaN and Infinity are no numbers in JSON"),
    ("coco", "results", (0, "score"), float("inf"), "NaN and Infinity are no numbers in JSON"),
    ("coco", "results", (0, "score"), MISSING, "lacks 'score'"),
    # COCO's ground truth
    ("coco", "truth", (), [], "it is not a COCO-style annotation file"),
    ("coco", "truth", ("annotations",), MISSING, "it is not a COCO-style annotation file"),
    ("coco", "truth", ("annotations",), {}, "annotations must be a list, not a mapping"),
    ("coco", "truth", ("annotations", 0), "x", "annotations[0] must be a mapping, not text"),
    ("coco", "truth", ("annotations", 0, "bbox"), [1, 2, 3], "annotation 0 has no 'bbox' of 4 numbers"),
    ("coco", "truth", ("annotations", 0, "bbox"), MISSING, "annotation 0 has no 'bbox' of 4 numbers"),
    (
        "coco",
        "truth",
        ("annotations", 0, "bbox", 2),
        "3",
        "annotations[0].bbox[2] must be a number, not text",
    ),
    ("coco", "truth", ("annotations", 0, "keypoints"), [1, 2, 2] * 14, "annotation 0 has 42 numbers in 'keypoints'"),
    ("coco", "truth", ("annotations", 0, "area"), -1, "annotations[0].area must be a number of at least 0"),
    ("coco", "truth", ("annotations", 0, "image_id"), MISSING, "annotation 0 (id 0) has no 'image_id'"),
    ("coco", "truth", ("images", 1, "id"), 7, "images 0 and 1 both have id 7"),
    ("coco", "truth", ("images", 1, "id"), "8", "image 1 has id '8', the others of another type"),
    ("coco", "truth", ("images", 1, "id"), MISSING, "images[1] lacks 'id'"),
    ("coco", "truth", ("categories", 0, "keypoints"), "nose", "must be a list, not text"),
    # PoseTrack's, of 2018
    ("posetrack", "results", (), [], "it is not a PoseTrack file"),
    ("posetrack", "results", ("annotations", 0, "image_id"), 9, "annotation 0 is of image 9, which is not in the file"),
    ("posetrack", "results", ("annotations", 0, "scores"), [1] * 5, "annotation 0 has 5 numbers in 'scores', not 17"),
    ("posetrack", "results", ("annotations", 0, "scores"), MISSING, "annotation 0 (id none) has no 'scores'"),
    ("posetrack", "results", ("annotations", 0, "scores"), None, "annotation 0 has 0 numbers in 'scores'"),
    (
        "posetrack",
        "results",
        ("annotations", 0, "scores", 2),
        "x",
        "annotations[0].scores[2] must be a number, not text",
    ),
    ("posetrack", "results", ("annotations", 0, "keypoints"), [1] * 45, "annotation 0 has 45 numbers in 'keypoints'"),
    ("posetrack", "results", ("annotations", 0, "keypoints"), MISSING, "annotation 0 (id none) has no 'keypoints'"),
    ("posetrack", "results", ("images", 1, "id"), 1, "images 0 and 1 both have id 1"),
    ("posetrack", "results", ("images", 1, "file_name"), "a/1.jpg", "frame 'a/1.jpg' is in it more than once"),
    ("posetrack", "results", ("images", 1, "file_name"), 3, "images[1].file_name must be text, not an integer"),
    ("posetrack", "results", ("categories", 0, "keypoints"), ["nose"], "its category has no keypoints head_bottom"),
    ("posetrack", "truth", ("annotations", 0, "bbox_head"), [1], "annotation 0 has a 'bbox_head' of 1 numbers, not 4"),
    ("posetrack", "truth", ("annotations", 0, "bbox_head"), MISSING, "annotation 0 (id none) has no 'bbox_head'"),
    (
        "posetrack",
        "truth",
        ("annotations", 0, "track_id"),
        "first",
        "annotations[0].track_id must be an integer or null, not text",
    ),
    ("posetrack", "truth", ("images", 0, "ignore_regions_x"), [[1, 2, 3]], "image 0 has 'ignore_regions' of different"),
    # PoseTrack's, of 2017
    ("2017", "results", ("annolist",), {}, "annolist must be a list, not a mapping"),
    ("2017", "results", ("annolist", 0, "image"), MISSING, "annolist[0] lacks 'image'"),
    ("2017", "results", ("annolist", 0, "image"), [], "annolist[0].image must be a list of at least 1 value"),
    ("2017", "results", ("annolist", 1, "image", 0, "name"), "a/1.jpg", "frame 'a/1.jpg' is in it more than once"),
    (
        "2017",
        "truth",
        ("annolist", 0, "annorect", 0, "x1"),
        "0",
        "annolist[0].annorect[0].x1 must be a number or a list or null, not text",
    ),
    ("2017", "truth", ("annolist", 0, "annorect", 0, "x1"), MISSING, "person 0 of frame 0 has no 'x1'"),
    (
        "2017",
        "truth",
        ("annolist", 0, "annorect", 0, "annopoints", 0, "point", 3, "x"),
        [],
        "point[3].x must be a list of at least 1 value",
    ),
    ("2017", "truth", ("annolist", 0, "annorect", 0, "annopoints", 0, "point", 3, "id"), 99, "a joint of id 99"),
]


def _write(folder: Path, kind: str, broken: str = "", path: Place = (), value: Any = None) -> tuple[Path, Path]:
    content = json.loads(json.dumps(KINDS[kind][0]))  # both parts may share objects
    if broken:
        _replace(content, (broken, *path), value)
    for part in ("truth", "results"):
        (folder / f"{part}.json").write_text(json.dumps(content[part]))
    return folder / "truth.json", folder / "results.json"


def _replace(content: Any, path: Place, value: Any) -> None:
    for step in path[:-1]:
        content = content[step]
    if value is MISSING:
        del content[path[-1]]
    else:
        content[path[-1]] = value


@pytest.fixture(autouse=True)
def _needs_pycocotools() -> None:
    pytest.importorskip("pycocotools")


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_have_a_score(tmp_path: Path, kind: str) -> None:
    assert KINDS[kind][1](*_write(tmp_path, kind)) == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "broken", "path", "value", "words"), BROKEN)
def test_a_broken_field_is_one_error_that_names_file_and_entry(
    tmp_path: Path, kind: str, broken: str, path: Place, value: Any, words: str
) -> None:
    with pytest.raises(EngineError) as caught:
        KINDS[kind][1](*_write(tmp_path, kind, broken, path, value))
    assert str(caught.value).startswith(str(tmp_path / broken))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "path"), [("coco", ()), ("posetrack", ("annotations",)), ("2017", ("annolist", 0, "annorect"))]
)
def test_results_without_people_score_0(tmp_path: Path, kind: str, path: Place) -> None:
    assert KINDS[kind][1](*_write(tmp_path, kind, "results", path, [])) == 0


@pytest.mark.parametrize(
    ("kind", "path"),
    [("coco", ("annotations",)), ("posetrack", ("annotations",)), ("2017", ("annolist", 0, "annorect"))],
)
def test_without_annotated_people_there_is_no_score_and_no_warning(tmp_path: Path, kind: str, path: Place) -> None:
    found = KINDS[kind][1](*_write(tmp_path, kind, "truth", path, []))
    assert math.isnan(found)


def test_annotations_may_have_any_ids_and_lack_what_can_be_derived(tmp_path: Path) -> None:
    truth, results = _write(tmp_path, "coco")
    document = json.loads(truth.read_text())
    person = document["annotations"][0]
    for ids in ((0, 0), ("a", "b"), (None, None)):
        others = [{**person, "id": ids[0]}, {**person, "id": ids[1], "image_id": 8}]
        for one in others:
            del one["category_id"]
        truth.write_text(json.dumps({**document, "annotations": others}))
        both = [{**COCO["results"][0], "image_id": image} for image in (7, 8)]
        results.write_text(json.dumps(both))
        assert _coco(truth, results) == pytest.approx(1.0)


def test_empty_results_are_said_to_be_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth, results = _write(tmp_path, "coco", "results", (), [])
    _coco(truth, results)
    assert f"{results} holds no people" in caplog.text
