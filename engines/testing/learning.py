"""``check_learns``: whether a temporal network learns what it is for, on eight drawn windows."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from engines.losses.heatmap import gaussian_heatmaps, heatmap_mse
from engines.models.hrnet import HRNet
from engines.models.temporal import TemporalModel
from engines.testing.responses import aligned_error, attention_gap, exchange_errors
from engines.training.batches import Batch, WindowSamples
from engines.training.gradients import find_dead_weights, measure_term_norms
from engines.training.objective import FEATURE_LEVEL, Objective, paper_terms
from engines.training.recipe import MutualInformation
from engines.training.synthetic_samples import Tracks, TrackSettings, concatenate, render_scene

WINDOWS = 8
SIZE = (32, 64)
STEPS = 40
RATE = 3e-3
SIGMA = 1.5
FPS = 15.0
FIRST_SCENE = 100_000

MAX_LEFT = 0.3
"""Of the error of empty heatmaps."""

MAX_ERROR_RATIO = 1.5
"""Of the error with auxiliary terms to that without."""

MAX_NORM_RATIO = 100.0
"""Of the gradient norms of two terms."""

MIN_RISE = 1.02
"""Of the error when a module's outputs are exchanged among people, after training; before, less than half as much."""

MIN_GAP = 0.05
"""By which the share that attention leaves of a sharp frame must exceed that of an occluded one more than before."""

MAX_MISALIGNED = 0.9
"""Of the difference of a shifted neighbour from the key frame, after alignment."""


@dataclass
class Learning:
    """What :func:`measure_learning` found; errors are heatmap losses.

    ``start`` is the error of empty heatmaps, ``plain`` after training with the heatmap loss alone, ``error`` with all
    terms. ``norms`` are the gradient norms of the terms without weights, medians over the training, and ``lowest``
    the least value of each. ``dead`` are weights without a gradient. ``rises`` are those of :func:`exchange_errors`
    by module, before and after training; ``misaligned`` and ``attention`` the pairs of :func:`aligned_error` and
    :func:`attention_gap`.
    """

    start: float
    plain: float
    error: float
    norms: dict[str, float]
    lowest: dict[str, float]
    dead: list[str]
    rises: dict[str, tuple[float, float]]
    misaligned: tuple[float, float] | None
    attention: tuple[float, float] | None
    model: TemporalModel
    """The network trained with all terms."""


def check_learns(
    model: TemporalModel,
    terms: Mapping[str, float] | None = None,
    information: MutualInformation | None = None,
    *,
    size: tuple[int, int] = SIZE,
    steps: int = STEPS,
) -> Learning:
    """Raise ``AssertionError`` naming what does not learn; return what was measured.

    Trains copies of ``model``, as it is initialised, on eight drawn windows for ``steps`` steps of Adam, with a random
    backbone that is frozen but for its layer for heatmaps, and requires that

    * no weight is without gradient;
    * the heatmap error falls to 0.3 of that of empty heatmaps, and with the auxiliary ``terms``, by default the paper's
      (:func:`engines.training.objective.paper_terms`), to within 1.5 times the error without them;
    * no term falls without bound, and the gradient norms of all, without their weights, are within a factor of 100 of
      each other;
    * the output of every module beside the backbone is the person's own: exchanged among people, it raises the error,
      more than before training;
    * a module that aligns a neighbour with the key frame can be trained to move a shifted one back, and attention to
      frames to prefer the sharp one.

    ``size`` is (width, height) px of a crop, multiples of 32. A network of one module a stage takes seconds.
    """
    found = measure_learning(model, terms, information, size=size, steps=steps)
    assert not found.dead, f"no gradient reaches the weights of {', '.join(found.dead)}"
    assert found.plain <= MAX_LEFT * found.start, (
        f"the error of {WINDOWS} windows is {found.plain:.2g} after {steps} steps, {found.start:.2g} of empty heatmaps"
    )
    for name, value in found.lowest.items():
        bound = -max(found.start, MAX_NORM_RATIO * found.plain)
        assert value >= bound, f"the term {name} fell to {value:.2g}, without a bound that suits errors"
    least, greatest = (choose(found.norms, key=found.norms.__getitem__) for choose in (min, max))
    assert found.norms[greatest] <= MAX_NORM_RATIO * found.norms[least], (
        f"the gradient of {greatest} is {found.norms[greatest] / max(found.norms[least], 1e-30):.0f} times that of "
        f"{least}; terms must be within {MAX_NORM_RATIO:.0f} of each other"
    )
    assert found.error <= MAX_ERROR_RATIO * found.plain, (
        f"with {', '.join(found.lowest)} the error of {WINDOWS} windows is {found.error:.2g}, without {found.plain:.2g}"
    )
    for name, (before, after) in found.rises.items():
        assert after >= max(MIN_RISE, 2 * before - 1), (
            f"exchanging {name} among people multiplies the error by {after:.3f} after training, by {before:.3f} before"
        )
    if found.misaligned is not None:
        before, after = found.misaligned
        assert after <= MAX_MISALIGNED * min(1.0, before), (
            f"alignment leaves {after:.0%} of the difference of a shifted neighbour after training, {before:.0%} before"
        )
    if found.attention is not None:
        before, after = found.attention
        assert after >= before + MIN_GAP, (
            f"attention leaves {after:.3f} more of a sharp frame than of another person's after training, {before:.3f} "
            "before"
        )
    return found


