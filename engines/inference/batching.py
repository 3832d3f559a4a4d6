"""Batches of the size that a network takes, and a count of the work done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.spec.tensors import Array, Description


@dataclass
class Work:
    """Counts over all estimates: ``people`` windows of one person, which have ``frames`` frames.

    The backbone ran on ``computed`` of these frames; features of the others came from the cache.
    """

    people: int = 0
    frames: int = 0
    computed: int = 0

    def add(self, *, people: int = 0, frames: int = 0, computed: int = 0) -> None:
        """Increase the counts."""
        self.people += people
        self.frames += frames
        self.computed += computed

    @property
    def reused(self) -> float:
        """The share of frames whose features came from the cache, 0..1.

        >>> Work(people=2, frames=10, computed=4).reused
        0.6
        """
        return 1 - self.computed / self.frames if self.frames else 0.0


def split_batches(count: int, size: int) -> Iterator[slice]:
    """Slices of ``count`` rows, at most ``size`` each.

    >>> list(split_batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def get_batch_size(description: Description, limit: int) -> int:
    """Rows in one run: the network's fixed batch, else ``limit`` or the network's largest batch if that is smaller."""
    return description.batch or min(limit, description.max_batch or limit)


def pad_batch(rows: Array, description: Description) -> Array:
    """``rows`` with the last one repeated up to the network's fixed batch, if it has one."""
    missing = (description.batch or len(rows)) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows
