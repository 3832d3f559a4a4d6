"""Validation during training, on labelled data sets and on synthetic people; ``posestream eval`` uses the same metrics.

Each validator is a callable from an objective to :class:`Metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from engines.datasets.clips import Clip
from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.evaluation import scores
from engines.evaluation.synthetic import Counts, SyntheticScores, count_near, zero_counts
from engines.metrics import HIDDEN, VISIBLE
from engines.training.batches import Batch, WindowSamples, pick_spread
from engines.training.clip_cache import load_or_render
from engines.training.dataset_samples import ClipSamples
from engines.training.objective import Objective
from engines.training.recipe import Synthetic
from engines.training.synthetic_samples import Tracks, TrackSettings
from engines.vision import crop, heatmaps

Decoder = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Heatmaps (B, J, h, w) to cells (B, J, 2) and peaks (B, J)."""
_BATCH = 32


@dataclass(frozen=True)
class Metrics:
    """The result of a validation: ``mean``, by which epochs are compared, a one-line ``summary``, ``values`` to log."""

    mean: float
    summary: str
    values: dict[str, Any]


class Validator(Protocol):
    """Measures how good a network is. ``metric`` names the mean."""

    metric: str

    def __call__(self, objective: Any) -> Metrics:
        """The metrics of a network, given the objective of its task."""
        ...

    def examples(self, number: int) -> Any:
        """About ``number`` samples for a preview, always the same."""
        ...


# -- labelled data sets -----------------------------------------------------------------------------------------------


class PoseTrackValidator:
    """The official AP of the people in ``samples`` (true or detected boxes) against the annotations of ``truth``."""

    metric = "mean AP"

    def __init__(self, samples: ClipSamples, truth: Sequence[Clip]) -> None:
        self.samples, self._truth = samples, truth
        # Annotations that the AP cannot use are reported before training, not after the first epoch.
        for clip in truth:
            for frame in clip.frames:
                scores.to_annotated(clip, frame)

    def __call__(self, objective: Objective) -> Metrics:
        """Mean AP over the 15 joints, 0 to 1; the summary has the columns of the papers."""
        predictions = list(predict_in_frames(objective, self.samples))
        result = scores.score_posetrack(self.samples.instances, predictions, self.samples.view.skeleton, self._truth)
        columns = result.tables["AP"]
        summary = "AP: " + "  ".join(f"{name} {value:.1f}" for name, value in columns.items())
        return Metrics(result.mean, summary, {"ap": dict(columns)})

    def examples(self, number: int) -> Batch:
        """Samples spread over all people."""
        return pick_spread(self.samples, number)


class PckValidator:
    """PCK by the longer side of the annotated box, as for Sub-JHMDB, at ``alpha``: the mean over the joints."""

    def __init__(self, samples: ClipSamples, alpha: float = 0.2) -> None:
        self.samples, self._alpha = samples, alpha
        self.metric = f"PCK@{alpha}"

    def __call__(self, objective: Objective) -> Metrics:
        """The share of annotated joints within alpha; the summary has three values of alpha."""
        predictions = list(predict_in_frames(objective, self.samples))
        result = scores.score_pck(self.samples.instances, predictions, self.samples.view.skeleton, self._alpha)
        means = {metric: columns["Mean"] for metric, columns in result.tables.items()}
        summary = "  ".join(f"{metric} {value:.1f}" for metric, value in means.items())
        values = {metric.removeprefix("PCK@"): value / 100 for metric, value in means.items()}
        return Metrics(result.mean, summary, {"pck": values})

    def examples(self, number: int) -> Batch:
        """Samples spread over all people."""
        return pick_spread(self.samples, number)


def predict_in_frames(objective: Objective, samples: ClipSamples, batch: int = _BATCH) -> Iterator[NDArray[np.float32]]:
    """(K, 3) for every sample, in order: px in its frame by index, and the peak of the heatmap clipped to 0..1."""
    for indices in _batches(len(samples), batch):
        keypoints, peaks = predict(objective, samples.batch(indices, None, np.random.default_rng(0)).crops)
        for index, points, peak in zip(indices, keypoints, peaks, strict=True):
            in_frame = crop.transform(points, crop.invert(samples.affine(int(index))))
            yield np.concatenate([in_frame, np.clip(peak, 0, 1)[:, None]], axis=1).astype(np.float32)