def measure_learning(
    model: TemporalModel,
    terms: Mapping[str, float] | None = None,
    information: MutualInformation | None = None,
    *,
    size: tuple[int, int] = SIZE,
    steps: int = STEPS,
) -> Learning:
    """Train as :func:`check_learns` does, and measure."""
    chosen = paper_terms(model) if terms is None else dict(terms)
    batch = draw_windows(model.frames, size, cast("HRNet", model.get_submodule("hrnet")).config.joints)
    start = randomise_backbone(deepcopy(model), batch.crops)
    chosen.pop(FEATURE_LEVEL, None)  # an error of heatmaps, too: with or without it, FaSRnet takes both of its levels
    plain = _Overfit(start, batch, {}, None)
    before = exchange_errors(plain.model, WINDOWS, plain.error)
    plain.train(steps)
    best = plain
    if chosen:
        best = _Overfit(start, batch, chosen, information)
        best.train(steps)
    after = exchange_errors(best.model, WINDOWS, best.error)
    return Learning(
        start=plain.error_of_nothing(),
        plain=plain.error(),
        error=best.error(),
        norms={name: median(values) for name, values in best.norms.items()},
        lowest={name: min(values) for name, values in best.values.items() if name in chosen},
        dead=find_dead_weights(best.model, best.optimiser),
        rises={name: (before[name], after[name]) for name in after},
        misaligned=aligned_error(deepcopy(start), batch.crops[:, start.key], steps, RATE),
        attention=attention_gap(deepcopy(start), batch.crops[:, start.key], steps, RATE),
        model=best.model,
    )


class _Overfit:
    """A copy of ``model``, trained on one batch."""

    def __init__(
        self, model: TemporalModel, batch: Batch, terms: dict[str, float], information: MutualInformation | None
    ) -> None:
        self.model, self.batch = deepcopy(model), batch
        self.objective = Objective(type(model).__name__, self.model, SIGMA, "heatmap", terms, information)
        self.learning = [value for value in self.model.parameters() if value.requires_grad]
        self.optimiser = torch.optim.Adam(self.learning, RATE)
        self.norms: dict[str, list[float]] = {}
        self.values: dict[str, list[float]] = {}

    def train(self, steps: int) -> None:
        self._set_mode()
        for step in range(steps):
            if step % max(1, steps // 5) == 0:
                weights = self.objective.term_weights
                for name, norm in measure_term_norms(self.objective, self.batch.inputs, self.learning).items():
                    self.norms.setdefault(name, []).append(norm / weights[name])
            terms = self.objective(*self.batch.inputs)
            for name, value in terms.items():
                self.values.setdefault(name, []).append(float(value.detach()))
            self.optimiser.zero_grad()
            terms["total"].backward()
            self.optimiser.step()

    def error(self) -> float:
        """The heatmap loss, with the batch's own statistics."""
        self._set_mode()
        with torch.no_grad():
            return float(self.objective(*self.batch.inputs)["heatmap"])

    def error_of_nothing(self) -> float:
        """The heatmap loss of empty heatmaps."""
        crops, joints = self.batch.inputs
        width, height = crops.shape[4] // 4, crops.shape[3] // 4
        targets, weights = gaussian_heatmaps(
            joints[..., :2].flatten(0, 1), (joints[..., 2] > 0).float().flatten(), (width, height), SIGMA
        )
        return float(heatmap_mse(torch.zeros_like(targets)[None], targets[None], weights[None]))

    def _set_mode(self) -> None:
        self.objective.train()
        self.model.get_submodule("hrnet").eval()


def draw_windows(frames: tuple[int, ...], size: tuple[int, int], joints: int) -> Batch:
    """Eight windows of ``frames`` of synthetic people, crops of ``size`` (width, height) px, the last ``joints``."""
    settings = TrackSettings(size=size, frames=2 * max(map(abs, frames)) + 1, moments=2, fps=FPS)
    scenes: list[Tracks] = []
    while sum(map(len, scenes)) < WINDOWS:
        scenes.append(render_scene(FIRST_SCENE + len(scenes), settings))
    batch = WindowSamples(concatenate(scenes), frames).batch(np.arange(WINDOWS), None, np.random.default_rng(0))
    return Batch(batch.crops, batch.joints[:, -joints:])


def randomise_backbone(model: TemporalModel, crops: Tensor) -> TemporalModel:
    """Give ``model.hrnet`` random weights that keep the scale of ``crops`` (B, T, 3, H, W), and freeze all but its
    layer for heatmaps, which begins near 0."""
    hrnet = cast("HRNet", model.get_submodule("hrnet"))
    generator = torch.Generator().manual_seed(0)
    normalisations = [layer for layer in hrnet.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in hrnet.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
        for normalisation in normalisations:
            nn.init.ones_(normalisation.weight)
            normalisation.momentum = None  # the statistics of this one batch
        hrnet.train()
        hrnet(crops.flatten(0, 1))
        nn.init.normal_(hrnet.final_layer.weight, std=0.01, generator=generator)
        nn.init.zeros_(cast("Tensor", hrnet.final_layer.bias))
    hrnet.requires_grad_(False).eval()
    hrnet.final_layer.requires_grad_(True)
    return model
