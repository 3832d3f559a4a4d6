"""COCO's AP of networks that find people in whole pictures and get no boxes.

Every person found counts with the network's own score, in pictures without people too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from engines.datasets.clips import Clip, Frame
from engines.datasets.coco_json import CocoFile
from engines.datasets.config import CocoStyle, Dataset
from engines.errors import EngineError
from engines.evaluation import coco
from engines.evaluation.dataset import TITLES, Evaluation, coco_numbers, dataset_name, has_oks
from engines.evaluation.results import PERSON, Document
from engines.evaluation.scores import Scores
from engines.inference.single_stage import DetectedPeople
from engines.skeletons import convert
from engines.vision.crop import HALF_PIXEL

MAX_PEOPLE: Final = 20
"""People of a picture that COCO's metric counts, those with the best scores."""


def select_pictures(data: Dataset, limit: int | None = None) -> list[Clip]:
    """The clips to evaluate on, with pictures without people. Raises :class:`EngineError` if they have no AP."""
    if not isinstance(data, CocoStyle) or not has_oks(data):
        raise EngineError(
            f"data set {dataset_name(data)} ({data.folder}): a network of whole pictures is scored by COCO's AP, which "
            "it does not have; take coco, crowdpose, ochuman, or a folder of COCO's joints"
        )
    coco.check_installed()
    return data.validation_clips(with_empty=True)[:limit]


def list_frames(clips: Sequence[Clip]) -> list[tuple[Clip, Frame]]:
    """The labelled frames in order."""
    return [(clip, frame) for clip in clips for frame in clip.frames]


def evaluate_pictures(
    data: Dataset, clips: Sequence[Clip], found: Sequence[DetectedPeople], skeleton: str, *, limited: bool = False
) -> Evaluation:
    """Score the people ``found`` in each frame of ``clips``, whose joints are those of ``skeleton``.

    ``limited``: ``clips`` are only the first ones of the data set.
    """
    assert isinstance(data, CocoStyle)  # select_pictures refuses others
    truth, frames = data.read_annotations(), list_frames(clips)
    pairs = zip(frames, found, strict=True)
    documents = [row for (_, frame), people in pairs for row in _to_file(frame.id, people, skeleton, truth)]
    images = {frame.id for _, frame in frames} if limited else None
    numbers = coco_numbers(data, documents, images, truth)
    columns = {name: 100 * value for name, value in numbers.items()}
    return Evaluation(Scores("AP", numbers["AP"], {TITLES[dataset_name(data)]: columns}), {"results": documents})


def _to_file(image: Any, people: DetectedPeople, skeleton: str, truth: CocoFile) -> Iterator[Document]:
    """Results with the joints of the file ``truth`` in its order."""
    joints = convert(people.keypoints, skeleton, truth.skeleton) if len(people.scores) else people.keypoints
    for row in to_documents(image, people._replace(keypoints=joints)):
        in_file_order = np.zeros((max(truth.order) + 1, 3))
        in_file_order[list(truth.order)] = np.reshape(row["keypoints"], (-1, 3))
        yield {**row, "category_id": truth.category, "keypoints": in_file_order.ravel().tolist()}


def to_documents(image: Any, people: DetectedPeople) -> list[Document]:
    """COCO's results for the people of one picture, in index coordinates; ``people`` are in continuous ones."""
    rows = zip(people.boxes.astype(np.float64), people.scores, people.keypoints.astype(np.float64), strict=True)
    return [
        {
            "image_id": image,
            "category_id": PERSON,
            "keypoints": (joints - [HALF_PIXEL, HALF_PIXEL, 0]).ravel().tolist(),
            "score": float(score),
            "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
        }
        for box, score, joints in rows
    ]


def truth_documents(image: int, joints: np.ndarray[Any, Any], boxes: np.ndarray[Any, Any]) -> list[Document]:
    """COCO's annotations of the people of one picture: ``joints`` (n, 17, 3) in index coordinates and visibility,
    ``boxes`` (n, 4) x1, y1, x2, y2 px. People without labelled joints count neither as found nor as missed."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return [
        {
            "image_id": image,
            "category_id": PERSON,
            "keypoints": person.astype(np.float64).ravel().tolist(),
            "num_keypoints": int((person[:, 2] > 0).sum()),
            "bbox": [*map(float, box[:2]), *map(float, size)],
            "area": coco.BODY_OF_BOX * float(size.prod()),
            "iscrowd": 0,
        }
        for person, box, size in zip(joints, boxes, sizes, strict=True)
    ]


def score_drawn(truth: Sequence[Document], found: Sequence[Document], images: int) -> dict[str, float]:
    """COCO's ten numbers, 0 … 1, for ``images`` pictures numbered from 0."""
    annotations = [{"id": number, **row} for number, row in enumerate(truth, 1)]
    return coco.score_coco_documents(
        {
            "images": [{"id": number} for number in range(images)],
            "annotations": annotations,
            "categories": [{"id": PERSON, "name": "person"}],
        },
        found,
    )
