"""Inputs and outputs of a network as a backend reports them: names, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """One input or output; ``shape`` has None for every dimension of any size, ``dtype`` is numpy's name.

    >>> print(Tensor("crops", (None, 256, 192, 3), "uint8"))
    (any, 256, 192, 3) uint8
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """True if an array of ``shape`` fits."""
        if len(shape) != len(self.shape):
            return False
        return all(own in (None, size) for own, size in zip(self.shape, shape, strict=True))

    def __str__(self) -> str:
        return f"({', '.join('any' if size is None else str(size) for size in self.shape)}) {self.dtype}"


@dataclass(frozen=True)
class Description:
    """Inputs and outputs of a network, in its own order, and the ``device`` it runs on.

    ``max_batch`` is the largest batch it was built for, ``frames`` the window length that its head takes; None if any
    value is accepted. Runs of more than ``best_batch`` rows, if given, are no faster for each. ``side_by_side`` is how
    many threads may run it at once. ``metadata`` is what the exporter wrote into the file, if anything.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    device: str
    max_batch: int | None = None
    best_batch: int | None = None
    frames: int | None = None
    side_by_side: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def batch(self) -> int | None:
        """The only batch size accepted, or None if any is: the first dimension of the first input."""
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 1
