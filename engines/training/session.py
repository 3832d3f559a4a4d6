"""A training as its user sees it: preparation, progress bars, scores, and the weights at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from engines.datasets.config import Dataset, PoseTrack
from engines.datasets.instances import list_instances
from engines.errors import EngineError
from engines.evaluation.scores import pck_alpha
from engines.hub import catalogue, checkpoints
from engines.spec import network
from engines.spec.network import NetworkSpec
from engines.training import checkpoint
from engines.training.batches import Samples, WindowSamples
from engines.training.clip_cache import load_or_render
from engines.training.dataset_samples import ClipSamples, View
from engines.training.distributed import ProcessGroup
from engines.training.head_init import init_from_single_frame
from engines.training.memory_check import check_memory
from engines.training.objective import Objective
from engines.training.recipe import Recipe, Synthetic, read_recipe
from engines.training.synthetic_samples import Tracks, TrackSettings
from engines.training.tensorboard import INSTALL, Board, draw_preview, open_board
from engines.training.trainer import Trainer
from engines.training.validation import (
    Metrics,
    PckValidator,
    PoseTrackValidator,
    SyntheticValidator,
    Validator,
    render_validation_tracks,
)

WEIGHTS = "weights.safetensors"
"""The result: the network with the best score, under this project's names, as 'posestream export' reads it."""

LOG = "log.jsonl"
EXAMPLES = 8
"""Windows in each epoch's preview."""


@dataclass
class Session:
    """A training that is ready to run. ``key_frame`` is the key frame's index in a window."""

    recipe: Recipe
    trainer: Trainer
    validator: Validator
    key_frame: int
    skeleton: str
    board: Board | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def run(self) -> None:
        """Train to the end; Ctrl-C saves the current state and raises ``KeyboardInterrupt``."""
        try:
            self._train()
        finally:
            if self.board is not None:
                self.board.close()
            self.trainer.group.close()

    def _train(self) -> None:
        with progress_bar(self.console) as bar:
            task = bar.add_task("training", total=self.trainer.steps, completed=self.trainer.state.step)

            def report(step: int, values: dict[str, float]) -> None:
                bar.update(task, completed=step, description=f"training, loss {values['total']:.4g}")
                self._log({"step": step, **values})
                if self.board is not None:
                    self.board.write_step(step, values)

            try:
                self.trainer.run(report, self.validate)
            except KeyboardInterrupt:
                step = self.trainer.saved_step or 0
                self.console.print(f"stopped after step {step}; run the same command to resume")
                raise
        self._finish()

    def validate(self, model: nn.Module) -> float:
        """Run the validator, print and log its metrics, and return their mean."""
        objective = Objective.from_recipe(self.recipe, model)
        metrics = self.validator(objective)
        self._report_metrics(metrics)
        if self.board is not None:
            step = self.trainer.state.step
            self.board.write_metrics(step, metrics.mean, self.validator.metric, metrics.values)
            examples = self.validator.examples(EXAMPLES)
            self.board.write_preview(step, draw_preview(objective, examples, self.key_frame, self.skeleton))
        return metrics.mean

    def _report_metrics(self, metrics: Metrics) -> None:
        epoch = -(-self.trainer.state.step // self.trainer.steps_per_epoch)
        self.console.print(f"epoch {epoch}: {metrics.summary}", soft_wrap=True)
        self._log({"step": self.trainer.state.step, **metrics.values})

    def _log(self, row: dict[str, Any]) -> None:
        if self.trainer.group.is_main_process:
            with (self.trainer.folder / LOG).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _finish(self) -> None:
        if not self.trainer.group.is_main_process:
            return
        weights, score = self.trainer.folder / WEIGHTS, self.trainer.state.best or 0.0
        best = self.trainer.folder / "best.safetensors"
        if best.exists():  # it does not if a finished training was extended without a better score
            best.replace(weights)
        self.console.print(f"{weights}: {self.validator.metric} {100 * score:.1f} %; to export it:", soft_wrap=True)
        # DARK decodes sub-cell positions, which targets of cross-entropy have.
        decode = " --decode dark" if self.recipe.loss == "cross-entropy" else ""
        self.console.print(f"posestream export {self.recipe.network} --weights {weights}{decode}", soft_wrap=True)


def prepare(
    path: Path,
    out: Path,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    workers: int = 2,
    tensorboard: bool | None = None,
) -> Session:
    """Everything before the first step, resuming from ``out`` if it has a checkpoint.

    ``epochs``, ``seed`` and ``data`` override the recipe. ``tensorboard``: whether to write curves and previews; by
    default if it is installed. Raises :class:`EngineError` for what cannot be trained.
    """
    group = ProcessGroup.from_environment()
    console = Console(stderr=True, highlight=False, quiet=not group.is_main_process)
    with group.fail_together():
        recipe = _override(path, read_recipe(path), data, epochs=epochs, seed=seed)
        _, spec = catalogue.find_network(recipe.network)
        torch.manual_seed(recipe.seed)
        model = network.build(recipe.network, spec)
        for initial in recipe.initial_weights:
            checkpoints.load_checkpoint(model, Path(initial.file).expanduser(), initial.layout, initial.into)
        check_memory(recipe, spec, model, group)
        samples, validator = load_data(recipe.data, spec, workers, console)
        _init_head(model, recipe, samples)
        out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, model, samples, out, group)
    with group.fail_together():
        if trainer.resume():
            console.print(f"{out}: resuming after step {trainer.state.step} of {trainer.steps}", soft_wrap=True)
        if group.is_main_process:
            checkpoint.truncate_log(out / LOG, trainer.state.step)
        board = open_board(out, trainer.state.step, tensorboard) if group.is_main_process else None
    if board is None and tensorboard is None:
        # Without markup, because of its square brackets.
        console.print(f"no TensorBoard curves: it is not installed; {INSTALL}", soft_wrap=True, markup=False)
    return Session(recipe, trainer, validator, spec.window.index(0), spec.skeleton, board, console)


