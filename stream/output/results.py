"""Poses as the data sets' own result files: COCO keypoint results and PoseTrack 2018 JSON.

Both count pixels by their index, the centre of the first being 0, where posestream's coordinates are continuous and
that centre is 0.5: half a pixel is taken off every joint, as detectron2 does. Boxes are continuous in COCO too. A joint
that the target's skeleton has and ours does not is written 0, 0, 0: nothing is invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS, convert
from stream.errors import PropertyError

_PERSON = 1
_HALF_PX = 0.5
_IMAGES_A_VIDEO = 10_000
_ANNOTATIONS_AN_IMAGE = 100


class PersonRecord(msgspec.Struct, frozen=True):
    """One person of a line that ``jsonsink`` wrote."""

    id: int
    box: tuple[float, float, float, float]
    score: float
    keypoints: list[tuple[float, float, float]]


class Record(msgspec.Struct, frozen=True):
    """What result files need of a line that ``jsonsink`` wrote."""

    camera: str
    frame_seq: int
    size: tuple[int, int]
    skeleton: str
    people: list[PersonRecord]


def coco_results(record: Record) -> list[dict[str, Any]]:
    """COCO's keypoint results of one frame; ``image_id`` is the frame's number, ``score`` box times mean keypoint."""
    found = as_skeleton(record, "coco17")
    return [_coco_result(record, person, points) for person, points in zip(record.people, found, strict=True)]


def posetrack_document(records: Sequence[Record]) -> dict[str, Any]:
    """PoseTrack's document of one camera's frames; ``camera`` should be the sequence's name, ``003418_mpii_test``."""
    count = max((record.frame_seq for record in records), default=-1) + 1
    return {
        "images": [_posetrack_image(record, count) for record in records],
        "categories": [_posetrack_category()],
        "annotations": [annotation for record in records for annotation in _posetrack_annotations(record)],
    }


def _coco_result(record: Record, person: PersonRecord, points: NDArray[np.float32]) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box
    return {
        "image_id": record.frame_seq,
        "category_id": _PERSON,
        "keypoints": points.ravel().tolist(),
        "score": person.score * float(points[:, 2].mean()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "track_id": person.id,
    }


def _posetrack_image(record: Record, count: int) -> dict[str, Any]:
    return {
        "has_no_densepose": True,
        "is_labeled": True,
        "file_name": f"images/val/{record.camera}/{record.frame_seq:06d}.jpg",
        "nframes": count,
        "frame_id": _image_id(record),
        "vid_id": _video_id(record.camera),
        "id": _image_id(record),
        "width": record.size[0],
        "height": record.size[1],
    }


def _posetrack_category() -> dict[str, Any]:
    skeleton = SKELETONS["posetrack17"]
    return {
        "supercategory": "person",
        "id": _PERSON,
        "name": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[start + 1, end + 1] for start, end in skeleton.limbs],
    }


def _posetrack_annotations(record: Record) -> Iterable[dict[str, Any]]:
    found = as_skeleton(record, "posetrack17")
    for row, (person, points) in enumerate(zip(record.people, found, strict=True)):
        scores = points[:, 2].tolist()
        yield {
            "image_id": _image_id(record),
            "id": _image_id(record) * _ANNOTATIONS_AN_IMAGE + row,
            "track_id": person.id,
            "keypoints": [number for x, y, score in points.tolist() for number in (x, y, float(score > 0))],
            "scores": scores,
            "category_id": _PERSON,
        }


def as_skeleton(record: Record, target: str) -> NDArray[np.float32]:
    """Everybody's keypoints (N, K, 3) in the order of ``target``, by pixel index; ears stay out of PoseTrack."""
    if record.skeleton not in SKELETONS:
        known = ", ".join(SKELETONS)
        raise PropertyError(
            f"jsonsink: keypoints of {record.camera!r} are of skeleton {record.skeleton!r}, which cannot be "
            f"converted to {target}; use format=lines, or a model of one of: {known}"
        )
    shape = (len(record.people), len(SKELETONS[record.skeleton]), 3)
    given = np.array([person.keypoints for person in record.people], np.float32).reshape(shape)
    points = convert(given, record.skeleton, target)
    points[..., :2] -= _HALF_PX
    points[_missing(record.skeleton, target, points)] = 0
    return points


def _missing(source: str, target: str, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, K) True where there is no such joint, or no score for it, or where PoseTrack never has one."""
    absent = {"left_ear", "right_ear"} if target == "posetrack17" else set[str]()
    has = [joint in SKELETONS[source].joints and joint not in absent for joint in SKELETONS[target].joints]
    missing: NDArray[np.bool_] = ~np.array(has) | (points[..., 2] <= 0)
    return missing


def _video_id(camera: str) -> str:
    """The digits a PoseTrack sequence's name begins with; zeros where there are none.

    >>> _video_id("003418_mpii_test")
    '003418'
    """
    digits = camera.partition("_")[0]
    return digits if digits.isdecimal() and len(digits) <= 6 else "000000"


def _image_id(record: Record) -> int:
    """PoseTrack's number of a frame: 1, the video's six digits, the frame's four."""
    return (10**6 + int(_video_id(record.camera))) * _IMAGES_A_VIDEO + record.frame_seq
