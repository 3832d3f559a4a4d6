"""Windows and their truth in batches. What a batch holds follows from (seed, epoch, step) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD
from engines.training.recipe import Augmentation
from engines.training.synthetic_samples import Tracks


@dataclass(frozen=True)
class Batch:
    """``crops`` (B, T, 3, h, w) float32 RGB, normalised; ``joints`` (B, J, 3) of the key frame: crop px, visibility."""

    crops: Tensor
    joints: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.crops.to(device, non_blocking=True), self.joints.to(device, non_blocking=True))


class Samples(Protocol):
    """What a trainer takes its batches from."""

    def __len__(self) -> int: ...

    def order(self, seed: int, epoch: int) -> NDArray[np.intp]:
        """Every sample once, shuffled anew for each epoch."""
        ...

    def batch(self, rows: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> Batch:
        """These samples, augmented where that is asked for."""
        ...


class WindowSamples:
    """Windows of tracks: the frames ``offsets`` about the middle one, oldest first."""

    def __init__(self, tracks: Tracks, offsets: tuple[int, ...]) -> None:
        self._tracks = tracks
        self._middle = tracks.pictures.shape[1] // 2
        self._places = [self._middle + offset for offset in offsets]

    def __len__(self) -> int:
        return len(self._tracks)

    def order(self, seed: int, epoch: int) -> NDArray[np.intp]:
        """Every sample once, shuffled anew for each epoch."""
        return shuffled(len(self), seed, epoch)

    def batch(self, rows: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> Batch:
        """These samples, augmented where that is asked for."""
        pictures = self._tracks.pictures[rows][:, self._places]
        joints = self._tracks.joints[rows, self._middle].copy()
        if augmentation is None:
            return Batch(normalised(pictures), torch.from_numpy(joints))
        which = rng.random(len(rows)) < augmentation.flip
        pictures, joints = _mirrored(pictures, joints, which, SKELETONS[self._tracks.skeleton])
        return Batch(normalised(relit(pictures, augmentation, rng)), torch.from_numpy(joints))


def spread(samples: Samples, number: int) -> Batch:
    """At most ``number`` of ``samples``, as far apart as they are many, as they are when a network is judged."""
    rows = np.linspace(0, len(samples) - 1, min(number, len(samples))).round().astype(np.intp)
    return samples.batch(rows, None, np.random.default_rng(0))


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """The order of ``count`` samples in an epoch."""
    return np.random.default_rng([seed, epoch, 0x0DE2]).permutation(count)


def normalised(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    """(B, T, h, w, 3) BGR 0..255 as networks take it: (B, T, 3, h, w) RGB by ImageNet's mean and deviation."""
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    planes = (pictures[..., ::-1] - mean) / std
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(0, 1, 4, 2, 3), np.float32))


def _mirrored(
    pictures: NDArray[np.uint8], joints: NDArray[np.float32], which: NDArray[np.bool_], skeleton: Skeleton
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    joints[which] = joints[which][:, list(skeleton.flip_order)]
    joints[which, :, 0] = pictures.shape[3] - 1 - joints[which, :, 0]
    return np.where(which[:, None, None, None, None], pictures[:, :, :, ::-1], pictures), joints


def relit(pictures: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Another lamp, another lens: one for all frames of a window. ``pictures`` (B, T, h, w, 3)."""
    n = len(pictures)
    gain = rng.normal(1, augmentation.gain, (n, 1, 1, 1, 1)) * rng.normal(1, augmentation.tint, (n, 1, 1, 1, 3))
    shift = rng.normal(0, augmentation.shift, (n, 1, 1, 1, 1))
    return np.clip(pictures * gain.astype(np.float32) + shift.astype(np.float32), 0, 255)
