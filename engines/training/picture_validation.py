"""Validation of networks of whole pictures: COCO's AP of the people they find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.progress import Progress

from engines.datasets.clips import Clip
from engines.datasets.config import Dataset
from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.evaluation import coco
from engines.evaluation.whole_pictures import evaluate_pictures, score_drawn, to_documents, truth_documents
from engines.inference.single_stage import DetectedPeople
from engines.training.batches import pick_spread
from engines.training.clip_cache import load_or_draw
from engines.training.drawn_pictures import DrawnPictures, PictureSettings
from engines.training.picture_objective import PictureObjective
from engines.training.picture_samples import PictureBatch, PictureSamples, collate, resize, to_sample
from engines.training.recipe import Synthetic
from engines.training.validation import Metrics
from engines.vision.crop import HALF_PIXEL

MOMENTS = 2
"""Pictures of each held-out scene."""


class PictureValidator:
    """AP on the pictures of ``clips``, which ``samples`` read, against the annotations of ``data``."""

    metric = "AP"

    def __init__(self, samples: PictureSamples, data: Dataset, clips: Sequence[Clip], skeleton: str) -> None:
        self._samples, self._data, self._clips, self._skeleton = samples, data, clips, skeleton

    def __call__(self, objective: PictureObjective) -> Metrics:
        """AP, 0 to 1; the summary has all ten numbers."""
        found = list(find_people(objective, self._samples))
        result = evaluate_pictures(self._data, self._clips, found, self._skeleton).scores
        (columns,) = result.tables.values()
        summary = "  ".join(f"{name} {value:.1f}" for name, value in columns.items())
        return Metrics(
            result.mean, summary, {"ap": {name: value / 100 for name, value in columns.items() if not np.isnan(value)}}
        )

    def examples(self, number: int) -> PictureBatch:
        """Pictures spread over all."""
        return pick_spread(self._samples, number)


class DrawnPictureValidator:
    """The mean AP over the conditions of drawn pictures that are never trained on."""

    metric = "mean AP"

    def __init__(self, samples: Mapping[Kind, PictureSamples]) -> None:
        self._samples = samples
        coco.check_installed()  # before the first epoch, not after it

    def __call__(self, objective: PictureObjective) -> Metrics:
        """AP under each condition."""
        scores = {kind: _score(objective, samples) for kind, samples in self._samples.items()}
        values = {kind: numbers for kind, numbers in scores.items() if numbers}
        summary = "AP (AP50): " + "  ".join(
            f"{kind} {100 * numbers['AP']:.1f} ({100 * numbers['AP50']:.1f})" for kind, numbers in values.items()
        )
        mean = float(np.mean([numbers["AP"] for numbers in values.values()])) if values else 0.0
        return Metrics(mean, summary, {"ap": values})

    def examples(self, number: int) -> PictureBatch:
        """Pictures of the first condition."""
        return pick_spread(next(iter(self._samples.values())), number)


def _score(objective: PictureObjective, samples: PictureSamples) -> dict[str, float]:
    """COCO's numbers, without those of sizes that no person has; empty if no person is annotated."""
    truth, found = [], []
    for index, people in enumerate(find_people(objective, samples)):
        picture = samples.pictures.read(index)
        truth += truth_documents(index, picture.joints, picture.boxes)
        found += to_documents(index, people)
    numbers = score_drawn(truth, found, len(samples))
    return {name: value for name, value in numbers.items() if not np.isnan(value)}


def find_people(objective: PictureObjective, samples: PictureSamples) -> Iterator[DetectedPeople]:
    """The people of each picture in its own continuous px, as an engine gives them; one picture at a time."""
    device = next(objective.parameters()).device
    for index in range(len(samples)):
        picture = samples.pictures.read(index)
        resized = resize(picture, samples.resizing.sides[-1], samples.resizing.long)
        (height, width), (old_height, old_width) = resized.pixels.shape[:2], picture.pixels.shape[:2]
        (found,) = objective.find(collate([to_sample(resized)]).pictures.to(device), [(width, height)])
        factors = np.array([width / old_width, height / old_height])
        scores = found.scores.cpu().numpy()
        points = found.keypoints.cpu().numpy() / factors + HALF_PIXEL
        joints = np.concatenate([points, np.broadcast_to(scores[:, None, None], (*points.shape[:2], 1))], axis=2)
        boxes = found.boxes.cpu().numpy() / np.tile(factors, 2)
        yield DetectedPeople(boxes.astype(np.float32), scores, joints.astype(np.float32))


def draw_validation_pictures(
    data: Synthetic, size: tuple[int, int], people: tuple[int, int], bar: Progress
) -> dict[Kind, DrawnPictures]:
    """Pictures of ``size`` under each condition, from scenes that are never trained on."""
    scenes = range(data.validation_scenes)
    task = bar.add_task("drawing validation pictures", total=len(CONDITIONS) * len(scenes))
    pictures = {
        kind: load_or_draw(scenes, PictureSettings(size, MOMENTS, people, kind), lambda: bar.advance(task))
        for kind in CONDITIONS
    }
    bar.update(task, completed=len(CONDITIONS) * len(scenes))  # cached scenes do not advance the bar
    return pictures
