"""Boxes: overlap and clipping."""

from __future__ import annotations

import numpy as np

from engines.vision.boxes import clip_boxes, compute_iou


def test_iou_is_the_intersection_over_the_union() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [3, 3, 3, 3]], np.float32)
    np.testing.assert_allclose(compute_iou(boxes, others), [[1.0, 1 / 3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], atol=1e-6)


def test_boxes_without_area_do_not_overlap() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    assert compute_iou(point, point).tolist() == [[0]]
    assert compute_iou(point[:0], point).shape == (0, 1)


def test_boxes_end_at_the_edges_of_the_frame() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    assert clip_boxes(np.array([[-1, 2, 31, 21]], np.float32), pixels).tolist() == [[0, 2, 30, 20]]
