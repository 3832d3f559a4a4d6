"""What is said of keypoints that a network found for the people of a data set: one judge for trainings and for exports.

``found`` is (K, 3) for each of ``rows``: px in the frame by index, and a score; joints are those of the network's
``skeleton``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.datasets.clips import Clip, Frame
from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.datasets.rows import Row
from engines.datasets.sources import Jhmdb, Labelled
from engines.errors import EngineError
from engines.evaluation.pck import Found, SizeOf, box_size, head_size, pck, torso_size
from engines.evaluation.posetrack import mean, score, table
from engines.metrics import ALPHAS
from engines.skeletons import SKELETONS, convert

Columns = Mapping[str, float]
"""In percent."""

_SCORED = "posetrack15"


@dataclass(frozen=True)
class Verdict:
    """``mean``, 0 to 1, of ``measure``: by it networks are compared. ``lines``: by measure, the papers' columns."""

    measure: str
    mean: float
    lines: Mapping[str, Columns]


# -- PoseTrack --------------------------------------------------------------------------------------------------------


def posetrack(rows: Sequence[Row], found: Sequence[Found], skeleton: str, truth: Sequence[Clip]) -> Verdict:
    """The official AP of ``rows`` (true boxes, or detected) against everybody in ``truth``; a joint's score is
    multiplied by its box's. Raises :class:`EngineError` for somebody without a box of the head."""
    people = by_frame(rows, found)
    scores = score(
        (annotated(clip, frame), predicted(people[clip.name, frame.number], skeleton))
        for clip in truth
        for frame in clip.frames
    )
    return Verdict("mean AP", mean(scores).ap / 100, {"AP": table(scores)})


def by_frame(rows: Sequence[Row], found: Sequence[Found]) -> defaultdict[tuple[str, int], list[Found]]:
    """The people of each frame, by the clip's name and the frame's number; scores multiplied by those of the boxes."""
    people: defaultdict[tuple[str, int], list[Found]] = defaultdict(list)
    for row, joints in zip(rows, found, strict=True):
        scored = joints.copy()
        scored[:, 2] *= row.person.score
        people[row.clip.name, row.frame.number].append(scored)
    return people


def annotated(clip: Clip, frame: Frame) -> Annotated:
    """A frame as PoseTrack's measure takes it. Raises :class:`EngineError` for somebody without a box of the head."""
    headless = [place for place, person in enumerate(frame.people) if person.head is None]
    if headless:
        raise EngineError(
            f"{clip.name}: person {headless[0]} of frame {frame.name} has no box of the head; PoseTrack's AP needs it"
        )
    joints = np.stack([person.joints for person in frame.people]) if frame.people else np.zeros((0, 0, 3), np.float32)
    fifteen = convert(joints, clip.skeleton, _SCORED) if frame.people else np.zeros((0, 15, 3), np.float32)
    points = np.where(fifteen[..., 2:] > 0, fifteen[..., :2], np.nan).astype(np.float64)
    heads = [person.head for person in frame.people if person.head is not None]
    return Annotated(points, np.array(heads, np.float64).reshape(-1, 4), frame.ignored)


def predicted(people: Sequence[Found], skeleton: str = _SCORED) -> Predicted:
    """What was found in a frame; joints that ``skeleton`` lacks were not predicted."""
    if not people:
        return Predicted(np.zeros((0, 15, 2)), np.zeros((0, 15)))
    joints = convert(np.stack(people), skeleton, _SCORED).astype(np.float64)
    has = np.array([joint in SKELETONS[skeleton].joints for joint in JOINTS])
    return Predicted(np.where(has[:, None], joints[..., :2], np.nan), joints[..., 2])


# -- PCK --------------------------------------------------------------------------------------------------------------


def alpha_of(data: Labelled) -> float:
    """The limit of PCK by which networks are compared: the papers' on Sub-JHMDB, a stricter one elsewhere."""
    return 0.2 if isinstance(data, Jhmdb) else 0.1


def by_pck(rows: Sequence[Row], found: Sequence[Found], skeleton: str, alpha: float) -> Verdict:
    """PCK by the person's size at three limits, ``alpha`` being the one that counts."""
    lines = {f"PCK@{limit}": pck(rows, found, skeleton, limit, box_size) for limit in ALPHAS}
    return Verdict(f"PCK@{alpha}", lines[f"PCK@{alpha}"]["Mean"] / 100, lines)


def further_lines(data: Labelled, rows: Sequence[Row], found: Sequence[Found], skeleton: str) -> dict[str, Columns]:
    """What the field measures on true boxes besides: PCK by the torso on Sub-JHMDB, PCKh where there are heads."""
    asked: dict[str, tuple[float, SizeOf]] = {}
    if isinstance(data, Jhmdb):
        asked["torso PCK@0.2"] = (0.2, torso_size)
    if all(row.person.head is not None for row in rows):
        asked["PCKh@0.5"] = (0.5, head_size)
    return {name: pck(rows, found, skeleton, *told) for name, told in asked.items()}
