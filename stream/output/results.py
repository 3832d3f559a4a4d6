"""Poses in the result formats of the data sets: COCO keypoint results and PoseTrack 2018 JSON.

Both use pixel indices, where the centre of the first pixel is 0; in posestream's continuous coordinates it is 0.5. So
half a pixel is subtracted from every joint, as detectron2 does. Boxes are continuous in COCO too. A joint that only the
target's skeleton has is written as 0, 0, 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS, convert
from stream.capture.stills import is_picture
from stream.errors import PropertyError

_PERSON = 1
_HALF_PX = 0.5
_IMAGES_PER_VIDEO = 10_000
_ANNOTATIONS_PER_IMAGE = 100
"""As in PoseTrack's files; more in a file with more people in a frame, so that no two ids are equal."""


class PersonRecord(msgspec.Struct, frozen=True):
    """One person of a line that ``jsonsink`` wrote."""

    id: int
    box: tuple[float, float, float, float]
    score: float
    keypoints: list[tuple[float, float, float]]


class Record(msgspec.Struct, frozen=True):
    """The fields of a line that ``jsonsink`` wrote which result files need."""

    camera: str
    frame_seq: int
    size: tuple[int, int]
    skeleton: str
    people: list[PersonRecord]
    file: str = ""


def coco_results(record: Record) -> list[dict[str, Any]]:
    """Make the COCO keypoint results of one frame.

    ``image_id`` is the frame's number, ``file_name`` the name of the file that it was read from, if any, and ``score``
    that of the box times the mean of the keypoints.
    """
    found = convert_skeleton(record, "coco17")
    return [_coco_result(record, person, points) for person, points in zip(record.people, found, strict=True)]


def posetrack_document(records: Sequence[Record]) -> dict[str, Any]:
    """Make the PoseTrack document of one camera; ``camera`` should be a sequence's name, as ``003418_mpii_test``."""
    count = max((record.frame_seq for record in records), default=-1) + 1
    most_people = max((len(record.people) for record in records), default=0)
    per_image = max(_ANNOTATIONS_PER_IMAGE, 10 ** len(str(most_people - 1)))
    return {
        "images": [_posetrack_image(record, count) for record in records],
        "categories": [_posetrack_category()],
        "annotations": [annotation for record in records for annotation in _posetrack_annotations(record, per_image)],
    }


def _coco_result(record: Record, person: PersonRecord, points: NDArray[np.float32]) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box
    return {
        "image_id": record.frame_seq,
        **({"file_name": Path(record.file).name} if record.file else {}),
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
        "file_name": f"images/val/{record.camera}/{_picture_name(record)}",
        "nframes": count,
        "frame_id": _image_id(record),
        "vid_id": _video_id(record.camera),
        "id": _image_id(record),
        "width": record.size[0],
        "height": record.size[1],
    }


def _picture_name(record: Record) -> str:
    """The name of the picture that the frame was read from; of a frame of a video or a camera, its number."""
    file = Path(record.file)
    return file.name if is_picture(file) else f"{record.frame_seq:06d}.jpg"


def _posetrack_category() -> dict[str, Any]:
    skeleton = SKELETONS["posetrack17"]
    return {
        "supercategory": "person",
        "id": _PERSON,
        "name": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[start + 1, end + 1] for start, end in skeleton.limbs],
    }


def _posetrack_annotations(record: Record, per_image: int) -> Iterable[dict[str, Any]]:
    found = convert_skeleton(record, "posetrack17")
    for row, (person, points) in enumerate(zip(record.people, found, strict=True)):
        scores = points[:, 2].tolist()
        yield {
            "image_id": _image_id(record),
            "id": _image_id(record) * per_image + row,
            "track_id": person.id,
            "keypoints": [number for x, y, score in points.tolist() for number in (x, y, float(score > 0))],
            "scores": scores,
            "category_id": _PERSON,
        }


def convert_skeleton(record: Record, target: str) -> NDArray[np.float32]:
    """Convert the keypoints to the order of ``target`` and pixel indices, (N, K, 3); PoseTrack has no ears."""
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
    points[_find_missing(record.skeleton, target, points)] = 0
    return points


def _find_missing(source: str, target: str, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, K) True for joints that the source lacks, that have no score, or that PoseTrack does not annotate."""
    absent = {"left_ear", "right_ear"} if target == "posetrack17" else set[str]()
    has = [joint in SKELETONS[source].joints and joint not in absent for joint in SKELETONS[target].joints]
    missing: NDArray[np.bool_] = ~np.array(has) | (points[..., 2] <= 0)
    return missing


def _video_id(camera: str) -> str:
    """The digits at the beginning of a PoseTrack sequence's name; zeros if there are none.

    >>> _video_id("003418_mpii_test")
    '003418'
    """
    digits = camera.partition("_")[0]
    return digits if digits.isdecimal() and len(digits) <= 6 else "000000"


def _image_id(record: Record) -> int:
    """PoseTrack's number of a frame: 1, the video's six digits, the frame's four."""
    return (10**6 + int(_video_id(record.camera))) * _IMAGES_PER_VIDEO + record.frame_seq
