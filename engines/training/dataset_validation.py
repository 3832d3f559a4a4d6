"""How right a network is on a data set while it is trained; ``posestream eval model`` has the same judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip
from engines.evaluation import scores
from engines.training.batches import Batch, spread
from engines.training.dataset_samples import ClipSamples
from engines.training.objective import Objective
from engines.training.synthetic_validation import Marks, keypoints_in
from engines.vision import crop

Singles = NDArray[np.float32]


def keypoints_of(objective: Objective, samples: ClipSamples, batch: int = 32) -> Iterator[Singles]:
    """(K, 3) of every row, in order: px in its frame by index, and the height of the heatmap; 0 to 1, as in a line."""
    for start in range(0, len(samples), batch):
        rows = np.arange(start, min(start + batch, len(samples)))
        places, heights = keypoints_in(objective, samples.batch(rows, None, np.random.default_rng(0)).crops)
        for row, points, height in zip(rows, places, heights, strict=True):
            found = crop.transform(points, crop.invert(samples.affine(int(row))))
            yield np.concatenate([found, np.clip(height, 0, 1)[:, None]], axis=1).astype(np.float32)


class PoseTrackExam:
    """The official AP of the people in ``samples`` (true boxes, or detected) against the annotated of ``truth``."""

    measure = "mean AP"

    def __init__(self, samples: ClipSamples, truth: Sequence[Clip]) -> None:
        self.samples, self._truth = samples, truth
        # What cannot be judged is told before the training, not after its first epoch.
        for clip in truth:
            for frame in clip.frames:
                scores.annotated(clip, frame)

    def __call__(self, objective: Objective) -> Marks:
        """Mean AP over the 15 joints, 0 to 1; told by the columns of the papers."""
        found = list(keypoints_of(objective, self.samples))
        verdict = scores.posetrack(self.samples.rows, found, self.samples.view.skeleton, self._truth)
        columns = verdict.lines["AP"]
        told = "AP: " + "  ".join(f"{name} {value:.1f}" for name, value in columns.items())
        return Marks(verdict.mean, told, {"ap": dict(columns)})

    def examples(self, number: int) -> Batch:
        """Spread over all people."""
        return spread(self.samples, number)


class PckExam:
    """PCK by the longer side of the annotated box, as of Sub-JHMDB, at ``alpha``: the mean over the joints."""

    def __init__(self, samples: ClipSamples, alpha: float = 0.2) -> None:
        self.samples, self._alpha = samples, alpha
        self.measure = f"PCK@{alpha}"

    def __call__(self, objective: Objective) -> Marks:
        """The share of annotated joints within alpha; told at three of them."""
        found = list(keypoints_of(objective, self.samples))
        verdict = scores.by_pck(self.samples.rows, found, self.samples.view.skeleton, self._alpha)
        means = {measure: columns["Mean"] for measure, columns in verdict.lines.items()}
        told = "  ".join(f"{measure} {value:.1f}" for measure, value in means.items())
        row_of_log = {measure.removeprefix("PCK@"): value / 100 for measure, value in means.items()}
        return Marks(verdict.mean, told, {"pck": row_of_log})

    def examples(self, number: int) -> Batch:
        """Spread over all people."""
        return spread(self.samples, number)
