"""Judges: a metric with the ground truth of a clip, by frame number.

Synthetic people and COCO files are scored by COCO's AP (object keypoint similarity) and by PCK; PoseTrack files by
PoseTrack's AP. The metric follows from the ground truth, since each requires annotations that only its own files have:
PoseTrack's AP a head box and the joints *head bottom* and *head top*, COCO's an area and the constants of COCO's
joints. For synthetic people a head box could be derived from the face, but it would set the scale of the whole metric,
and a network with COCO's joints would still lack two of fifteen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.evaluation import coco
from engines.evaluation import posetrack as pt
from engines.metrics import Pck, compute_matched_pck
from engines.skeletons import SKELETONS
from stream.output.results import Record, coco_results, convert_skeleton

Pair = tuple[int, Record | None]
"""A frame's number in the clip, and its record, or None if it has no answer."""

Annotation = Mapping[str, Any]
"""A person's COCO annotation without ids: ``bbox``, ``area``, ``iscrowd``, ``num_keypoints`` and the 17 ``keypoints``
by pixel index."""

ALPHA = 0.2
"""PCK threshold, as a fraction of the longer side of the person's box."""


class Judge(Protocol):
    """The ground truth of a clip, and a metric."""

    measure: str

    def has_truth(self, number: int) -> bool:
        """True if this frame of the clip has ground truth."""

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """The scores in percent; pairs with the same number count as separate pictures."""


class CocoJudge:
    """AP of object keypoint similarity, and PCK of visible joints.

    ``people`` returns the annotations of a frame, ``has_truth`` whether it has any. Raises :class:`EngineError` if
    pycocotools is missing.
    """

    measure = "COCO's AP of keypoints (OKS)"

    def __init__(self, people: Callable[[int], Sequence[Annotation]], has_truth: Callable[[int], bool]) -> None:
        coco.check_installed()
        self._people, self._has_truth = cache(people), has_truth

    def has_truth(self, number: int) -> bool:
        return self._has_truth(number)

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        people = [
            {**annotation, "id": 1 + 1000 * image + row, "image_id": image}
            for image, (number, _) in enumerate(pairs)
            for row, annotation in enumerate(self._people(number))
        ]
        truth = {"images": [{"id": image} for image in range(len(pairs))], "categories": [{"id": 1}]}
        found = [
            {**result, "image_id": image}
            for image, (_, record) in enumerate(pairs)
            for result in (coco_results(record) if record else ())
        ]
        numbers = coco.score_coco_documents({**truth, "annotations": people}, found)
        right = sum((self._pck(*pair) for pair in pairs), Pck())
        return {name: 100 * numbers[name] for name in ("AP", "AP50", "AP75")} | {f"PCK@{ALPHA:g}": 100 * float(right)}

    def _pck(self, number: int, record: Record | None) -> Pck:
        people = [one for one in self._people(number) if not one["iscrowd"]]
        truth = np.array([one["keypoints"] for one in people], np.float64).reshape(-1, 17, 3)
        keypoints = convert_skeleton(record, "coco17") if record else np.zeros((0, 17, 3), np.float32)
        boxes = np.array([person.box for person in record.people] if record else [], np.float64).reshape(-1, 4)
        return compute_matched_pck(boxes, keypoints, _to_corners([one["bbox"] for one in people]), truth, ALPHA)


def _to_corners(boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Convert COCO's x, y, width, height to x1, y1, x2, y2; both continuous."""
    given = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


class PoseTrackJudge:
    """PoseTrack's AP over the labelled frames, by number."""

    measure = "PoseTrack's AP"

    def __init__(self, frames: Mapping[int, Annotated]) -> None:
        self._frames = frames

    def has_truth(self, number: int) -> bool:
        return number in self._frames

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        scores = pt.score((self._frames[number], _to_prediction(record)) for number, record in pairs)
        if all(np.isnan(one.ap) for one in scores):
            return dict.fromkeys(("AP", "precision", "recall"), float("nan"))
        mean = pt.mean(scores)
        return {"AP": mean.ap, "precision": mean.precision, "recall": mean.recall}


def _to_prediction(record: Record | None) -> Predicted:
    """Convert to joints in PoseTrack's order, by pixel index, NaN for joints that the network lacks."""
    if record is None:
        return Predicted(np.zeros((0, len(JOINTS), 2)), np.zeros((0, len(JOINTS))))
    points = convert_skeleton(record, "posetrack17").astype(np.float64)
    ordered = points[:, [SKELETONS["posetrack17"].index(joint) for joint in JOINTS]]
    return Predicted(np.where(ordered[..., 2:] > 0, ordered[..., :2], np.nan), ordered[..., 2])
