"""What every backend promises: a model file made ready to run. One file a backend; the file name is the registry.

A backend knows nothing of people, crops or keypoints: it takes named arrays and gives named arrays. A new one is one
module ``engines/backends/<name>.py`` with a ``create`` of the signature below, and is judged by
``engines.testing.backends.check_backend``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor


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


class FeatureCache(Protocol):
    """A network that is cut in two, and the maps of frames it keeps between them, where it runs.

    Slots are numbered from 0; who calls decides which frame lies in which, and never reads a slot it has not filled.
    Calls come from one thread at a time.
    """

    def open(self) -> None:
        """Load both graphs and take the memory of all slots. Raises :class:`EngineError`. Idempotent."""

    def describe(self) -> Description:
        """Input of the backbone and outputs of the head, as a :class:`Backend` of the whole would say."""

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        """Run the backbone over ``crops`` (n, ...), one person in one frame each; keep its maps in ``slots`` (n,)."""

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """Run the head over ``windows`` (B, T) of slots, in order of time: every output by name."""

    def close(self) -> None:
        """Give back memory and device; idempotent."""


def check_feeds(model: str, inputs: tuple[Tensor, ...], feeds: Mapping[str, Array]) -> None:
    """Raises :class:`EngineError`, naming both sides, unless ``feeds`` are exactly what ``inputs`` ask for."""
    names = {tensor.name for tensor in inputs}
    if names != feeds.keys():
        raise EngineError(f"{model}: its inputs are {sorted(names)}, but it was fed {sorted(feeds)}")
    for tensor in inputs:
        given = feeds[tensor.name]
        if not tensor.accepts(given.shape) or str(given.dtype) != tensor.dtype:
            raise EngineError(
                f"{model}: its input {tensor.name!r} is {tensor}, but it was fed {given.shape} {given.dtype}"
            )


def check_slots(slots: NDArray[np.intp], crops: Array, total: int) -> None:
    """Raises :class:`EngineError` unless ``slots`` (n,) are of a ring of ``total``, one for each of ``crops``."""
    if slots.shape != (len(crops),):
        raise EngineError(
            f"a ring of {total} slots: {len(crops)} crops need slots of shape ({len(crops)},), "
            f"but it was given {slots.shape}"
        )
    _check_range(slots, total)


def check_windows(windows: NDArray[np.intp], frames: int | None, total: int) -> None:
    """Raises :class:`EngineError` unless ``windows`` are (B, ``frames``) slots of a ring of ``total``."""
    if windows.ndim != 2 or frames not in (None, windows.shape[1]):
        raise EngineError(
            f"a ring of {total} slots: its head takes windows (B, {frames or 'any'}), but it was given {windows.shape}"
        )
    _check_range(windows, total)


def _check_range(slots: NDArray[np.intp], total: int) -> None:
    wrong = slots[(slots < 0) | (slots >= total)]
    if wrong.size:
        raise EngineError(f"a ring of {total} slots: there is no slot {wrong[0]}; give 0 to {total - 1}")


def check_split(gives: tuple[Tensor, ...], takes: tuple[Tensor, ...]) -> None:
    """Raises :class:`EngineError` unless a head that ``takes`` windows (N, T, ...) takes what a backbone ``gives``."""
    fits = len(gives) == len(takes) and all(
        one.dtype == other.dtype and None not in one.shape[1:] and one.shape[1:] == other.shape[2:]
        for one, other in zip(gives, takes, strict=True)
    )
    if not fits:
        raise EngineError(
            f"the backbone gives {', '.join(map(str, gives))}, its head takes {', '.join(map(str, takes))}; "
            "they are not of one export"
        )
