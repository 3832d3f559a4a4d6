"""COCO's and CrowdPose's AP, against scores that the reference tools gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pycocotools")

from engines.errors import EngineError
from engines.evaluation.coco import coco, crowdpose

PRINTED = 1e-6
"""The known scores are written with six decimals, CrowdPose's parts with four."""


def test_cocos_example_scores_as_known(shared: Path) -> None:
    known = json.loads((shared / "data/annot/known_scores.json").read_text())["coco_keypoints"]
    ours = coco(shared / "data/annot" / known["gt"], shared / "data/annot" / known["pred"])
    assert [*ours.values()] == pytest.approx(known["stats[AP,AP50,AP75,APM,APL,AR,AR50,AR75,ARM,ARL]"], abs=PRINTED)


def test_crowdposes_example_scores_as_known(shared: Path) -> None:
    known = json.loads((shared / "data/annot/known_scores.json").read_text())["crowdpose_keypoints"]
    ours = crowdpose(shared / "data/annot" / known["gt"], shared / "data/annot" / known["pred"])
    theirs = known["stats[AP,AP50,AP75,AR,AR50,AR75,AP_easy,AP_medium,AP_hard]"]
    assert [*ours.values()] == pytest.approx(theirs, abs=1e-4)
    assert [*ours.values()][:6] == pytest.approx(theirs[:6], abs=PRINTED)


TRUTH = {
    "images": [{"id": 7, "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    "annotations": [],
}


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ("[", "results.json: it is no JSON"),
        ("[]", "results.json: it holds no results"),
        ('[{"image_id": 7, "category_id": 1, "keypoints": []}]', "results.json: result 0 has no 'score'"),
        (
            '[{"image_id": 9, "category_id": 1, "keypoints": [1, 1, 1], "score": 1}]',
            "results.json: image_id 9 is not in",
        ),
    ],
)
def test_a_broken_file_of_results_is_named(tmp_path: Path, results: str, words: str) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "results.json").write_text(results)
    with pytest.raises(EngineError) as caught:
        coco(tmp_path / "truth.json", tmp_path / "results.json")
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nowhere\.json: No such file"):
        coco(tmp_path / "nowhere.json", tmp_path / "results.json")
