"""Samples of whole pictures for single-stage networks: resized to random sizes, flipped, with all their people.

The papers resize so that the shorter side has one of several lengths and the longer one at most a given one, and flip
half of the pictures; they neither rotate nor crop (InsPose, Sec. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.datasets.clips import Clip, Frame
from engines.datasets.pictures import read_pictures
from engines.errors import EngineError
from engines.evaluation.coco import BODY_OF_BOX
from engines.losses.inspose import People
from engines.skeletons import SKELETONS, convert
from engines.spec.picture_signature import STRIDE
from engines.training.batches import jitter_colour, normalise
from engines.training.recipe import Augmentation, Resizing

Floats = NDArray[np.float32]


class WholePicture(NamedTuple):
    """``pixels`` (H, W, 3) uint8 BGR, and its n people in index coordinates: ``joints`` (n, K, 3) px and visibility,
    which is 0 where not annotated; ``boxes`` (n, 4) x1, y1, x2, y2 px; ``areas`` (n,) px² of their bodies."""

    pixels: NDArray[np.uint8]
    joints: Floats
    boxes: Floats
    areas: Floats


class Pictures(Protocol):
    """Annotated pictures by index."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> WholePicture:
        """One picture. Raises :class:`EngineError` if it cannot be read."""
        ...


class LabelledPictures:
    """The labelled frames of ``clips`` with the joints of ``skeleton``; ``frames`` are pairs of clip and frame."""

    def __init__(self, clips: Sequence[Clip], skeleton: str) -> None:
        self.frames: list[tuple[Clip, Frame]] = [(clip, frame) for clip in clips for frame in clip.frames]
        self._skeleton = skeleton
        if not self.frames:
            raise EngineError("there are no pictures with annotated people to train or evaluate on")

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> WholePicture:
        """One frame."""
        clip, frame = self.frames[index]
        (pixels,) = read_pictures([clip.pictures[frame.number]])
        if not frame.people:
            return WholePicture(pixels, *_no_people(len(SKELETONS[self._skeleton])))
        joints = convert(np.stack([person.joints for person in frame.people]), clip.skeleton, self._skeleton)
        boxes = np.stack([person.box for person in frame.people]).astype(np.float32)
        bodies = BODY_OF_BOX * boxes[:, 2:].prod(1)
        known = np.array([np.nan if person.area is None else person.area for person in frame.people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return WholePicture(pixels, joints, boxes, np.where(np.isnan(known), bodies, known))


def _no_people(joints: int) -> tuple[Floats, Floats, Floats]:
    return np.zeros((0, joints, 3), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


@dataclass(frozen=True)
class PictureBatch:
    """``pictures`` (B, 3, H, W) float32 RGB, normalised, padded to the right and below with 0 to multiples of 32;
    ``people`` of each, in its pixels, with their annotated boxes."""

    pictures: Tensor
    people: tuple[People, ...]

    @property
    def inputs(self) -> tuple[Tensor, tuple[People, ...]]:
        """The arguments of an objective of whole pictures."""
        return self.pictures, self.people

    def to(self, device: torch.device) -> PictureBatch:
        """The same batch on another device."""
        people = tuple(each.to(device) for each in self.people)
        return PictureBatch(self.pictures.to(device, non_blocking=True), people)


class PictureSamples:
    """:class:`engines.training.batches.Samples` of whole ``pictures``, read by ``workers`` threads when needed.

    A sample follows from the step and its index, not from the thread that reads it.
    """

    def __init__(self, pictures: Pictures, resizing: Resizing, skeleton: str, workers: int = 2) -> None:
        self.pictures, self.resizing = pictures, resizing
        self._flip_order = list(SKELETONS[skeleton].flip_order)
        self._readers = ThreadPoolExecutor(workers, "reader")

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(
        self, indices: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator
    ) -> PictureBatch:
        """The samples at ``indices``, resized and flipped at random unless ``augmentation`` is None."""
        base = int(rng.integers(2**62))
        jobs = [(int(index), augmentation, np.random.default_rng([base, int(index)])) for index in indices]
        return collate(list(self._readers.map(lambda job: self._sample(*job), jobs)))

    def _sample(self, index: int, augmentation: Augmentation | None, rng: np.random.Generator) -> tuple[Tensor, People]:
        picture = self.pictures.read(index)
        if augmentation is None:
            return to_sample(resize(picture, self.resizing.sides[-1], self.resizing.long))
        side = self.resizing.sides[rng.integers(len(self.resizing.sides))]
        flipped = rng.random() < augmentation.flip
        resized = resize(flip(picture, self._flip_order) if flipped else picture, side, self.resizing.long)
        return to_sample(resized, jitter_colour(resized.pixels[None, None], augmentation, rng)[0, 0])


def flip(picture: WholePicture, order: Sequence[int]) -> WholePicture:
    """The mirror image; ``order`` exchanges left and right joints."""
    last = picture.pixels.shape[1] - 1
    joints, boxes = picture.joints[:, order], picture.boxes.copy()
    joints[..., 0] = last - joints[..., 0]
    boxes[:, [0, 2]] = last - boxes[:, [2, 0]]
    return WholePicture(np.ascontiguousarray(picture.pixels[:, ::-1]), joints, boxes, picture.areas)


def fitted_size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """``size`` (width, height) px scaled so that its shorter side is ``short``, or its longer one ``long`` if less.

    >>> fitted_size((640, 480), 800, 1333), fitted_size((1280, 480), 800, 1333)
    ((1067, 800), (1333, 500))
    """
    ratio = min(short / min(size), long / max(size))
    return max(1, int(size[0] * ratio + 0.5)), max(1, int(size[1] * ratio + 0.5))


def resize(picture: WholePicture, short: int, long: int) -> WholePicture:
    """The picture at its fitted size, bilinear. As published, index coordinates are multiplied by the factors."""
    height, width = picture.pixels.shape[:2]
    size = fitted_size((width, height), short, long)
    factors = np.array([size[0] / width, size[1] / height], np.float32)
    joints = picture.joints * np.append(factors, np.float32(1))
    pixels = np.asarray(cv2.resize(picture.pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return WholePicture(pixels, joints, picture.boxes * np.tile(factors, 2), picture.areas * factors.prod())


def to_sample(picture: WholePicture, pixels: NDArray[Any] | None = None) -> tuple[Tensor, People]:
    """Normalised planes (3, H, W) and the people; ``pixels`` replaces those of ``picture``."""
    planes = normalise((picture.pixels if pixels is None else pixels)[None, None])[0, 0]
    joints, boxes, areas = (torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in picture[1:])
    return planes, People(joints, boxes, areas)


def collate(samples: Sequence[tuple[Tensor, People]]) -> PictureBatch:
    """Samples of different sizes as one batch."""
    sizes = np.array([planes.shape[1:] for planes, _ in samples]).max(0)
    height, width = (int(-(-side // STRIDE) * STRIDE) for side in sizes)
    pictures = torch.zeros(len(samples), 3, height, width)
    for row, (planes, _) in zip(pictures, samples, strict=True):
        row[:, : planes.shape[1], : planes.shape[2]] = planes
    return PictureBatch(pictures, tuple(people for _, people in samples))
