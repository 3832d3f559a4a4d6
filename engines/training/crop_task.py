"""The training of networks that read crops of one person: windows of synthetic people or of a labelled data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from engines.datasets.config import Dataset, PoseTrack
from engines.datasets.instances import list_instances
from engines.errors import EngineError
from engines.evaluation.scores import pck_alpha
from engines.skeletons import SKELETONS
from engines.spec.network import NetworkSpec
from engines.training.batches import Batch, Samples, WindowSamples
from engines.training.clip_cache import load_or_render
from engines.training.dataset_samples import ClipSamples, View
from engines.training.objective import Objective
from engines.training.recipe import Recipe, Synthetic
from engines.training.synthetic_samples import Tracks, TrackSettings
from engines.training.task import progress_bar
from engines.training.tensorboard import Picture, draw_preview
from engines.training.validation import (
    PckValidator,
    PoseTrackValidator,
    SyntheticValidator,
    Validator,
    render_validation_tracks,
)

EXAMPLES = 8
"""Windows in each epoch's preview."""


@dataclass(frozen=True)
class CropTask:
    """A :class:`engines.training.task.Task`."""

    recipe: Recipe
    spec: NetworkSpec

    def __post_init__(self) -> None:
        drawn = self.recipe.data if isinstance(self.recipe.data, Synthetic) else None
        given = {"resizing": self.recipe.resizing, "data.people": drawn and drawn.people}
        if odd := [name for name, value in given.items() if value is not None]:
            raise EngineError(
                f"recipe of {self.recipe.network}: {odd[0]} is for networks of whole pictures; leave it out"
            )
        if self.spec.horizon and drawn is None:
            raise EngineError(
                f"recipe of {self.recipe.network}: horizon={self.spec.horizon} is for synthetic people, but its data "
                "are a labelled data set, few of which have labels in every frame; leave it out"
            )

    def make_objective(self, model: nn.Module) -> Objective:
        """The heatmap loss of the network's paper with the recipe's further terms."""
        return Objective.from_recipe(self.recipe, model)

    def make_example(self, count: int) -> Batch:
        """Black windows."""
        width, height = self.spec.input_size
        crops = torch.zeros(count, len(self.spec.window), 3, height, width)
        return Batch(crops, torch.full((count, len(SKELETONS[self.spec.skeleton]), 3), 2.0))

    def load_data(self, workers: int, console: Console) -> tuple[Samples[Batch], Validator]:
        """The windows to train on, and the validator."""
        return load_data(self.recipe.data, self.spec, workers, console)

    def draw_preview(self, objective: Objective, validator: Validator) -> Picture:
        """The key frames of a few windows."""
        examples = validator.examples(EXAMPLES)
        return draw_preview(objective, examples, self.spec.window.index(0), self.spec.skeleton)


def load_data(
    data: Synthetic | Dataset, spec: NetworkSpec, workers: int, console: Console
) -> tuple[Samples[Batch], Validator]:
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
    return (
        WindowSamples(tracks.as_skeleton(spec.skeleton), spec.window, spec.horizon),
        SyntheticValidator(converted, spec.window, spec.horizon),
    )


def _frames_per_moment(data: Synthetic, spec: NetworkSpec) -> int:
    needed = 2 * max(spec.past, spec.future, spec.horizon) + 1
    if data.frames is not None and data.frames < needed:
        raise EngineError(
            f"recipe: data.frames={data.frames} is less than the {needed} that the network's window "
            f"{list(spec.window)} and horizon {spec.horizon} need; set it to {needed}, or leave it out"
        )
    return data.frames or needed


def _render_training_tracks(data: Synthetic, spec: NetworkSpec, frames: int, workers: int, bar: Progress) -> Tracks:
    settings = TrackSettings(size=spec.input_size, frames=frames, moments=data.moments, fps=data.fps)
    seeds = range(data.first_scene, data.first_scene + data.scenes)
    task = bar.add_task("rendering training scenes", total=data.scenes)
    tracks = load_or_render(seeds, settings, workers, lambda: bar.advance(task))
    bar.update(task, completed=data.scenes)  # cached scenes do not advance the bar
    return tracks
