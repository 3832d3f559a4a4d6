"""Poses in the result formats of the data sets: COCO keypoint results and PoseTrack 2018 JSON.

Both use pixel indices, where the centre of the first pixel is 0; in posestream's continuous coordinates it is 0.5. So
half a pixel is subtracted from every joint, as detectron2 does. Boxes are continuous in COCO too. A joint that only the
target's skeleton has is written as 0, 0, 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.skeletons import SKELETONS, reorder
from stream.capture.picture_suffixes import is_picture
from stream.errors import PropertyError

_PERSON = 1
_HALF_PX = 0.5
_IMAGES_PER_VIDEO = 10_000
_MAX_IMAGE_ID = 2**53 - 1
"""JavaScript and others read greater numbers of JSON inexactly; names of pictures may hold a time of 20 digits."""

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
    pts_ns: int = 0
    joints: tuple[str, ...] = ()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The names of the keypoints, in their order; numbers for a skeleton without names."""
        if self.joints or self.skeleton in SKELETONS:
            return self.joints or SKELETONS[self.skeleton].joints
        return tuple(map(str, range(len(self.people[0].keypoints) if self.people else 0)))


def find_image_ids(records: Iterable[Record]) -> Callable[[Record], int]:
    """Find which number is the ``image_id`` of a frame in COCO's results.

    It is the one at the end of the picture's name (``000000000139.jpg`` is 139) where each frame is a picture with a
    number of its own; else, that of the frame.
    """
    seen: set[int | None] = {None}
    for record in records:
        number = _picture_number(record)
        if number in seen:
            return lambda record: record.frame_seq
        seen.add(number)
    return lambda record: _picture_number(record) or 0


def coco_results(record: Record, image_id: int | None = None) -> list[dict[str, Any]]:
    """Make the COCO keypoint results of one frame.

    ``image_id`` is the frame's number unless another is given (:func:`find_image_ids`), ``file_name`` the name of the
    file that it was read from, if any, and ``score`` that of the box times the mean of the keypoints.
    """
    found = convert_skeleton(record, "coco17")
    number = record.frame_seq if image_id is None else image_id
    return [_coco_result(record, number, person, points) for person, points in zip(record.people, found, strict=True)]


def posetrack_lists(read: Callable[[], Iterable[Record]]) -> Iterator[tuple[str, Iterable[dict[str, Any]]]]:
    """Yield the keys of the PoseTrack document of one camera, each with its entries, for which the records are read
    anew: a document of hours does not fit into memory. The camera should be a sequence's name, as ``003418_mpii_test``.
    """
    count, most_people, frames = 0, 0, Counter[str]()
    for record in read():
        count, most_people = max(count, record.frame_seq + 1), max(most_people, len(record.people))
        frames[record.file] += 1
    per_image = max(_ANNOTATIONS_PER_IMAGE, 10 ** len(str(most_people - 1)))
    yield "images", (_posetrack_image(record, count, is_alone=frames[record.file] == 1) for record in read())
    yield "categories", [_posetrack_category()]
    yield "annotations", (annotation for record in read() for annotation in _posetrack_annotations(record, per_image))


def _coco_result(record: Record, image_id: int, person: PersonRecord, points: NDArray[np.float32]) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box
    return {
        "image_id": image_id,
        **({"file_name": Path(record.file).name} if record.file else {}),
        "category_id": _PERSON,
        "keypoints": points.ravel().tolist(),
        "score": person.score * float(points[:, 2].mean()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "track_id": person.id,
    }


def _posetrack_image(record: Record, count: int, *, is_alone: bool) -> dict[str, Any]:
    return {
        "has_no_densepose": True,
        "is_labeled": True,
        "file_name": f"images/val/{record.camera}/{_picture_name(record, is_alone=is_alone)}",
        "nframes": count,
        "frame_id": _image_id(record),
        "vid_id": _video_id(record.camera),
        "id": _image_id(record),
        "width": record.size[0],
        "height": record.size[1],
    }


def _picture_name(record: Record, *, is_alone: bool) -> str:
    """The name of the picture that the frame was read from, if no other frame was (``is_alone``); of one of a video, an
    animation or a camera, its number."""
    file = Path(record.file)
    return file.name if is_alone and is_picture(file) else f"{record.frame_seq:06d}.jpg"


def _picture_number(record: Record) -> int | None:
    """The number at the end of the picture's name; None without one, and for a video or a camera."""
    file = Path(record.file)
    digits = re.search(r"[0-9]+$", file.stem) if is_picture(file) else None
    return int(digits[0]) if digits and int(digits[0]) <= _MAX_IMAGE_ID else None


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
    absent = {"left_ear", "right_ear"} if target == "posetrack17" else set[str]()
    return select_joints(record, target, tuple("" if one in absent else one for one in SKELETONS[target].joints))


def select_joints(record: Record, target: str, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the joints ``names`` of all people, by pixel index, (N, len(names), 3).

    0, 0, 0 for those that have no score or that their skeleton lacks. Raises :class:`PropertyError`, which calls the
    format ``target``, where it has none of them.
    """
    joints = record.joint_names
    if record.people and not set(joints) & set(names):
        raise PropertyError(
            f"jsonsink: keypoints of {record.camera!r} are of skeleton {record.skeleton!r}, which cannot be "
            f"converted to {target}; use format=lines, or a model of one of: {', '.join(SKELETONS)}"
        )
    given = np.array([person.keypoints for person in record.people], np.float32)
    points = reorder(given.reshape(len(record.people), len(joints), 3), joints, names)
    points[..., :2] -= _HALF_PX
    points[points[..., 2] <= 0] = 0
    return points


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
