"""The truth about a source's frames: drawn once more, or read from a file of annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from engines.datasets.cocolike import CocoFile, read_coco
from engines.datasets.jsonfile import read_json
from engines.datasets.posetrack import read_annotations
from engines.datasets.synthetic.conditions import CONDITIONS
from engines.datasets.synthetic.scene import Picture, Scene
from engines.errors import EngineError
from engines.evaluation.coco import BODY_OF_BOX
from stream.elements.filesrc import Filesrc
from stream.elements.testsrc import Testsrc
from stream.evaluation.line_variants import Asked
from stream.evaluation.scorers import CocoJudge, Judge, PoseTrackJudge, Told

T = TypeVar("T")

_HALF_PX = 0.5
"""From continuous coordinates to pixels by index, as in result files (:mod:`stream.output.results`)."""


def judge_of(asked: Asked) -> Judge:
    """The truth about the frames of a line. Raises :class:`EngineError` for a file that is none, or a missing extra."""
    if isinstance(asked.source, Testsrc):
        return CocoJudge(_drawn(asked.source), lambda _: True)
    assert asked.truth is not None
    start = asked.source.start if isinstance(asked.source, Filesrc) else 0
    return _annotated(asked.truth, start)


def _drawn(source: Testsrc) -> Callable[[int], list[Told]]:
    """The people that a ``testsrc`` draws, of whom it knows everything."""
    scene = Scene(source.seed, source.people, source.width, source.height, conditions=CONDITIONS[source.conditions])
    return lambda number: annotations_of(scene.truth_at(number / source.fps))


def annotations_of(picture: Picture) -> list[Told]:
    """COCO's annotations of drawn people, less their ids. The area is the share of the box that a body covers, as
    CrowdPose has it, since COCO's is that of a mask."""
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


# -- files ------------------------------------------------------------------------------------------------------------


def _annotated(path: Path, start: int) -> Judge:
    """A file's truth; the source's frame 0 is the clip's frame ``start``."""
    loaded = read_json(path)
    if not isinstance(loaded, dict) or not loaded.keys() >= {"images", "annotations", "categories"}:
        raise EngineError(
            f"{path}: it is no file of COCO's or PoseTrack18's make: 'images', 'annotations' and 'categories' are "
            "wanted"
        )
    names = next((told["keypoints"] for told in loaded["categories"] if "keypoints" in told), ())
    return _posetrack(path, start) if "head_top" in names else _coco(path, start)


def _posetrack(path: Path, start: int) -> PoseTrackJudge:
    frames = read_annotations(path)
    numbers = [_number(path, {"file_name": frame.file}) - start for frame in frames]
    return PoseTrackJudge(_by_number(path, numbers, [frame.people for frame in frames]))


def _coco(path: Path, start: int) -> CocoJudge:
    file = read_coco(path, "coco17")
    images = [image for image in file.images if image.get("is_labeled", True)]
    numbers = [_number(path, image) - start for image in images]
    people = _by_number(path, numbers, [_people(file, image) for image in images])
    return CocoJudge(people.__getitem__, people.__contains__)


def _people(file: CocoFile, image: Told) -> list[Told]:
    file.of(image)  # raises for an annotation that is broken
    return [_completed(file, number, told) for number, told in file.people.get(image["id"], ())]


def _completed(file: CocoFile, number: int, told: Told) -> Told:
    """An annotation with everything that COCO's tool reads, its joints in COCO's order."""
    given = told.get("keypoints") or [0] * 3 * len(file.order)
    keypoints = np.array(given, np.float64).reshape(-1, 3)[list(file.order)]
    box = file.field(number, told, "bbox")
    return {
        "category_id": 1,
        "bbox": box,
        "iscrowd": told.get("iscrowd", 0),
        "area": told.get("area", BODY_OF_BOX * box[2] * box[3]),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _number(path: Path, image: Told) -> int:
    """Which frame of the clip it is, from 0: the number in its name (``000012.jpg``), else its id."""
    stem = Path(str(image.get("file_name", ""))).stem
    told = stem if stem.isdecimal() else image.get("id")
    try:
        return int(str(told))
    except ValueError:
        raise EngineError(
            f"{path}: nothing says which frame of the clip {image.get('file_name')!r} is; name pictures by number from "
            "0 (000012.jpg), or make their ids the numbers"
        ) from None


def _by_number(path: Path, numbers: Sequence[int], values: Sequence[T]) -> dict[int, T]:
    known = dict(zip(numbers, values, strict=True))
    if len(known) < len(numbers):
        raise EngineError(f"{path}: several of its pictures have one number; give the annotations of one clip")
    return known
