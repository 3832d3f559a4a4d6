"""Evaluation of a network on a data set: the people it is given, and the scores of its predictions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engines.datasets.clips import Clip
from engines.datasets.coco_json import CocoFile
from engines.datasets.config import CocoStyle, CrowdPose, Dataset, Folder, HiEve, PoseTrack
from engines.datasets.detections import replace_people
from engines.datasets.instances import Instance, list_instances
from engines.datasets.posetrack_frames import JOINTS
from engines.errors import EngineError
from engines.evaluation import coco, results, scores
from engines.evaluation.oks import oks
from engines.evaluation.pck import Keypoints
from engines.evaluation.scores import Columns, Scores
from engines.metrics import mean_known
from engines.skeletons import COCO_SIGMAS, SKELETONS, convert
from engines.spec.signature import Signature

SIGMAS: Final = {"coco17": COCO_SIGMAS, "crowdpose14": coco.CROWD_SIGMAS}
"""OKS constants of the skeletons for which they are defined."""


@dataclass(frozen=True)
class EvaluationSet:
    """The clips of the ``truth``, and the ``instances`` that the network is given: in true boxes, or ``detected``;
    ``limited`` to the first clips."""

    truth: Sequence[Clip]
    instances: Sequence[Instance]
    detected: bool = False
    limited: bool = False


def select_people(
    data: Dataset,
    skeleton: str,
    detections: Path | None = None,
    min_score: float | None = None,
    limit: int | None = None,
) -> EvaluationSet:
    """The people to evaluate a network with the joints of ``skeleton`` on.

    They are the annotated people who have one of its joints, in true boxes, or the detected people of the file
    ``detections`` whose score is at least ``min_score``. Raises :class:`EngineError` for a data set that is broken or
    cannot be evaluated so.
    """
    path, threshold = _detections(data, detections, min_score)
    check_metric(data, is_detected=path is not None)
    if path is None:
        if min_score is not None:
            raise EngineError(
                f"the minimum score {min_score:g} is for detected boxes, but true boxes are used; leave it out, or "
                "give a detector's boxes"
            )
        truth = data.validation_clips()[:limit]
        return EvaluationSet(truth, list_instances(truth, skeleton), limited=limit is not None)
    clips = data.validation_clips(with_empty=True) if isinstance(data, CocoStyle) else data.validation_clips()
    detected = replace_people(clips[:limit], path, threshold)
    instances = list_instances(detected, skeleton, only_annotated=False)
    return EvaluationSet(clips[:limit], instances, detected=True, limited=limit is not None)


def _detections(data: Dataset, path: Path | None, min_score: float | None) -> tuple[Path | None, float]:
    """The file and its threshold: the given ones, else the recipe's. Only PoseTrack has a published threshold."""
    if isinstance(data, PoseTrack):
        configured = data.folder / data.detections if data.detections else None
        return path or configured, data.min_score if min_score is None else min_score
    return path, min_score or 0.0


def check_metric(data: Dataset, *, is_detected: bool) -> None:
    """Raise :class:`EngineError` if there is no metric for the data set, or the metric's package is not installed."""
    if has_oks(data):
        coco.check_installed()
    elif is_detected and not isinstance(data, PoseTrack):
        raise EngineError(
            f"data set {dataset_name(data)} ({data.folder}): its metric is PCK, which cannot match detected people to "
            "annotated ones; leave the detections out to use true boxes"
        )


def dataset_name(data: Dataset) -> str:
    """The data set's name on the command line."""
    return f"posetrack{data.year % 100}" if isinstance(data, PoseTrack) else type(data).__name__.lower()


def has_oks(data: Dataset) -> bool:
    """Whether the data set is evaluated by AP of OKS."""
    return isinstance(data, CocoStyle) and (not isinstance(data, Folder) or data.skeleton in SIGMAS)


# -- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """The scores, and the result files that they are computed from, by name."""

    scores: Scores
    files: dict[str, Any]


def evaluate(
    data: Dataset, people: EvaluationSet, predictions: Sequence[Keypoints], signature: Signature
) -> Evaluation:
    """Score ``predictions``, (K, 3) for each of the instances of ``people``. Raises :class:`EngineError`."""
    if isinstance(data, PoseTrack):
        return _evaluate_posetrack(data, people, predictions, signature.skeleton)
    if isinstance(data, CocoStyle) and has_oks(data):
        return _evaluate_coco_style(data, people, predictions, signature)
    by_pck = scores.score_pck(people.instances, predictions, signature.skeleton, scores.pck_alpha(data))
    extra = scores.extra_tables(data, people.instances, predictions, signature.skeleton)
    return Evaluation(
        Scores(by_pck.metric, by_pck.mean, {**by_pck.tables, **extra}),
        {"results": _plain_results(people, predictions)},
    )


