"""Rows in batches of the size a network takes, and an account of how much it had to compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.spec.tensors import Array, Description


@dataclass
class Work:
    """What was asked of a network and what it did for it.

    ``people`` windows of one person each were estimated, which read ``frames`` frames; the backbone ran over
    ``computed`` of these, the others' features having been kept.
    """

    people: int = 0
    frames: int = 0
    computed: int = 0

    def add(self, *, people: int = 0, frames: int = 0, computed: int = 0) -> None:
        """So much more of each."""
        self.people += people
        self.frames += frames
        self.computed += computed

    @property
    def reused(self) -> float:
        """The share of frames that needed no backbone, 0..1.

        >>> Work(people=2, frames=10, computed=4).reused
        0.6
        """
        return 1 - self.computed / self.frames if self.frames else 0.0


def split_batches(count: int, most: int) -> Iterator[slice]:
    """``count`` rows in runs of at most ``most``.

    >>> list(split_batches(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, count, most):
        yield slice(start, min(start + most, count))


def get_batch_size(description: Description, most: int) -> int:
    """Rows in one run: the network's own batch, else ``most``, or fewer where it was built for fewer."""
    return description.batch or min(most, description.max_batch or most)


def pad_batch(rows: Array, description: Description) -> Array:
    """A network of fixed batch gets its last row again for those it lacks."""
    missing = (description.batch or len(rows)) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows
