"""The ground truth of a source's frames: rendered again, or read from an annotation file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from engines.datasets.coco_json import CocoFile, read_coco
from engines.datasets.files import read_json
from engines.datasets.posetrack import read_annotations
from engines.datasets.synthetic.scene import Picture
from engines.errors import EngineError
from engines.evaluation.coco import BODY_OF_BOX
from stream.elements.filesrc import Filesrc
from stream.elements.testsrc import Testsrc
from stream.evaluation.line_variants import Request
from stream.evaluation.scorers import Annotation, CocoJudge, Judge, PoseTrackJudge

T = TypeVar("T")

_HALF_PX = 0.5
"""From continuous coordinates to pixels by index, as in result files (:mod:`stream.output.results`)."""


def load_judge(request: Request) -> Judge:
    """Load the ground truth of a line. Raises :class:`EngineError` for an invalid file, or a missing extra."""
    if isinstance(request.source, Testsrc):
        return CocoJudge(_annotate_source(request.source), lambda _: True)
    assert request.truth is not None
    return _load_file(request.truth, find_start(request))


def find_start(request: Request) -> int:
    """The number in its clip of the source's frame 0."""
    return request.source.start if isinstance(request.source, Filesrc) else 0


def _annotate_source(source: Testsrc) -> Callable[[int], list[Annotation]]:
    """The annotations of the people in a ``testsrc``."""
    scene = source.make_scene()
    return lambda number: annotate(scene.truth_at(number / source.fps))


def annotate(picture: Picture) -> list[Annotation]:
    """Make COCO annotations of synthetic people, without ids.

    The area is a fixed share of the box, as in CrowdPose, since COCO's own is that of a mask.
    """
    keypoints = picture.keypoints.astype(np.float64) - (_HALF_PX, _HALF_PX, 0)
    keypoints[keypoints[..., 2] == 0] = 0
    corners = picture.boxes.astype(np.float64)
    return [
        {
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
            "area": BODY_OF_BOX * float((box[2:] - box[:2]).prod()),
            "keypoints": person.ravel().tolist(),
            "num_keypoints": int((person[:, 2] > 0).sum()),
        }
        for box, person in zip(corners, keypoints, strict=True)
    ]


def read_sizes(path: Path, start: int) -> dict[int, tuple[int, int]]:
    """The (width, height) px of the pictures in an annotation file, by frame number, as far as it says them."""
    loaded = read_json(path)
    images = [image for image in loaded["images"] if "width" in image and "height" in image]
    return {_read_number(path, image) - start: (image["width"], image["height"]) for image in images}


# -- files ------------------------------------------------------------------------------------------------------------


def _load_file(path: Path, start: int) -> Judge:
    """Load an annotation file; the source's frame 0 is the clip's frame ``start``."""
    loaded = read_json(path)
    if not isinstance(loaded, dict) or not loaded.keys() >= {"images", "annotations", "categories"}:
        raise EngineError(
            f"{path}: it is not a COCO or PoseTrack18 file, which has 'images', 'annotations' and 'categories'"
        )
    names = next((annotation["keypoints"] for annotation in loaded["categories"] if "keypoints" in annotation), ())
    return _load_posetrack(path, start) if "head_top" in names else _load_coco(path, start)


def _load_posetrack(path: Path, start: int) -> PoseTrackJudge:
    frames = read_annotations(path)
    numbers = [_read_number(path, {"file_name": frame.file}) - start for frame in frames]
    return PoseTrackJudge(_by_number(path, numbers, [frame.people for frame in frames]))


def _load_coco(path: Path, start: int) -> CocoJudge:
    file = read_coco(path, "coco17")
    images = [image for image in file.images if image.get("is_labeled", True)]
    numbers = [_read_number(path, image) - start for image in images]
    people = _by_number(path, numbers, [_read_people(file, image) for image in images])
    return CocoJudge(people.__getitem__, people.__contains__)


def _read_people(file: CocoFile, image: Annotation) -> list[Annotation]:
    file.people(image)  # raises for an invalid annotation
    return [_complete(file, number, annotation) for number, annotation in file.annotations.get(image["id"], ())]


def _complete(file: CocoFile, number: int, annotation: Annotation) -> Annotation:
    """Complete an annotation with all fields that the COCO tool reads, its joints in COCO's order."""
    given = annotation.get("keypoints") or [0] * 3 * len(file.order)
    keypoints = np.array(given, np.float64).reshape(-1, 3)[list(file.order)]
    box = file.field(number, annotation, "bbox")
    return {
        "category_id": 1,
        "bbox": box,
        "iscrowd": annotation.get("iscrowd", 0),
        "area": annotation.get("area", BODY_OF_BOX * box[2] * box[3]),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _read_number(path: Path, image: Annotation) -> int:
    """The frame number in the clip, from 0: the number in the file name (``000012.jpg``), else the id."""
    stem = Path(str(image.get("file_name", ""))).stem
    number = stem if stem.isdecimal() else image.get("id")
    try:
        return int(str(number))
    except ValueError:
        raise EngineError(
            f"{path}: {image.get('file_name')!r} has no frame number; name pictures by number from 0 (000012.jpg), or "
            "use the numbers as ids"
        ) from None


def _by_number(path: Path, numbers: Sequence[int], values: Sequence[T]) -> dict[int, T]:
    known = dict(zip(numbers, values, strict=True))
    if len(known) < len(numbers):
        raise EngineError(f"{path}: several of its pictures have the same number; give the annotations of one clip")
    return known
