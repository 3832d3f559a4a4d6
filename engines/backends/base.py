"""What every backend promises: a model file made ready to run. One file a backend; the file name is the registry.

A backend knows nothing of people, crops or keypoints: it takes named arrays and gives named arrays. A new one is one
module ``engines/backends/<name>.py`` with a ``create`` of the signature below, and is judged by
``engines.testing.check_backend``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from engines.errors import EngineError

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
    """What a model file says of itself, in its own order, and where it runs."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    device: str

    @property
    def batch(self) -> int | None:
        """The first size of the first input: the only batch it takes, or None when any goes."""
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 1


class Backend(Protocol):
    """A model file on one device. Calls come from one thread at a time."""

    def open(self) -> None:
        """Load the file. Raises :class:`EngineError` in one line naming the file. Idempotent."""

    def describe(self) -> Description:
        """Inputs and outputs. Raises :class:`EngineError` unless open."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name; arrays belong to the caller and are never written again.

        Raises :class:`EngineError` when an input is missing or unknown, or does not fit, naming both shapes.
        """

    def close(self) -> None:
        """Give back memory and device; idempotent. The backend may be opened again."""


BY_SUFFIX = {".onnx": "onnxrt"}
"""What ``auto`` means for a file."""


def make_backend(path: Path, name: str = "auto", threads: int = 1) -> Backend:
    """The backend ``name`` for ``path``, not yet open. Raises :class:`EngineError` for a name that nobody has."""
    chosen = BY_SUFFIX.get(path.suffix, "onnxrt") if name == "auto" else name
    try:
        module = importlib.import_module(f"engines.backends.{chosen}")
    except ModuleNotFoundError as error:
        raise EngineError(f"backend {name!r}: {_missing(chosen, error)}") from error
    return cast(Callable[..., Backend], module.create)(path, threads=threads)


def _missing(chosen: str, error: ModuleNotFoundError) -> str:
    if error.name == f"engines.backends.{chosen}":
        known = sorted(
            file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in ("__init__", "base")
        )
        return f"there is no such backend; choose auto or one of {', '.join(known)}"
    return f"it needs the Python package {error.name!r}, which is not installed"


def check_feeds(model: str, inputs: tuple[Tensor, ...], feeds: Mapping[str, Array]) -> None:
    """Raises :class:`EngineError`, naming both sides, unless ``feeds`` are exactly what ``inputs`` ask for."""
    names = {tensor.name for tensor in inputs}
    if names != feeds.keys():
        raise EngineError(f"{model}: its inputs are {sorted(names)}, but it was fed {sorted(feeds)}")
    for tensor in inputs:
        given = feeds[tensor.name]
        if not tensor.takes(given.shape) or str(given.dtype) != tensor.dtype:
            raise EngineError(
                f"{model}: its input {tensor.name!r} is {tensor}, but it was fed {given.shape} {given.dtype}"
            )
