"""The training of networks that find people in whole pictures, drawn or of a labelled data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.console import Console
from torch import nn

from engines.datasets.config import Dataset
from engines.errors import EngineError
from engines.evaluation.whole_pictures import select_pictures
from engines.losses.inspose import People
from engines.skeletons import SKELETONS
from engines.spec.network import NetworkSpec
from engines.training.batches import Samples
from engines.training.clip_cache import load_or_draw
from engines.training.drawn_pictures import PEOPLE, PictureSettings
from engines.training.picture_objective import PictureObjective
from engines.training.picture_samples import LabelledPictures, PictureBatch, PictureSamples
from engines.training.picture_validation import DrawnPictureValidator, PictureValidator, draw_validation_pictures
from engines.training.recipe import Recipe, Resizing, Synthetic
from engines.training.task import progress_bar
from engines.training.tensorboard import Picture, draw_people
from engines.training.validation import Validator

EXAMPLES = 8
"""Pictures in each epoch's preview."""
_CROWD = 8
"""People in each example picture, by which memory is estimated."""


@dataclass(frozen=True)
class PictureTask:
    """A :class:`engines.training.task.Task`."""

    recipe: Recipe
    spec: NetworkSpec

    def __post_init__(self) -> None:
        if self.recipe.augmentation.is_geometric:
            raise EngineError(
                f"recipe of {self.recipe.network}: half_body, scale and rotation are for networks of crops; give "
                "resizing instead"
            )
        if self.spec.horizon:
            raise EngineError(
                f"recipe of {self.recipe.network}: horizon={self.spec.horizon} is for networks of crops, but it takes "
                "whole pictures; leave it out"
            )

    @property
    def resizing(self) -> Resizing:
        """The recipe's, or always the size of the network's entry."""
        short, long = sorted(self.spec.input_size)
        return self.recipe.resizing or Resizing(short=(short, short), long=long)

    def make_objective(self, model: nn.Module) -> PictureObjective:
        """The losses of the network's paper."""
        return PictureObjective.from_recipe(self.recipe, model)

    def make_example(self, count: int) -> PictureBatch:
        """Black pictures of the largest size, with a row of people."""
        width, height = self.spec.input_size
        k = len(SKELETONS[self.spec.skeleton])
        boxes = torch.tensor([[i / _CROWD, 0.3, (i + 1) / _CROWD, 0.7] for i in range(_CROWD)])
        boxes = boxes * torch.tensor([width, height] * 2)
        places = torch.linspace(0, 1, k)[:, None]
        points = boxes[:, None, :2] * (1 - places) + boxes[:, None, 2:] * places
        joints = torch.cat((points, torch.full((_CROWD, k, 1), 2.0)), dim=2)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        return PictureBatch(torch.zeros(count, 3, height, width), (People(joints, boxes, areas),) * count)

    def load_data(self, workers: int, console: Console) -> tuple[Samples[PictureBatch], Validator]:
        """The pictures to train on, and the validator."""
        data = self.recipe.data
        if isinstance(data, Synthetic):
            return self._draw(data, workers, console)
        return self._read(data, workers, console)

    def draw_preview(self, objective: PictureObjective, validator: Validator) -> Picture:
        """A few pictures with all their people."""
        batch: PictureBatch = validator.examples(EXAMPLES)
        size = (batch.pictures.shape[3], batch.pictures.shape[2])
        found = objective.find(batch.pictures.to(next(objective.parameters()).device), [size] * len(batch.pictures))
        truth = [people.keypoints.numpy() for people in batch.people]
        return draw_people(batch.pictures, truth, [one.keypoints.cpu().numpy() for one in found], self.spec.skeleton)

    def _read(self, data: Dataset, workers: int, console: Console) -> tuple[PictureSamples, Validator]:
        skeleton = self.spec.skeleton
        clips = select_pictures(data)
        training = LabelledPictures(data.training_clips(), skeleton)
        samples = PictureSamples(training, self.resizing, skeleton, workers)
        held_out = PictureSamples(LabelledPictures(clips, skeleton), self.resizing, skeleton, workers)
        console.print(f"{data.folder}: {len(samples)} pictures to train on", soft_wrap=True)
        return samples, PictureValidator(held_out, data, clips, skeleton)

    def _draw(self, data: Synthetic, workers: int, console: Console) -> tuple[PictureSamples, Validator]:
        people, size, skeleton = data.people or PEOPLE, self.spec.input_size, self.spec.skeleton
        settings = PictureSettings(size, data.moments, people)
        seeds = range(data.first_scene, data.first_scene + data.scenes)
        with progress_bar(console) as bar:
            task = bar.add_task("drawing training pictures", total=data.scenes)
            drawn = load_or_draw(seeds, settings, lambda: bar.advance(task))
            bar.update(task, completed=data.scenes)  # cached scenes do not advance the bar
            held_out = draw_validation_pictures(data, size, people, bar)
        samples = PictureSamples(drawn, self.resizing, skeleton, workers)
        return samples, DrawnPictureValidator(
            {kind: PictureSamples(each, self.resizing, skeleton, workers) for kind, each in held_out.items()}
        )
