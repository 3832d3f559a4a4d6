"""Result files in the formats of PoseTrack, one JSON file for each sequence, and of COCO.

``posestream eval posetrack``, ``coco`` and ``crowdpose`` compute the same numbers from these files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engines.datasets.clips import Clip
from engines.datasets.coco_json import CocoFile
from engines.datasets.instances import Instance
from engines.errors import EngineError
from engines.evaluation import oks
from engines.evaluation.pck import Keypoints
from engines.evaluation.scores import group_by_frame
from engines.skeletons import SKELETONS, convert
from engines.spec.signature import Signature
from engines.vision import crop

Document = dict[str, Any]

POSETRACK = "posetrack17"
PERSON = 1


# -- COCO -------------------------------------------------------------------------------------------------------------


def coco_results(
    instances: Sequence[Instance],
    predictions: Sequence[Keypoints],
    signature: Signature,
    truth: CocoFile,
    sigmas: Sequence[float],
) -> list[Document]:
    """COCO's list of results, with the joints of the file ``truth`` in its order.

    As in the published code, a person's score is the box's times the mean of the joint scores above 0.2, and duplicates
    with an OKS above 0.9 are suppressed.
    """
    pictures: dict[Any, list[int]] = defaultdict(list)
    for index, instance in enumerate(instances):
        pictures[instance.frame.id].append(index)
    joints = convert(np.stack(predictions), signature.skeleton, truth.skeleton)
    pairs = zip(predictions, instances, strict=True)
    scores = [oks.person_score(one, instance.person.score) for one, instance in pairs]
    areas = [_area(instance, signature) for instance in instances]
    kept = [
        indices[one]
        for indices in pictures.values()
        for one in oks.suppress_duplicates(
            joints[indices], [scores[index] for index in indices], [areas[index] for index in indices], sigmas
        )
    ]
    return [_coco_result(instances[index], joints[index], scores[index], truth) for index in kept]


def _area(instance: Instance, signature: Signature) -> float:
    """The area of the crop, px²: the published code's area of a detected person."""
    _, scale = crop.box_to_center_scale(instance.box, signature.input_size, signature.enlarge)
    return float(np.prod(scale.astype(np.float64) * crop.SCALE_UNIT_PX))


def _coco_result(instance: Instance, joints: Keypoints, score: float, truth: CocoFile) -> Document:
    in_file_order = np.zeros((max(truth.order) + 1, 3))
    in_file_order[list(truth.order)] = joints
    return {
        "image_id": instance.frame.id,
        "category_id": truth.category,
        "keypoints": in_file_order.ravel().tolist(),
        "score": score,
        "bbox": instance.person.box.tolist(),
    }


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def posetrack_documents(
    truth: Sequence[Clip], instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str
) -> Iterator[tuple[str, Document]]:
    """The name and the document of every sequence, with all labelled frames, also those without predictions."""
    people = group_by_frame(instances, predictions)
    for clip in truth:
        images = [
            {"file_name": frame.name, "id": frame.number if frame.id is None else frame.id, "is_labeled": True}
            for frame in clip.frames
        ]
        annotations = [
            {"image_id": image["id"], "category_id": PERSON, "track_id": index, **_posetrack_joints(joints, skeleton)}
            for image, frame in zip(images, clip.frames, strict=True)
            for index, joints in enumerate(people[clip.name, frame.number])
        ]
        for number, annotation in enumerate(annotations):
            annotation["id"] = number
        category = {"id": PERSON, "name": "person", "keypoints": list(SKELETONS[POSETRACK].joints)}
        yield clip.name, {"images": images, "categories": [category], "annotations": annotations}


def _posetrack_joints(joints: Keypoints, skeleton: str) -> Document:
    """Joints that the network lacks are 0, 0, 0; so are the ears, which PoseTrack never annotates."""
    # Converted by way of the 15 annotated joints, which drops the ears.
    annotated = convert(joints[None], skeleton, "posetrack15")
    converted = convert(annotated, "posetrack15", POSETRACK)[0].astype(np.float64)
    has = set(SKELETONS[skeleton].joints) & set(SKELETONS["posetrack15"].joints)
    is_predicted = np.array([joint in has for joint in SKELETONS[POSETRACK].joints])
    numbers = np.concatenate([converted[:, :2], is_predicted[:, None]], axis=1)
    return {"keypoints": numbers.ravel().tolist(), "scores": converted[:, 2].tolist()}


# -- files ------------------------------------------------------------------------------------------------------------


def check_writable(folder: Path) -> None:
    """Create the folder before the evaluation runs. Raises :class:`EngineError` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"results {folder}: {error.strerror}; choose another folder") from error


def write(folder: Path, name: str, document: Any) -> Path:
    """Write ``folder/name.json``. Raises :class:`EngineError` if that fails."""
    path = folder / f"{name}.json"
    try:
        path.write_bytes(msgspec.json.encode(document) + b"\n")
    except OSError as error:
        raise EngineError(f"results {path}: {error.strerror}; choose another folder") from error
    return path
