"""COCO's AP of people found in whole pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pycocotools")

from engines.datasets.config import Coco, Folder, Jhmdb
from engines.errors import EngineError
from engines.evaluation.whole_pictures import (
    evaluate_pictures,
    list_frames,
    score_drawn,
    select_pictures,
    to_documents,
    truth_documents,
)
from engines.inference.single_stage import DetectedPeople
from tests.engines.datasets import sample_datasets


def perfect(joints: np.ndarray, boxes: np.ndarray) -> DetectedPeople:
    """What an engine would find that makes no error: continuous coordinates."""
    moved = joints.astype(np.float32).copy()
    moved[..., :2] += 0.5
    moved[..., 2] = 1
    return DetectedPeople(boxes.astype(np.float32), np.linspace(1, 0.5, len(boxes), dtype=np.float32), moved)


def test_the_annotations_as_results_score_100_and_shifted_ones_less(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path)
    data = Coco(root=str(tmp_path))
    clips = select_pictures(data)
    found = [
        perfect(np.stack([p.joints for p in frame.people]), np.stack([p.box for p in frame.people]))
        for _, frame in list_frames(clips)
    ]
    result = evaluate_pictures(data, clips, found, "coco17")
    assert result.scores.mean == 1
    assert result.scores.tables["COCO"]["AP50"] == 100
    assert len(result.files["results"]) == sum(len(people.scores) for people in found)
    shifted = [people._replace(keypoints=people.keypoints + np.float32(4)) for people in found]
    assert evaluate_pictures(data, clips, shifted, "coco17").scores.mean < 0.9
    nothing = [
        people._replace(boxes=people.boxes[:0], scores=people.scores[:0], keypoints=people.keypoints[:0])
        for people in found
    ]
    assert evaluate_pictures(data, clips, nothing, "coco17").scores.mean == 0
    assert evaluate_pictures(data, clips[:1], found[:1], "coco17", limited=True).scores.mean == 1


def test_people_without_labels_count_neither_as_found_nor_as_missed() -> None:
    picture = sample_datasets.render_frames()[0]
    joints = picture.keypoints.copy()
    joints[1] = 0
    truth = truth_documents(0, joints, picture.boxes)
    both = to_documents(0, perfect(picture.keypoints, picture.boxes))
    first = both[:1]
    assert [score_drawn(truth, found, 1)["AP"] for found in (both, first)] == pytest.approx([1, 1])
    assert score_drawn(truth, [], 1)["AP"] == 0


@pytest.mark.parametrize(
    "data", [Jhmdb(root="x"), Folder(root="x", train="a", validation="a", skeleton="mpii16")], ids=str
)
def test_data_sets_without_ap_are_refused(data: Jhmdb | Folder) -> None:
    with pytest.raises(EngineError, match=r"is scored by COCO's AP, which it does not have; take coco"):
        select_pictures(data)
