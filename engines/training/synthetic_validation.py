"""How right a network is on drawn people that it never saw: PCK by what makes them hard to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import nn

from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.metrics import ALPHAS, HIDDEN, VISIBLE, Pck
from engines.training.batches import Batch, WindowSamples, spread
from engines.training.clip_cache import filmed
from engines.training.objective import Objective
from engines.training.recipe import Recipe, Synthetic
from engines.training.synthetic_samples import Filming, Tracks
from engines.vision import heatmaps


@dataclass(frozen=True)
class Marks:
    """What an exam gives: ``mean``, by which trainings are compared; the same in words, and as a row of the log."""

    mean: float
    told: str
    row: dict[str, Any]


class Exam(Protocol):
    """How right a network is. ``measure`` names what the mean is of."""

    measure: str

    def __call__(self, objective: Objective) -> Marks:
        """The marks of a network."""
        ...

    def examples(self, number: int) -> Batch:
        """About so many windows to be looked at, always the same."""
        ...


@dataclass(frozen=True)
class Score:
    """Of one kind of scene: counts by (alpha, visibility)."""

    counts: dict[tuple[float, int], Pck]

    def pck(self, alpha: float, visibility: int = VISIBLE) -> float:
        """The share of joints of that visibility within alpha; NaN where there are none."""
        return float(self.counts[alpha, visibility])


class DrawnExam:
    """Drawn people that nothing was trained on, of each of the named conditions."""

    measure = "mean PCK@0.1"

    def __init__(self, tests: dict[Kind, Tracks], offsets: tuple[int, ...]) -> None:
        self._tests, self._offsets = tests, offsets

    def __call__(self, objective: Objective) -> Marks:
        """The mean PCK at 0.1 over the conditions; told as a number for each."""
        scores = judge(objective, self._offsets, self._tests)
        numbers = (
            f"{kind} {100 * score.pck(0.1):.1f} ({100 * score.pck(0.1, HIDDEN):.1f})" for kind, score in scores.items()
        )
        told = "PCK@0.1 of visible (hidden) joints: " + "  ".join(numbers)
        return Marks(mean_pck(scores), told, {"pck": {kind: _row(score) for kind, score in scores.items()}})

    def examples(self, number: int) -> Batch:
        """As many of each of the conditions."""
        each = -(-number // len(self._tests))
        kinds = [spread(WindowSamples(tracks, self._offsets), each) for tracks in self._tests.values() if len(tracks)]
        return Batch(torch.cat([kind.crops for kind in kinds]), torch.cat([kind.joints for kind in kinds]))


def _row(score: Score) -> dict[str, float]:
    names = {HIDDEN: "hidden", VISIBLE: "visible"}
    return {f"{names[seen]}@{alpha}": score.pck(alpha, seen) for alpha, seen in score.counts}


def film_tests(data: Synthetic, size: tuple[int, int], frames: int, workers: int, bar: Progress) -> dict[Kind, Tracks]:
    """Tracks of each of the named conditions, of true boxes, from scenes that nothing is trained on."""
    scenes = range(data.judged_scenes)
    task = bar.add_task("drawing the exam", total=len(CONDITIONS) * len(scenes))
    tests = {
        kind: filmed(scenes, _filming(data, size, frames, kind), workers, lambda: bar.advance(task))
        for kind in CONDITIONS
    }
    bar.update(task, completed=len(CONDITIONS) * len(scenes))  # also where they had been drawn before
    return tests


def _filming(data: Synthetic, size: tuple[int, int], frames: int, kind: Kind) -> Filming:
    return Filming(size=size, frames=frames, moments=2, fps=data.fps, kind=kind, jitter=False)


def judge(
    objective: Objective, offsets: tuple[int, ...], tests: dict[Kind, Tracks], batch: int = 32
) -> dict[Kind, Score]:
    """The score of a network on each kind."""
    return {kind: _score(objective, WindowSamples(tracks, offsets), tracks, batch) for kind, tracks in tests.items()}


def mean_pck(scores: dict[Kind, Score], alpha: float = 0.1) -> float:
    """Over the kinds, visible joints."""
    return float(np.mean([score.pck(alpha) for score in scores.values()]))


def _score(objective: Objective, samples: WindowSamples, tracks: Tracks, batch: int) -> Score:
    counts = {(alpha, visibility): Pck() for alpha in ALPHAS for visibility in (HIDDEN, VISIBLE)}
    for start in range(0, len(samples), batch):
        rows = np.arange(start, min(start + batch, len(samples)))
        truth = tracks.joints[rows, tracks.joints.shape[1] // 2]
        away = _distances(objective, samples, rows, truth) / tracks.sizes[rows, None]
        for alpha, visibility in counts:
            judged = truth[..., 2] == visibility
            counts[alpha, visibility] += Pck(int(((away <= alpha) & judged).sum()), int(judged.sum()))
    return Score(counts)


def _distances(
    objective: Objective, samples: WindowSamples, rows: NDArray[np.intp], truth: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(B, J) px in the crop between what is decoded and the truth."""
    found, _ = keypoints_in(objective, samples.batch(rows, None, np.random.default_rng(0)).crops)
    return np.asarray(np.hypot(*np.moveaxis(found - truth[..., :2], -1, 0)), np.float64)


def keypoints_in(objective: Objective, crops: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """What a network finds in ``crops`` (B, T, 3, h, w): (B, J, 2) px in the crop by index, and (B, J) the height of
    each joint's heatmap."""
    maps = answered(objective, crops.to(next(objective.parameters()).device))
    cells, heights = heatmaps.decode(maps)
    stride = (crops.shape[4] / maps.shape[3], crops.shape[3] / maps.shape[2])
    return heatmaps.cells_to_crop(cells, stride, "corner"), heights


def answered(objective: Objective, crops: torch.Tensor) -> NDArray[np.float32]:
    """(B, J, h, w) heatmaps, as when it runs."""
    training = objective.training
    objective.eval()
    with torch.inference_mode():
        maps = objective.heatmaps(crops).float().cpu().numpy()
    objective.train(training)
    return np.asarray(maps, np.float32)


def objective_of(recipe: Recipe, model: nn.Module) -> Objective:
    """The same arithmetic around another network, such as the mean over steps."""
    return Objective(recipe.network, model, recipe.sigma, recipe.loss, dict(recipe.terms))