def _evaluate_posetrack(
    data: PoseTrack, people: EvaluationSet, predictions: Sequence[Keypoints], skeleton: str
) -> Evaluation:
    by_ap = scores.score_posetrack(people.instances, predictions, skeleton, people.truth)
    extra = {} if people.detected else scores.extra_tables(data, people.instances, predictions, skeleton)
    files = dict(results.posetrack_documents(people.truth, people.instances, predictions, skeleton))
    return Evaluation(Scores(by_ap.metric, by_ap.mean, {**by_ap.tables, **extra}), files)


def _evaluate_coco_style(
    data: CocoStyle, people: EvaluationSet, predictions: Sequence[Keypoints], signature: Signature
) -> Evaluation:
    truth = data.read_annotations()
    documents = results.coco_results(people.instances, predictions, signature, truth, SIGMAS[truth.skeleton])
    images = {frame.id for clip in people.truth for frame in clip.frames} if people.limited else None
    numbers = coco_numbers(data, documents, images, truth)
    tables: dict[str, Columns] = {TITLES[dataset_name(data)]: {name: 100 * one for name, one in numbers.items()}}
    if not people.detected:
        by_pck = scores.score_pck(people.instances, predictions, signature.skeleton, scores.pck_alpha(data))
        similarity = mean_oks(people.instances, predictions, signature.skeleton)
        tables |= {**by_pck.tables, "mean OKS": {"Mean": 100 * similarity}}
    return Evaluation(Scores("AP", numbers["AP"], tables), {"results": documents})


TITLES: Final = {"coco": "COCO", "crowdpose": "CrowdPose", "ochuman": "OCHuman", "folder": "COCO"}


def coco_numbers(
    data: CocoStyle, documents: Sequence[results.Document], images: Collection[Any] | None, truth: CocoFile
) -> dict[str, float]:
    """The AP and AR of results by name, 0 … 1, on all pictures or those with these ids."""
    if isinstance(data, CrowdPose):
        return coco.score_crowdpose(data.annotation_file, documents, images)
    # In the file's own order of joints, which a user's own file may choose freely.
    sigmas = np.array(SIGMAS[truth.skeleton])[np.argsort(truth.order)]
    return coco.score_coco(data.annotation_file, documents, images, sigmas.tolist())


def mean_oks(instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str) -> float:
    """The mean OKS of each prediction with its own annotation, over all annotated joints; scores do not matter."""
    pairs = zip(instances, predictions, strict=True)
    return mean_known([_oks(instance, joints, skeleton) for instance, joints in pairs])


def _oks(instance: Instance, joints: Keypoints, skeleton: str) -> float:
    person, of = instance.person, instance.clip.skeleton
    area = float(np.prod(person.box[2:])) * coco.BODY_OF_BOX if person.area is None else person.area
    return float(oks(convert(joints[None], skeleton, of), person.joints, area, SIGMAS[of])[0])


def _plain_results(people: EvaluationSet, predictions: Sequence[Keypoints]) -> list[results.Document]:
    """COCO-style results with the network's own joints, for data sets without a result format."""
    return [
        {
            "image_id": instance.frame.name if instance.frame.id is None else instance.frame.id,
            "category_id": results.PERSON,
            "keypoints": np.asarray(joints, np.float64).ravel().tolist(),
            "score": float(joints[:, 2].mean()),
            "bbox": instance.person.box.tolist(),
        }
        for instance, joints in zip(people.instances, predictions, strict=True)
    ]


# -- notes ------------------------------------------------------------------------------------------------------------


def list_notes(data: Dataset, people: EvaluationSet, skeleton: str) -> list[str]:
    """How these numbers differ from those in the papers' tables."""
    notes = [
        _box_note(data, people),
        _joint_note(data, people.truth[0].skeleton, skeleton),
        f"only the first clips or pictures are evaluated: {len(people.truth)}" if people.limited else "",
        _metric_note(data),
    ]
    return [note for note in notes if note]


def _box_note(data: Dataset, people: EvaluationSet) -> str:
    if people.detected or not (isinstance(data, PoseTrack) or has_oks(data)):
        return ""
    return "true boxes: most papers use a detector's boxes, which give lower numbers (--detections FILE)"


def _joint_note(data: Dataset, annotated: str, skeleton: str) -> str:
    joints = JOINTS if isinstance(data, PoseTrack) else SKELETONS[annotated].joints
    missing = [joint for joint in joints if joint not in SKELETONS[skeleton].joints]
    if not missing:
        return ""
    by_ap = isinstance(data, PoseTrack) or has_oks(data)
    effect = "AP counts them as missed, PCK leaves them out" if by_ap else "they are left out"
    return f"its skeleton {skeleton} has no {', '.join(missing)}: {effect}"


def _metric_note(data: Dataset) -> str:
    if isinstance(data, HiEve):
        return "HiEve's own w_AP is not fully published; docs/how-to/evaluation.md says what is missing"
    if isinstance(data, Folder) and not has_oks(data):
        return f"OKS is not defined for skeleton {data.skeleton}: no AP"
    return ""
