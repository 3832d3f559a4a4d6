"""Batches of windows with their ground truth. The content of a batch follows from (seed, epoch, step) alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD
from engines.training.recipe import Augmentation
from engines.training.synthetic_samples import Tracks


class StepInput(Protocol):
    """The samples of one step, as the trainer reads them. ``inputs`` are the arguments of the objective."""

    @property
    def inputs(self) -> tuple[Any, ...]: ...

    def to(self, device: torch.device) -> Self:
        """The same samples on another device."""
        ...


B = TypeVar("B", bound=StepInput)
B_co = TypeVar("B_co", bound=StepInput, covariant=True)


@dataclass(frozen=True)
class Batch:
    """``crops`` (B, T, 3, h, w) float32 RGB, normalised; ``joints`` (B, J, 3) to learn: crop px, visibility."""

    crops: Tensor
    joints: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """The arguments of an objective of crops."""
        return self.crops, self.joints

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(self.crops.to(device, non_blocking=True), self.joints.to(device, non_blocking=True))


class Samples(Protocol[B_co]):
    """The samples of a data set, as the trainer reads them."""

    def __len__(self) -> int: ...

    def batch(self, indices: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> B_co:
        """The samples at ``indices``, augmented unless ``augmentation`` is None."""
        ...


class WindowSamples:
    """Windows of synthetic tracks: the frames at ``offsets`` from the middle one, oldest first, and the joints so many
    frames after it as ``horizon`` says. All are in the crop of the middle frame's box, the last one that is known then.
    """

    def __init__(self, tracks: Tracks, offsets: tuple[int, ...], horizon: int = 0) -> None:
        self._tracks = tracks
        middle = tracks.pictures.shape[1] // 2
        self._frames = [middle + offset for offset in offsets]
        self._target = middle + horizon

    def __len__(self) -> int:
        return len(self._tracks)

    def truth(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """The joints to learn of the samples at ``indices``, not augmented, (B, J, 3): crop px, visibility."""
        return self._tracks.joints[indices, self._target]

    def batch(self, indices: NDArray[np.intp], augmentation: Augmentation | None, rng: np.random.Generator) -> Batch:
        """The samples at ``indices``, augmented unless ``augmentation`` is None."""
        pictures = self._tracks.pictures[indices][:, self._frames]
        joints = self.truth(indices).copy()
        if augmentation is None:
            return Batch(normalise(pictures), torch.from_numpy(joints))
        flipped = rng.random(len(indices)) < augmentation.flip
        pictures, joints = _flip(pictures, joints, flipped, SKELETONS[self._tracks.skeleton])
        return Batch(normalise(jitter_colour(pictures, augmentation, rng)), torch.from_numpy(joints))


class Prefetcher(Generic[B]):
    """A context manager that prepares the next batch in a thread while the current one is in use.

    ``make(step)`` must give the same batch whenever and in whichever thread it is called; steps end before ``end``.
    """

    def __init__(self, make: Callable[[int], B], end: int) -> None:
        self._make, self._end = make, end
        self._pending: dict[int, Future[B]] = {}
        self._executor = ThreadPoolExecutor(1, "prefetch")

    def __enter__(self) -> Prefetcher[B]:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __call__(self, step: int) -> B:
        """The batch of a step. Raises what making it raised."""
        for number in range(step, min(step + 2, self._end)):
            if number not in self._pending:
                self._pending[number] = self._executor.submit(self._make, number)
        return self._pending.pop(step).result()


def pick_spread(samples: Samples[B_co], number: int) -> B_co:
    """At most ``number`` samples, evenly spaced and not augmented."""
    indices = np.linspace(0, len(samples) - 1, min(number, len(samples))).round().astype(np.intp)
    return samples.batch(indices, None, np.random.default_rng(0))


def shuffle(count: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """The order of ``count`` samples in an epoch."""
    return np.random.default_rng([seed, epoch, 0x0DE2]).permutation(count)


def normalise(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    """(B, T, h, w, 3) BGR 0..255 to (B, T, 3, h, w) RGB, normalised by ImageNet's mean and standard deviation."""
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    planes = (pictures[..., ::-1] - mean) / std
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(0, 1, 4, 2, 3), np.float32))


def jitter_colour(
    pictures: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random gain, tint and shift, the same for all frames of a window; ``pictures`` (B, T, h, w, 3)."""
    n = len(pictures)
    gain = rng.normal(1, augmentation.gain, (n, 1, 1, 1, 1)) * rng.normal(1, augmentation.tint, (n, 1, 1, 1, 3))
    shift = rng.normal(0, augmentation.shift, (n, 1, 1, 1, 1))
    return np.clip(pictures * gain.astype(np.float32) + shift.astype(np.float32), 0, 255)


def _flip(
    pictures: NDArray[np.uint8], joints: NDArray[np.float32], flipped: NDArray[np.bool_], skeleton: Skeleton
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    joints[flipped] = joints[flipped][:, list(skeleton.flip_order)]
    joints[flipped, :, 0] = pictures.shape[3] - 1 - joints[flipped, :, 0]
    return np.where(flipped[:, None, None, None, None], pictures[:, :, :, ::-1], pictures), joints
