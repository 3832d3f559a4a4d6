"""The judges: a measure, and the truth about a clip's frames by number.

Drawn people and COCO files are judged by COCO's AP (object keypoint similarity) and by PCK; PoseTrack's files by
PoseTrack's AP. The measure follows the truth, for each wants what only its own truth has: PoseTrack's AP a head box and
the joints *head bottom* and *head top*, COCO's an area and the constants of COCO's joints. For drawn people a head box
could be made up from the face, but it would set the scale of the whole measure, and a network of COCO's joints would
still lack two of fifteen.
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
from stream.output.results import Record, as_skeleton, coco_results

Pair = tuple[int, Record | None]
"""A frame's number in the clip, and what was said of it, or nothing."""

Told = Mapping[str, Any]
"""A person as COCO annotates one, less the ids: ``bbox``, ``area``, ``iscrowd``, ``num_keypoints`` and the 17
``keypoints`` by pixel index."""

ALPHA = 0.2
"""A keypoint is right within this share of the longer side of the person's box (PCK)."""


class Judge(Protocol):
    """Knows the truth and a measure."""

    measure: str

    def knows(self, number: int) -> bool:
        """Whether there is a truth about this frame of the clip."""

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """The measure's numbers in percent; every pair is a picture of its own, also where the number is the same."""


class CocoJudge:
    """AP of object keypoint similarity, and PCK of visible joints.

    ``people`` gives those of a frame, ``knows`` says of which frames. Raises :class:`EngineError` where pycocotools is
    missing.
    """

    measure = "COCO's AP of keypoints (OKS)"

    def __init__(self, people: Callable[[int], Sequence[Told]], knows: Callable[[int], bool]) -> None:
        coco.check_installed()
        self._people, self._knows = cache(people), knows

    def knows(self, number: int) -> bool:
        return self._knows(number)

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        people = [
            {**told, "id": 1 + 1000 * image + row, "image_id": image}
            for image, (number, _) in enumerate(pairs)
            for row, told in enumerate(self._people(number))
        ]
        truth = {"images": [{"id": image} for image in range(len(pairs))], "categories": [{"id": 1}]}
        found = [
            {**result, "image_id": image}
            for image, (_, record) in enumerate(pairs)
            for result in (coco_results(record) if record else ())
        ]
        numbers = coco.coco_of({**truth, "annotations": people}, found)
        right = sum((self._pck(*pair) for pair in pairs), Pck())
        return {name: 100 * numbers[name] for name in ("AP", "AP50", "AP75")} | {f"PCK@{ALPHA:g}": 100 * float(right)}

    def _pck(self, number: int, record: Record | None) -> Pck:
        told = [one for one in self._people(number) if not one["iscrowd"]]
        truth = np.array([one["keypoints"] for one in told], np.float64).reshape(-1, 17, 3)
        keypoints = as_skeleton(record, "coco17") if record else np.zeros((0, 17, 3), np.float32)
        boxes = np.array([person.box for person in record.people] if record else [], np.float64).reshape(-1, 4)
        return compute_matched_pck(boxes, keypoints, _corners([one["bbox"] for one in told]), truth, ALPHA)


def _corners(boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """x1, y1, x2, y2 of COCO's x, y, width, height; both continuous."""
    given = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


class PoseTrackJudge:
    """PoseTrack's AP over the labelled frames, by number."""

    measure = "PoseTrack's AP"

    def __init__(self, frames: Mapping[int, Annotated]) -> None:
        self._frames = frames

    def knows(self, number: int) -> bool:
        return number in self._frames

    def score(self, pairs: Sequence[Pair]) -> dict[str, float]:
        scores = pt.score((self._frames[number], _predicted(record)) for number, record in pairs)
        if all(np.isnan(one.ap) for one in scores):
            return dict.fromkeys(("AP", "precision", "recall"), float("nan"))
        mean = pt.mean(scores)
        return {"AP": mean.ap, "precision": mean.precision, "recall": mean.recall}


def _predicted(record: Record | None) -> Predicted:
    """Joints in PoseTrack's order, by pixel index, NaN where a network has none."""
    if record is None:
        return Predicted(np.zeros((0, len(JOINTS), 2)), np.zeros((0, len(JOINTS))))
    points = as_skeleton(record, "posetrack17").astype(np.float64)
    ordered = points[:, [SKELETONS["posetrack17"].index(joint) for joint in JOINTS]]
    return Predicted(np.where(ordered[..., 2:] > 0, ordered[..., :2], np.nan), ordered[..., 2])
