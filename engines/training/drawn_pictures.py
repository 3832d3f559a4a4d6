"""Whole pictures of synthetic people: training data for networks that find everybody in a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS, Kind, random_conditions
from engines.datasets.synthetic.moments import CLIP_S, MIN_VISIBLE, create_rng
from engines.datasets.synthetic.scene import Picture, Scene
from engines.evaluation.coco import BODY_OF_BOX
from engines.metrics import VISIBLE
from engines.training.picture_samples import WholePicture
from engines.vision.crop import HALF_PIXEL

PEOPLE: Final = (1, 8)
"""The fewest and the most people of a scene, unless the recipe says otherwise."""


@dataclass(frozen=True)
class DrawnPictures:
    """P pictures of M people in all. ``pixels`` (P, H, W, 3) uint8 BGR; ``counts`` (P,) int64, how many people each
    has; ``joints`` (M, 17, 3) and ``boxes`` (M, 4) float32, one picture's people after the other's, as in
    :class:`engines.training.picture_samples.WholePicture`."""

    pixels: NDArray[np.uint8]
    counts: NDArray[np.int64]
    joints: NDArray[np.float32]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> WholePicture:
        """One picture; a body covers 0.53 of its box."""
        end = int(self.counts[: index + 1].sum())
        people = slice(end - int(self.counts[index]), end)
        joints, boxes = np.array(self.joints[people]), np.array(self.boxes[people])
        areas = (BODY_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).prod(1)).astype(np.float32)
        return WholePicture(np.array(self.pixels[index]), joints, boxes, areas)


@dataclass(frozen=True)
class PictureSettings:
    """What to draw: ``moments`` of each scene of ``people[0]`` to ``people[1]`` people, in pictures of ``size`` (width,
    height) px. ``kind`` selects the conditions, None draws them at random."""

    size: tuple[int, int]
    moments: int = 6
    people: tuple[int, int] = PEOPLE
    kind: Kind | None = None


def draw_scene(seed: int, settings: PictureSettings) -> DrawnPictures:
    """The pictures of a seed's scene.

    People with fewer than four visible joints are not annotated: they count neither as found nor as missed.
    """
    rng = create_rng(seed)
    conditions = CONDITIONS[settings.kind] if settings.kind else random_conditions(rng)
    low, high = settings.people
    scene = Scene(seed, int(rng.integers(low, high + 1)), *settings.size, conditions=conditions)
    return stack_pictures(_draw(scene, settings.moments, rng))


def _draw(scene: Scene, moments: int, rng: np.random.Generator) -> Iterator[Picture]:
    for moment in range(moments):
        yield scene.at(float(rng.uniform(0, CLIP_S)), moment)


def stack_pictures(pictures: Iterator[Picture]) -> DrawnPictures:
    """Drawn pictures of one size as arrays."""
    drawn = list(pictures)
    joints = np.concatenate([picture.keypoints for picture in drawn]).astype(np.float32)
    joints[..., :2] -= HALF_PIXEL
    joints[(joints[..., 2] == VISIBLE).sum(1) < MIN_VISIBLE] = 0
    boxes = np.concatenate([picture.boxes for picture in drawn]).astype(np.float32) - np.float32(HALF_PIXEL)
    counts = np.array([len(picture.boxes) for picture in drawn], np.int64)
    return DrawnPictures(np.stack([picture.pixels for picture in drawn]), counts, joints, boxes)