def _override(path: Path, recipe: Recipe, root: Path | None, **values: int | None) -> Recipe:
    changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if root is not None:
        if isinstance(recipe.data, Synthetic):
            raise EngineError(f"recipe {path}: it trains on synthetic people, which have no folder; leave --data out")
        changes["data"] = msgspec.structs.replace(recipe.data, root=str(root))
    return msgspec.structs.replace(recipe, **changes)


def _init_head(model: nn.Module, recipe: Recipe, samples: Samples) -> None:
    if recipe.head_init == "single-frame":
        indices = np.arange(min(recipe.batch, len(samples)))
        init_from_single_frame(recipe.network, model, samples.batch(indices, None, np.random.default_rng(0)).crops)


# -- data -------------------------------------------------------------------------------------------------------------


def load_data(
    data: Synthetic | Dataset, spec: NetworkSpec, workers: int, console: Console
) -> tuple[Samples, Validator]:
    """The samples and the validator of a recipe's data for a network of ``spec``.

    Raises :class:`EngineError` naming what is missing or broken in a data set.
    """
    if isinstance(data, Synthetic):
        return _load_synthetic(data, spec, workers, console)
    view = View(spec.input_size, spec.window, spec.skeleton, data.border)
    samples = ClipSamples(list_instances(data.training_clips(), spec.skeleton), view, workers)
    validator = _dataset_validator(data, view, workers)
    console.print(f"{data.folder}: {len(samples)} people to train on", soft_wrap=True)
    return samples, validator


def _dataset_validator(data: Dataset, view: View, workers: int) -> Validator:
    truth = data.validation_clips()
    if isinstance(data, PoseTrack):
        instances = list_instances(data.input_clips(truth), view.skeleton, only_annotated=not data.detections)
        return PoseTrackValidator(ClipSamples(instances, view, workers), truth)
    return PckValidator(ClipSamples(list_instances(truth, view.skeleton), view, workers), pck_alpha(data))


def _load_synthetic(
    data: Synthetic, spec: NetworkSpec, workers: int, console: Console
) -> tuple[WindowSamples, SyntheticValidator]:
    frames = _frames_per_moment(data, spec)
    with progress_bar(console) as bar:
        tracks = _render_training_tracks(data, spec, frames, workers, bar)
        held_out = render_validation_tracks(data, spec.input_size, frames, workers, bar)
    converted = {kind: kind_tracks.as_skeleton(spec.skeleton) for kind, kind_tracks in held_out.items()}
    return WindowSamples(tracks.as_skeleton(spec.skeleton), spec.window), SyntheticValidator(converted, spec.window)


def _frames_per_moment(data: Synthetic, spec: NetworkSpec) -> int:
    needed = 2 * max(spec.past, spec.future) + 1
    if data.frames is not None and data.frames < needed:
        raise EngineError(
            f"recipe: data.frames={data.frames} is less than the {needed} that the network's window "
            f"{list(spec.window)} needs; set it to {needed}, or leave it out"
        )
    return data.frames or needed


def _render_training_tracks(data: Synthetic, spec: NetworkSpec, frames: int, workers: int, bar: Progress) -> Tracks:
    settings = TrackSettings(size=spec.input_size, frames=frames, moments=data.moments, fps=data.fps)
    seeds = range(data.first_scene, data.first_scene + data.scenes)
    task = bar.add_task("rendering training scenes", total=data.scenes)
    tracks = load_or_render(seeds, settings, workers, lambda: bar.advance(task))
    bar.update(task, completed=data.scenes)  # cached scenes do not advance the bar
    return tracks


def progress_bar(console: Console) -> Progress:
    """A bar with a count and the remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
