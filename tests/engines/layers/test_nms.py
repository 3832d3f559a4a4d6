"""Non-maximum suppression, against the published functions and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.layers.nms import iou_with, nms, soft_nms  # noqa: E402

# The second box covers half of the first, and the third lies apart.
BOXES = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 30.0]]
SCORES = [0.9, 0.8, 0.7]


def test_soft_nms_equals_the_published_one(shared: Path) -> None:
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    boxes, scores = (torch.from_numpy(theirs[f"unit_snms_{name}"]) for name in ("boxes", "scores"))
    order, left = soft_nms(boxes, scores, 0.3, 1e-3)
    np.testing.assert_array_equal(order, theirs["unit_snms_index"])
    np.testing.assert_allclose(boxes[order], theirs["unit_snms_dets"][:, :4])
    np.testing.assert_allclose(left, theirs["unit_snms_dets"][:, 4], rtol=1e-5)  # products of float32 in one order


def test_nms_equals_the_published_one(shared: Path) -> None:
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    boxes, scores = (torch.from_numpy(theirs[f"unit_snms_{name}"]) for name in ("boxes", "scores"))
    np.testing.assert_array_equal(nms(boxes, scores, 0.3), theirs["unit_nms_index"])


def test_iou_is_computed_by_hand() -> None:
    boxes = torch.tensor(BOXES)
    assert iou_with(boxes[0], boxes).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(("threshold", "kept"), [(0.4, [0, 2]), (0.5, [0, 1, 2])])
def test_a_box_is_removed_when_its_iou_exceeds_the_threshold(threshold: float, kept: list[int]) -> None:
    assert nms(torch.tensor(BOXES), torch.tensor(SCORES), threshold).tolist() == kept


def test_an_overlapping_boxs_score_decreases_linearly() -> None:
    order, scores = soft_nms(torch.tensor(BOXES), torch.tensor(SCORES), 0.3, 1e-3)
    assert order.tolist() == [0, 2, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.5])


def test_a_box_below_the_minimum_score_is_dropped() -> None:
    order, _ = soft_nms(torch.tensor(BOXES), torch.tensor(SCORES), 0.3, 0.5)
    assert order.tolist() == [0, 2]


def test_no_boxes_give_no_indices() -> None:
    empty = torch.zeros(0, 4)
    assert nms(empty, torch.zeros(0), 0.3).tolist() == []
    assert [part.tolist() for part in soft_nms(empty, torch.zeros(0), 0.3, 1e-3)] == [[], []]
