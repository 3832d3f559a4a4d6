"""How right a network is on a data set: PoseTrack's official AP where the data set is that, else PCK of the box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engines import geometry
from engines.datasets.clips import Clip, Frame
from engines.errors import EngineError
from engines.evaluation.posetrack import Annotated, Predicted, mean, score, table
from engines.metrics import HIDDEN, Pck, correct
from engines.skeletons import convert
from engines.training.clipsamples import ClipSamples
from engines.training.judging import ALPHAS, Marks, keypoints_in
from engines.training.objective import Objective
from engines.training.samples import Batch, spread

Singles = NDArray[np.float32]
Key = tuple[str, int]
"""A clip's name and a frame's number."""

_SCORED = "posetrack15"


def keypoints_of(objective: Objective, samples: ClipSamples, batch: int = 32) -> Iterator[Singles]:
    """(K, 3) of every row, in order: px in its frame by index, and the height of the heatmap."""
    for start in range(0, len(samples), batch):
        rows = np.arange(start, min(start + batch, len(samples)))
        places, heights = keypoints_in(objective, samples.batch(rows, None, np.random.default_rng(0)).crops)
        for row, points, height in zip(rows, places, heights, strict=True):
            found = geometry.transform(points, geometry.invert(samples.affine(int(row))))
            yield np.concatenate([found, height[:, None]], axis=1).astype(np.float32)


class PoseTrackExam:
    """The official AP of the people in ``samples`` (true boxes, or detected) against the annotated of ``truth``."""

    measure = "mean AP"

    def __init__(self, samples: ClipSamples, truth: Sequence[Clip]) -> None:
        self.samples = samples
        self._truth = {(clip.name, frame.number): annotated(clip, frame) for clip in truth for frame in clip.frames}

    def __call__(self, objective: Objective) -> Marks:
        """Mean AP over the 15 joints, 0 to 1; told by the columns of the papers."""
        people: dict[Key, list[Singles]] = defaultdict(list)
        for row, found in zip(self.samples.rows, keypoints_of(objective, self.samples), strict=True):
            joints = convert(found[None], self.samples.view.skeleton, _SCORED)[0]
            joints[:, 2] *= row.person.score
            people[row.clip.name, row.frame.number].append(joints)
        scores = score((frame, predicted(people[key])) for key, frame in self._truth.items())
        columns = table(scores)
        told = "AP: " + "  ".join(f"{name} {value:.1f}" for name, value in columns.items())
        return Marks(mean(scores).ap / 100, told, {"ap": columns})

    def examples(self, number: int) -> Batch:
        """Spread over all people."""
        return spread(self.samples, number)


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


def predicted(people: Sequence[Singles]) -> Predicted:
    """What was found in a frame: (15, 3) of each person."""
    joints = np.array(people, np.float64).reshape(-1, 15, 3)
    return Predicted(joints[..., :2], joints[..., 2])


class PckExam:
    """PCK by the longer side of the annotated box, as of Sub-JHMDB, at ``alpha``."""

    def __init__(self, samples: ClipSamples, alpha: float = 0.2) -> None:
        self.samples, self._alpha = samples, alpha
        self.measure = f"PCK@{alpha}"

    def __call__(self, objective: Objective) -> Marks:
        """The share of annotated joints within alpha; told at three of them."""
        counts = {alpha: Pck() for alpha in ALPHAS}
        for row, found in zip(self.samples.rows, keypoints_of(objective, self.samples), strict=True):
            judged, box = row.joints[None, :, 2] >= HIDDEN, np.array([[0.0, 0.0, *row.person.box[2:]]])
            for alpha in ALPHAS:
                near = correct(found[None], row.joints[None], box, alpha)
                counts[alpha] += Pck(int((near & judged).sum()), int(judged.sum()))
        told = "  ".join(f"PCK@{alpha} {100 * float(pck):.1f}" for alpha, pck in counts.items())
        row_of_log = {str(alpha): float(pck) for alpha, pck in counts.items()}
        return Marks(float(counts[self._alpha]), told, {"pck": row_of_log})

    def examples(self, number: int) -> Batch:
        """Spread over all people."""
        return spread(self.samples, number)
