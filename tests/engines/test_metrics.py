"""PCK, checked against values computed by hand."""

from __future__ import annotations

import math

import numpy as np

from engines.metrics import Pck, compute_matched_pck, compute_pck, find_correct, match_boxes

BOX = np.array([[0.0, 0.0, 50.0, 100.0]])


def joints(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array([rows])


def test_the_threshold_is_a_share_of_the_longer_side_of_the_box() -> None:
    truth = joints((10, 10, 2), (10, 10, 2), (10, 10, 2))
    found = joints((30, 10, 1), (30.1, 10, 1), (10, 10, 1))
    assert find_correct(found, truth, BOX, alpha=0.2).tolist() == [[True, False, True]]
    assert find_correct(found, truth, BOX, alpha=0.1).tolist() == [[False, False, True]]


def test_only_visible_joints_count_unless_hidden_ones_are_included() -> None:
    truth = joints((10, 10, 2), (10, 10, 1), (10, 10, 0))
    found = joints((10, 10, 1), (90, 90, 1), (90, 90, 1))
    assert compute_pck(found, truth, BOX) == Pck(1, 1)
    assert compute_pck(found, truth, BOX, visibility=1) == Pck(1, 2)


def test_counts_add_up_and_no_keypoints_give_nan() -> None:
    assert float(Pck(1, 2) + Pck(2, 2)) == 0.75
    assert math.isnan(float(Pck()))


def test_all_keypoints_of_a_missed_person_are_wrong() -> None:
    nowhere = np.full((1, 2, 3), np.inf)
    assert compute_pck(nowhere, joints((1, 1, 2), (2, 2, 2)), BOX) == Pck(0, 2)


def test_boxes_are_matched_once_highest_overlap_first() -> None:
    true = np.array([[0.0, 0, 10, 10], [8.0, 0, 18, 10]])
    found = np.array([[7.0, 0, 17, 10], [1.0, 0, 11, 10], [100.0, 0, 110, 10]])
    rows, columns = match_boxes(found, true)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_no_boxes_match_nothing() -> None:
    rows, columns = match_boxes(np.zeros((0, 4)), BOX)
    assert (len(rows), len(columns)) == (0, 0)


def test_people_are_matched_by_their_boxes_in_any_order_and_missed_ones_are_wrong() -> None:
    boxes = np.concatenate([BOX + np.array([right, 0, right, 0]) for right in (0, 100, 200)])
    truth = np.concatenate([joints((10, 10, 2), (20, 20, 2)), joints((110, 10, 2), (120, 20, 2)), joints((210, 10, 2), (220, 20, 1))])  # fmt: skip # noqa: E501
    found = [2, 0]
    assert compute_matched_pck(boxes[found], truth[found], boxes, truth) == Pck(3, 5)
    assert compute_matched_pck(boxes[:0], truth[:0], boxes, truth) == Pck(0, 5)
    assert compute_matched_pck(boxes, truth, boxes[:0], truth[:0]) == Pck()
