"""What was found as result files of the data sets: PoseTrack's JSON, one file for each sequence, and COCO's results.

Scored again from these files (``posestream eval posetrack``, ``coco``, ``crowdpose``) it gets the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.datasets.clips import Clip
from engines.datasets.cocolike import CocoFile
from engines.datasets.rows import Row
from engines.errors import EngineError
from engines.evaluation import oks
from engines.evaluation.pck import Found
from engines.evaluation.scores import by_frame
from engines.skeletons import SKELETONS, convert
from engines.spec.signature import Signature
from engines.vision import crop

Told = dict[str, Any]

POSETRACK = "posetrack17"
PERSON = 1


# -- COCO -------------------------------------------------------------------------------------------------------------


def coco_results(
    rows: Sequence[Row], found: Sequence[Found], signature: Signature, truth: CocoFile, sigmas: Sequence[float]
) -> list[Told]:
    """COCO's list of results, with the joints that the file ``truth`` has, in its order.

    As in the published code: a person's score is the box's times the mean of the joints' that are above 0.2, and of
    people in a picture who are more alike than an OKS of 0.9 the best is left.
    """
    pictures: dict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        pictures[row.frame.id].append(place)
    joints = convert(np.stack(found), signature.skeleton, truth.skeleton)
    scores = [oks.score_of(one, row.person.score) for one, row in zip(found, rows, strict=True)]
    areas = [_area(row, signature) for row in rows]
    left = [
        places[one]
        for places in pictures.values()
        for one in oks.kept(joints[places], [scores[p] for p in places], [areas[p] for p in places], sigmas)
    ]
    return [_coco_result(rows[place], joints[place], scores[place], truth) for place in left]


def _area(row: Row, signature: Signature) -> float:
    """Of the crop, px²: the published code's area of somebody who was detected."""
    _, scale = crop.box_to_center_scale(row.box, signature.input_size, signature.enlarge)
    return float(np.prod(scale.astype(np.float64) * crop.SCALE_UNIT_PX))


def _coco_result(row: Row, joints: Found, score: float, truth: CocoFile) -> Told:
    as_filed = np.zeros((max(truth.order) + 1, 3))
    as_filed[list(truth.order)] = joints
    return {
        "image_id": row.frame.id,
        "category_id": truth.category,
        "keypoints": as_filed.ravel().tolist(),
        "score": score,
        "bbox": row.person.box.tolist(),
    }


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def posetrack_documents(
    truth: Sequence[Clip], rows: Sequence[Row], found: Sequence[Found], skeleton: str
) -> Iterator[tuple[str, Told]]:
    """The name and the document of every sequence; every labelled frame is in it, also where nobody was found."""
    people = by_frame(rows, found)
    for clip in truth:
        images = [
            {"file_name": frame.name, "id": frame.number if frame.id is None else frame.id, "is_labeled": True}
            for frame in clip.frames
        ]
        annotations = [
            {"image_id": image["id"], "category_id": PERSON, "track_id": place, **_posetrack_joints(joints, skeleton)}
            for image, frame in zip(images, clip.frames, strict=True)
            for place, joints in enumerate(people[clip.name, frame.number])
        ]
        for number, annotation in enumerate(annotations):
            annotation["id"] = number
        category = {"id": PERSON, "name": "person", "keypoints": list(SKELETONS[POSETRACK].joints)}
        yield clip.name, {"images": images, "categories": [category], "annotations": annotations}


def _posetrack_joints(joints: Found, skeleton: str) -> Told:
    """Joints that the network lacks are 0, 0, 0; so are the ears, which PoseTrack never has."""
    # By way of the fifteen joints that PoseTrack has.
    fifteen = convert(joints[None], skeleton, "posetrack15")
    told = convert(fifteen, "posetrack15", POSETRACK)[0].astype(np.float64)
    has = set(SKELETONS[skeleton].joints) & set(SKELETONS["posetrack15"].joints)
    known = np.array([joint in has for joint in SKELETONS[POSETRACK].joints])
    numbers = np.concatenate([told[:, :2], known[:, None]], axis=1)
    return {"keypoints": numbers.ravel().tolist(), "scores": told[:, 2].tolist()}


# -- files ------------------------------------------------------------------------------------------------------------


def check_writable(folder: Path) -> None:
    """Make the folder, so that nobody learns at the end that nothing can be written. Raises :class:`EngineError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"results {folder}: {error.strerror}; choose another folder") from error


def write(folder: Path, name: str, told: Any) -> Path:
    """Write ``folder/name.json``. Raises :class:`EngineError` where that cannot be."""
    path = folder / f"{name}.json"
    try:
        path.write_bytes(msgspec.json.encode(told) + b"\n")
    except OSError as error:
        raise EngineError(f"results {path}: {error.strerror}; choose another folder") from error
    return path
