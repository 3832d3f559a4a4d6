"""Object keypoint similarity, against pycocotools' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.evaluation.oks import oks, person_score, suppress_duplicates
from engines.skeletons import COCO_SIGMAS


def people(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate([random.uniform(50, 150, (count, 17, 2)), np.full((count, 17, 1), 2.0)], axis=2)


def test_it_equals_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = people(1)[0]
    truth[3:6, 2] = 0
    found = truth + np.random.default_rng(1).normal(0, 6, (4, 17, 3))
    document: dict[str, Any] = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "keypoints": []}],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 14, "area": 5000.0,
                "bbox": [0, 0, 100, 100], "keypoints": truth.ravel().tolist(),
            }
        ],
    }  # fmt: skip
    table = COCO()
    table.dataset = document
    table.createIndex()
    results = [
        {"image_id": 1, "category_id": 1, "score": 1.0 - n / 9, "keypoints": one.ravel().tolist()}
        for n, one in enumerate(found)
    ]
    judge = COCOeval(table, table.loadRes(results), "keypoints")
    judge.params.imgIds, judge.params.catIds = [1], [1]
    judge._prepare()
    np.testing.assert_allclose(oks(found, truth, 5000.0, COCO_SIGMAS), judge.computeOks(1, 1)[:, 0], rtol=1e-12)


def test_of_two_duplicates_the_better_is_kept() -> None:
    one, other = people(2)
    both = np.stack([one, one + np.array([0.5, 0, 0]), other])
    assert suppress_duplicates(both, [0.4, 0.9, 0.1], [9000.0] * 3, COCO_SIGMAS) == [1, 2]


def test_a_persons_score_is_the_mean_of_confident_joints_times_the_boxs() -> None:
    joints = np.array([[0, 0, 0.8], [0, 0, 0.4], [0, 0, 0.2]])
    assert person_score(joints, 0.5) == pytest.approx(0.3)
    assert person_score(joints * 0.1, 0.5) == 0


def test_oks_without_annotated_joints_is_nan() -> None:
    unannotated = people(1)[0] * (1, 1, 0)
    assert np.isnan(oks(people(2), unannotated, 100.0, COCO_SIGMAS)).all()
