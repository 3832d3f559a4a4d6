"""Suppression of doubles without PyTorch: the same boxes, in the same order, as with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.inference.nms import soft_nms, survivors
from engines.spec.picture_signature import Suppression

# The second box covers half of the first, and the third lies apart.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7], np.float32)


def crowd(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Boxes that overlap a good deal, some of no area, and their scores."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count, 2))
    extent = random.uniform(0, 40, (count, 2)) * (random.random((count, 1)) > 0.05)
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32), random.random(count).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 7, 300])
@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_it_is_that_of_pytorch(count: int, iou: float) -> None:
    torch = pytest.importorskip("torch")
    from engines.layers import nms

    boxes, scores = crowd(count, seed=count)
    kept, _ = survivors(boxes, scores, Suppression(kind="hard", iou=iou))
    assert kept.tolist() == nms.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou).tolist()
    order, left = survivors(boxes, scores, Suppression(kind="soft", iou=iou))
    theirs, their_scores = nms.soft_nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou, 1e-3)
    assert order.tolist() == theirs.tolist()
    # Products of float32 in one order.
    np.testing.assert_allclose(left, their_scores, rtol=1e-5)


def test_soft_suppression_equals_the_published_one(shared: Path) -> None:
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    order, left = soft_nms(theirs["unit_snms_boxes"], theirs["unit_snms_scores"], 0.3)
    np.testing.assert_array_equal(order, theirs["unit_snms_index"])
    np.testing.assert_allclose(left, theirs["unit_snms_dets"][:, 4], rtol=1e-5)


def test_hard_suppression_keeps_the_scores_of_those_left() -> None:
    kept, scores = survivors(BOXES, SCORES, Suppression(kind="hard", iou=0.4))
    assert (kept.tolist(), scores.tolist()) == ([0, 2], pytest.approx([0.9, 0.7]))


def test_soft_suppression_takes_the_share_of_the_overlap_from_the_score() -> None:
    kept, scores = survivors(BOXES, SCORES, Suppression(kind="soft", iou=0.3))
    assert (kept.tolist(), scores.tolist()) == ([0, 2, 1], pytest.approx([0.9, 0.7, 0.8 * 0.5]))


def test_a_box_whose_score_falls_below_the_least_is_never_taken() -> None:
    order, _ = soft_nms(BOXES, SCORES, 0.3, least=0.5)
    assert order.tolist() == [0, 2]


def test_scores_that_were_given_are_left_alone() -> None:
    scores = SCORES.copy()
    soft_nms(BOXES, scores, 0.3)
    assert scores.tolist() == SCORES.tolist()
