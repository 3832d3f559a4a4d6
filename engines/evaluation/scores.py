"""Scores of predictions on a data set: PoseTrack's AP and PCK, for training and for ``posestream eval``.

``predictions`` are (K, 3) for each instance: px in the frame by index, and a score, with the joints of the network's
``skeleton``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.datasets.clips import Clip, Frame
from engines.datasets.config import Dataset, Jhmdb
from engines.datasets.instances import Instance
from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.errors import EngineError
from engines.evaluation.pck import Keypoints, SizeFunction, box_size, head_size, pck, torso_size
from engines.evaluation.posetrack import mean, score, table
from engines.metrics import ALPHAS
from engines.skeletons import SKELETONS, convert

Columns = Mapping[str, float]
"""Percentages by column."""

_SKELETON = "posetrack15"


@dataclass(frozen=True)
class Scores:
    """``mean``, 0 to 1, of ``metric``, by which networks are compared. ``tables``: the papers' columns by metric."""

    metric: str
    mean: float
    tables: Mapping[str, Columns]


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def score_posetrack(
    instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str, truth: Sequence[Clip]
) -> Scores:
    """The official AP of ``instances`` (true or detected boxes) against all people in ``truth``.

    A joint's score is multiplied by its box's. Raises :class:`EngineError` for a person without a head box.
    """
    people = group_by_frame(instances, predictions)
    scores = score(
        (to_annotated(clip, frame), to_predicted(people[clip.name, frame.number], skeleton))
        for clip in truth
        for frame in clip.frames
    )
    return Scores("mean AP", mean(scores).ap / 100, {"AP": table(scores)})


def group_by_frame(
    instances: Sequence[Instance], predictions: Sequence[Keypoints]
) -> defaultdict[tuple[str, int], list[Keypoints]]:
    """The predictions in each frame, by clip name and frame number; joint scores are multiplied by the box's."""
    people: defaultdict[tuple[str, int], list[Keypoints]] = defaultdict(list)
    for instance, joints in zip(instances, predictions, strict=True):
        scored = joints.copy()
        scored[:, 2] *= instance.person.score
        people[instance.clip.name, instance.frame.number].append(scored)
    return people


def to_annotated(clip: Clip, frame: Frame) -> Annotated:
    """A frame's annotations for PoseTrack's AP. Raises :class:`EngineError` for a person without a head box."""
    headless = [index for index, person in enumerate(frame.people) if person.head is None]
    if headless:
        raise EngineError(
            f"{clip.name}: person {headless[0]} of frame {frame.name} has no head box, which PoseTrack's AP needs"
        )
    joints = np.stack([person.joints for person in frame.people]) if frame.people else np.zeros((0, 0, 3), np.float32)
    converted = convert(joints, clip.skeleton, _SKELETON) if frame.people else np.zeros((0, 15, 3), np.float32)
    points = np.where(converted[..., 2:] > 0, converted[..., :2], np.nan).astype(np.float64)
    heads = [person.head for person in frame.people if person.head is not None]
    return Annotated(points, np.array(heads, np.float64).reshape(-1, 4), frame.ignored)


def to_predicted(people: Sequence[Keypoints], skeleton: str = _SKELETON) -> Predicted:
    """A frame's predictions for PoseTrack's AP; joints that ``skeleton`` lacks count as not predicted."""
    if not people:
        return Predicted(np.zeros((0, 15, 2)), np.zeros((0, 15)))
    joints = convert(np.stack(people), skeleton, _SKELETON).astype(np.float64)
    has = np.array([joint in SKELETONS[skeleton].joints for joint in JOINTS])
    return Predicted(np.where(has[:, None], joints[..., :2], np.nan), joints[..., 2])


# -- PCK --------------------------------------------------------------------------------------------------------------


def pck_alpha(data: Dataset) -> float:
    """The threshold of PCK by which networks are compared: the papers' on Sub-JHMDB, a stricter one elsewhere."""
    return 0.2 if isinstance(data, Jhmdb) else 0.1


def score_pck(instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str, alpha: float) -> Scores:
    """PCK by the person's size at three thresholds, of which ``alpha`` gives the mean."""
    tables = {f"PCK@{limit}": pck(instances, predictions, skeleton, limit, box_size) for limit in ALPHAS}
    return Scores(f"PCK@{alpha}", tables[f"PCK@{alpha}"]["Mean"] / 100, tables)


def extra_tables(
    data: Dataset, instances: Sequence[Instance], predictions: Sequence[Keypoints], skeleton: str
) -> dict[str, Columns]:
    """Further metrics in true boxes: PCK by the torso on Sub-JHMDB, PCKh if there are head boxes."""
    wanted: dict[str, tuple[float, SizeFunction]] = {}
    if isinstance(data, Jhmdb):
        wanted["torso PCK@0.2"] = (0.2, torso_size)
    if all(instance.person.head is not None for instance in instances):
        wanted["PCKh@0.5"] = (0.5, head_size)
    return {name: pck(instances, predictions, skeleton, *settings) for name, settings in wanted.items()}
