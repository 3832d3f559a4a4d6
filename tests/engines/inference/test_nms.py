"""Non-maximum suppression in numpy, compared with that in PyTorch and with the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.inference.nms import nms, soft_nms, suppress
from engines.spec.picture_signature import Suppression

# The second box covers half of the first, and the third lies apart.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7], np.float32)


def crowd(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that overlap a good deal, some of no area, and their scores."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count, 2))
    extent = random.uniform(0, 40, (count, 2)) * (random.random((count, 1)) > 0.05)
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32), random.random(count).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 7, 300])
@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_it_equals_that_in_pytorch(count: int, iou: float) -> None:
    torch = pytest.importorskip("torch")
    from engines.layers import nms as torch_nms

    boxes, scores = crowd(count, seed=count)
    kept, _ = suppress(boxes, scores, Suppression(kind="hard", iou=iou))
    assert kept.tolist() == torch_nms.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou).tolist()
    order, left = suppress(boxes, scores, Suppression(kind="soft", iou=iou))
    theirs, their_scores = torch_nms.soft_nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou, 1e-3)
    assert order.tolist() == theirs.tolist()
    # Products of float32 in one order.
    np.testing.assert_allclose(left, their_scores, rtol=1e-5)


def test_soft_suppression_equals_the_published_one(shared: Path) -> None:
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    order, left = soft_nms(theirs["unit_snms_boxes"], theirs["unit_snms_scores"], 0.3)
    np.testing.assert_array_equal(order, theirs["unit_snms_index"])
    np.testing.assert_allclose(left, theirs["unit_snms_dets"][:, 4], rtol=1e-5)


def test_hard_suppression_does_not_change_scores() -> None:
    kept, scores = suppress(BOXES, SCORES, Suppression(kind="hard", iou=0.4))
    assert (kept.tolist(), scores.tolist()) == ([0, 2], pytest.approx([0.9, 0.7]))


def test_soft_suppression_lowers_the_score_by_the_overlap() -> None:
    kept, scores = suppress(BOXES, SCORES, Suppression(kind="soft", iou=0.3))
    assert (kept.tolist(), scores.tolist()) == ([0, 2, 1], pytest.approx([0.9, 0.7, 0.8 * 0.5]))


def test_a_box_below_the_minimum_score_is_dropped() -> None:
    order, _ = soft_nms(BOXES, SCORES, 0.3, min_score=0.5)
    assert order.tolist() == [0, 2]


def test_the_given_scores_are_not_changed() -> None:
    scores = SCORES.copy()
    soft_nms(BOXES, scores, 0.3)
    assert scores.tolist() == SCORES.tolist()


def test_of_boxes_that_overlap_more_than_the_bound_the_best_is_left() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [5, 0, 15, 10]], np.float32)
    kept = nms(boxes, np.array([0.6, 0.9, 0.5, 0.7], np.float32), 0.45)
    assert kept.tolist() == [1, 3, 2]
