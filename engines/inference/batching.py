"""Batches of the size that a network takes, and a count of the work done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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


def split_batches(count: int, size: int, shares: int = 1) -> list[slice]:
    """Slices of ``count`` rows, nearly equal and at most ``size`` each; a multiple of ``shares`` if rows suffice.

    >>> split_batches(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    >>> split_batches(3, 16, shares=2)
    [slice(0, 2, None), slice(2, 3, None)]
    """
    rounds = -(-count // (size * shares))
    parts = min(count, rounds * shares)
    bounds = [-(-count * part // parts) for part in range(parts + 1)] if parts else []
    return [slice(*pair) for pair in pairwise(bounds)]


def plan_batches(count: int, description: Description, limit: int) -> list[slice]:
    """Slices of ``count`` rows, one for each run of the network.

    A run takes the network's fixed batch, else at most ``limit`` rows, or the network's largest or best batch. A
    network of any batch gets as many runs as may go side by side, or a multiple of that.
    """
    if description.batch:
        return split_batches(count, description.batch)
    sizes = (limit, description.max_batch, description.best_batch)
    return split_batches(count, min(size for size in sizes if size), description.side_by_side)


def pad_batch(rows: Array, description: Description) -> Array:
    """``rows`` with the last one repeated up to the network's fixed batch, if it has one."""
    missing = (description.batch or len(rows)) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows
