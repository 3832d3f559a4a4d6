"""Samples of a labelled data set: windows read from disk by a few threads when they are needed.

A sample follows from the step and its index, not from the thread that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engines.datasets.instances import Instance
from engines.datasets.pictures import read_pictures
from engines.datasets.windows import Border, window_sources
from engines.training.augment import CropRegion, box_region, random_region, transform_joints
from engines.training.batches import Batch, jitter_colour, normalise
from engines.training.recipe import Augmentation
from engines.vision import crop


@dataclass(frozen=True)
class View:
    """A network's input: crops of ``size`` (width, height) of the frames ``offsets``, and joints of ``skeleton``."""

    size: tuple[int, int]
    offsets: tuple[int, ...]
    skeleton: str
    border: Border = "key-frame"


class ClipSamples:
    """:class:`engines.training.batches.Samples` of ``instances``."""

    def __init__(self, instances: Sequence[Instance], view: View, workers: int = 2) -> None:
        self.instances, self.view = instances, view
        self._readers = ThreadPoolExecutor(workers, "reader")

    def __len__(self) -> int:
        return len(self.instances)

    def batch(self, indices: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> Batch:
        """The samples at ``indices``, augmented unless ``augmentation`` is None.

        Raises :class:`EngineError` naming a picture that cannot be read.
        """
        base = int(rng.integers(2**62))
        jobs = [(int(index), augmentation, np.random.default_rng([base, int(index)])) for index in indices]
        read = list(self._readers.map(lambda job: self._sample(*job), jobs))
        crops = [normalise(pictures[None]) for pictures, _ in read]
        return Batch(torch.cat(crops), torch.from_numpy(np.stack([joints for _, joints in read])))

    def affine(self, index: int) -> crop.Affine:
        """The affine from the frame to the crop of a sample that is not augmented."""
        instance = self.instances[index]
        return box_region(instance.box, self.view.size).affine(instance.frame.size[0], self.view.size)

    def _sample(
        self, index: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.float32]]:
        instance, view = self.instances[index], self.view
        region = self._region(instance, augmentation, rng)
        affine = region.affine(instance.frame.size[0], view.size)
        crops = self._crops(instance, affine)
        joints = transform_joints(instance.joints, affine, view.size, view.skeleton, flipped=region.flipped)
        return (crops if augmentation is None else jitter_colour(crops[None], augmentation, rng)[0]), joints

    def _region(self, instance: Instance, augmentation: Augmentation | None, rng: np.random.Generator) -> CropRegion:
        if augmentation is None:
            return box_region(instance.box, self.view.size)
        return random_region(instance.box, instance.joints, self.view.size, self.view.skeleton, augmentation, rng)

    def _crops(self, instance: Instance, affine: crop.Affine) -> NDArray[np.uint8]:
        """(T, h, w, 3) BGR."""
        sources = window_sources(instance.clip, instance.frame.number, self.view.offsets, self.view.border)
        pictures = dict(zip(sources, read_pictures(sources), strict=True))
        crops = {source: crop.crop(pixels, affine, self.view.size) for source, pixels in pictures.items()}
        return np.stack([crops[source] for source in sources])
