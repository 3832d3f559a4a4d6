"""COCO's and CrowdPose's AP, against scores that the reference tools gave."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("pycocotools")

from engines.errors import EngineError
from engines.evaluation.coco import COCO_NAMES, score_coco, score_coco_documents, score_crowdpose

PRINTED = 1e-6
"""The known scores are written with six decimals, CrowdPose's parts with four."""


def test_cocos_example_scores_as_published(shared: Path) -> None:
    known = json.loads((shared / "data/annot/known_scores.json").read_text())["coco_keypoints"]
    ours = score_coco(shared / "data/annot" / known["gt"], shared / "data/annot" / known["pred"])
    assert [*ours.values()] == pytest.approx(known["stats[AP,AP50,AP75,APM,APL,AR,AR50,AR75,ARM,ARL]"], abs=PRINTED)


def test_crowdposes_example_scores_as_published(shared: Path) -> None:
    known = json.loads((shared / "data/annot/known_scores.json").read_text())["crowdpose_keypoints"]
    ours = score_crowdpose(shared / "data/annot" / known["gt"], shared / "data/annot" / known["pred"])
    theirs = known["stats[AP,AP50,AP75,AR,AR50,AR75,AP_easy,AP_medium,AP_hard]"]
    assert [*ours.values()] == pytest.approx(theirs, abs=1e-4)
    assert [*ours.values()][:6] == pytest.approx(theirs[:6], abs=PRINTED)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nowhere\.json: No such file"):
        score_coco(tmp_path / "nowhere.json", tmp_path / "results.json")


def _keypoints(joints: int, moved_px: int = 0) -> list[int]:
    return [number for place in range(17) for number in (10 * place + moved_px, 5 * place, 2 * (place < joints))]


def _document(joints: int) -> dict[str, list[dict[str, object]]]:
    """Two pictures; in the first a person 100 px tall with this many annotated joints."""
    person = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 160, 100], "area": 8000, "iscrowd": 0}
    return {
        "images": [{"id": 0}, {"id": 1}],
        "categories": [{"id": 1}],
        "annotations": [{**person, "keypoints": _keypoints(joints), "num_keypoints": joints}],
    }


def _results(moved_px: int) -> list[dict[str, object]]:
    return [{"image_id": 0, "category_id": 1, "score": 0.5, "keypoints": _keypoints(17, moved_px)}]


def test_documents_in_memory_score_as_files_do(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(_document(17)))
    (tmp_path / "results.json").write_text(json.dumps(_results(moved_px=8)))
    of_files = score_coco(tmp_path / "truth.json", tmp_path / "results.json")
    in_memory = score_coco_documents(_document(17), _results(moved_px=8))
    assert 0 < in_memory["AP"] < 1 == pytest.approx(score_coco_documents(_document(17), _results(moved_px=0))["AP"])
    assert {name: value for name, value in of_files.items() if value >= 0} == {
        name: value for name, value in in_memory.items() if not math.isnan(value)
    }


def test_no_results_score_0_and_no_annotations_nan() -> None:
    assert score_coco_documents(_document(17), []) == dict.fromkeys(COCO_NAMES, 0.0)
    assert all(math.isnan(value) for value in score_coco_documents(_document(0), []).values())


def test_without_pycocotools_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.evaluation.coco.find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"COCO's metric needs pycocotools; .*: pip install '\.\[eval\]'"):
        score_coco_documents(_document(17), [{}])