# -- synthetic people -------------------------------------------------------------------------------------------------


class SyntheticValidator:
    """PCK on held-out synthetic people under each condition."""

    metric = "mean PCK@0.1"

    def __init__(self, tracks: dict[Kind, Tracks], offsets: tuple[int, ...], horizon: int = 0) -> None:
        self._samples = {kind: WindowSamples(one, offsets, horizon) for kind, one in tracks.items()}
        self._sizes = {kind: one.sizes for kind, one in tracks.items()}

    def __call__(self, objective: Objective) -> Metrics:
        """The mean PCK at 0.1 over the conditions; the summary has one number for each."""
        result = SyntheticScores({kind: self._count(objective, kind) for kind in self._samples})
        numbers = (
            f"{kind} {100 * result.pck(kind, 0.1):.1f} ({100 * result.pck(kind, 0.1, HIDDEN):.1f})"
            for kind in result.counts
        )
        summary = "PCK@0.1 of visible (hidden) joints: " + "  ".join(numbers)
        names = {HIDDEN: "hidden", VISIBLE: "visible"}
        values = {
            kind: {f"{names[seen]}@{alpha}": float(pck) for (alpha, seen), pck in counts.items()}
            for kind, counts in result.counts.items()
        }
        return Metrics(result.mean(0.1), summary, {"pck": values})

    def examples(self, number: int) -> Batch:
        """The same number of samples from each condition."""
        each = -(-number // len(self._samples))
        kinds = [pick_spread(samples, each) for samples in self._samples.values() if len(samples)]
        return Batch(torch.cat([kind.crops for kind in kinds]), torch.cat([kind.joints for kind in kinds]))

    def _count(self, objective: Objective, kind: Kind) -> Counts:
        samples, sizes, counts = self._samples[kind], self._sizes[kind], zero_counts()
        for indices in _batches(len(samples), _BATCH):
            truth = samples.truth(indices)
            keypoints, _ = predict(objective, samples.batch(indices, None, np.random.default_rng(0)).crops)
            distances = np.hypot(*np.moveaxis(keypoints - truth[..., :2], -1, 0)) / sizes[indices, None]
            count_near(counts, distances.__le__, truth[..., 2])
        return counts


def render_validation_tracks(
    data: Synthetic, size: tuple[int, int], frames: int, workers: int, bar: Progress
) -> dict[Kind, Tracks]:
    """Tracks of each condition, cropped by true boxes, from scenes that are never trained on."""
    scenes = range(data.validation_scenes)
    task = bar.add_task("rendering validation scenes", total=len(CONDITIONS) * len(scenes))
    settings = {
        kind: TrackSettings(size=size, frames=frames, moments=2, fps=data.fps, kind=kind, jitter=False)
        for kind in CONDITIONS
    }
    tracks = {
        kind: load_or_render(scenes, setting, workers, lambda: bar.advance(task)) for kind, setting in settings.items()
    }
    bar.update(task, completed=len(CONDITIONS) * len(scenes))  # cached scenes do not advance the bar
    return tracks


# -- prediction -------------------------------------------------------------------------------------------------------


def predict(
    objective: Objective, crops: torch.Tensor, decode: Decoder = heatmaps.decode
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Keypoints in ``crops`` (B, T, 3, h, w): (B, J, 2) px in the crop by index, and the heatmaps' peaks (B, J)."""
    maps = _predict_heatmaps(objective, crops.to(next(objective.parameters()).device))
    cells, peaks = decode(maps)
    stride = (crops.shape[4] / maps.shape[3], crops.shape[3] / maps.shape[2])
    return heatmaps.cells_to_crop(cells, stride, "corner"), peaks


def _predict_heatmaps(objective: Objective, crops: torch.Tensor) -> NDArray[np.float32]:
    """(B, J, h, w) heatmaps in evaluation mode."""
    training = objective.training
    objective.eval()
    with torch.inference_mode():
        maps = objective.heatmaps(crops).float().cpu().numpy()
    objective.train(training)
    return np.asarray(maps, np.float32)


def _batches(count: int, size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
