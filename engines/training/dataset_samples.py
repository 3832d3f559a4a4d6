"""Windows of the clips of a data set, read from disk by a few threads as they are wanted.

What a sample looks like follows from the step and from its own number, not from the thread that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engines.datasets.pictures import read_pictures
from engines.datasets.rows import Row
from engines.datasets.windows import Border, window_sources
from engines.training.augment import Look, drawn, joints_in_crop, plain
from engines.training.batches import Batch, normalised, relit, shuffled
from engines.training.recipe import Augmentation
from engines.vision import crop


@dataclass(frozen=True)
class View:
    """What a network wants: crops of ``size`` (width, height) of the frames ``offsets``, joints of ``skeleton``."""

    size: tuple[int, int]
    offsets: tuple[int, ...]
    skeleton: str
    border: Border = "key-frame"


class ClipSamples:
    """Samples as :class:`engines.training.batches.WindowSamples` gives them, of ``rows``."""

    def __init__(self, rows: Sequence[Row], view: View, workers: int = 2) -> None:
        self.rows, self.view = rows, view
        self._readers = ThreadPoolExecutor(workers, "reader")

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, seed: int, epoch: int) -> NDArray[np.intp]:
        """Every sample once, shuffled anew for each epoch."""
        return shuffled(len(self), seed, epoch)

    def batch(self, rows: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> Batch:
        """These samples, augmented where that is asked for. Raises :class:`EngineError` naming a picture."""
        base = int(rng.integers(2**62))
        jobs = [(int(row), augmentation, np.random.default_rng([base, int(row)])) for row in rows]
        read = list(self._readers.map(lambda job: self._sample(*job), jobs))
        crops = [normalised(pictures[None]) for pictures, _ in read]
        return Batch(torch.cat(crops), torch.from_numpy(np.stack([joints for _, joints in read])))

    def affine(self, row: int) -> crop.Affine:
        """From the frame to the crop of a sample that is not augmented."""
        return plain(self.rows[row].box, self.view.size).affine(self.rows[row].frame.size[0], self.view.size)

    def _sample(
        self, number: int, augmentation: Augmentation | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.float32]]:
        row, view = self.rows[number], self.view
        look = self._look(row, augmentation, rng)
        affine = look.affine(row.frame.size[0], view.size)
        crops = self._crops(row, affine)
        joints = joints_in_crop(row.joints, affine, view.size, view.skeleton, mirrored=look.mirrored)
        return (crops if augmentation is None else relit(crops[None], augmentation, rng)[0]), joints

    def _look(self, row: Row, augmentation: Augmentation | None, rng: np.random.Generator) -> Look:
        if augmentation is None:
            return plain(row.box, self.view.size)
        return drawn(row.box, row.joints, self.view.size, self.view.skeleton, augmentation, rng)

    def _crops(self, row: Row, affine: crop.Affine) -> NDArray[np.uint8]:
        """(T, h, w, 3) BGR."""
        sources = window_sources(row.clip, row.frame.number, self.view.offsets, self.view.border)
        pictures = dict(zip(sources, read_pictures(sources), strict=True))
        crops = {source: crop.crop(pixels, affine, self.view.size) for source, pixels in pictures.items()}
        return np.stack([crops[source] for source in sources])
