"""What a model file says of its inputs and outputs: names, shapes and dtypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """One input or output: its name, its shape (None where any size goes) and its numpy ``dtype``."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def takes(self, shape: tuple[int, ...]) -> bool:
        """True when an array of ``shape`` fits."""
        if len(shape) != len(self.shape):
            return False
        return all(wanted in (None, given) for wanted, given in zip(self.shape, shape, strict=True))

    def __str__(self) -> str:
        return f"({', '.join('any' if size is None else str(size) for size in self.shape)}) {self.dtype}"


@dataclass(frozen=True)
class Description:
    """What a model file says of itself, in its own order, and where it runs.

    ``max_batch`` is the largest batch it was built for, None where any goes. ``frames`` is how many a ring's head takes
    at once, None where the file does not say.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    device: str
    max_batch: int | None = None
    frames: int | None = None

    @property
    def batch(self) -> int | None:
        """The first size of the first input: the only batch it takes, or None when any goes."""
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 1
