"""The interfaces of backends: a backend runs a model file, named arrays in and named arrays out.

To add a backend, add a module ``engines/backends/<name>.py`` with ``create(path, *, threads, mode)``, which returns a
:class:`Backend` that is not open. ``<name>`` is the name of the backend, ``threads`` the number of CPU threads, or
``auto``, which leaves it to the backend. Test it with :func:`engines.testing.backends.check_backend`. A backend that
caches features itself also has ``create_feature_cache(backbone, head, *, slots, threads, mode)``, which returns a
:class:`FeatureCache`; one that reads other files than ``.onnx`` lists their ends in ``SUFFIXES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor


class Backend(Protocol):
    """A model file on one device, used by one thread at a time, but in ``run`` by ``describe().side_by_side``."""

    def open(self) -> None:
        """Load the file; does nothing if already open. Raises :class:`EngineError` naming the file."""

    def describe(self) -> Description:
        """Inputs, outputs and device. Raises :class:`EngineError` if not open."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name; the arrays belong to the caller.

        Raises :class:`EngineError` if an input is missing, unknown or of the wrong shape or dtype, naming both.
        """

    def close(self) -> None:
        """Release memory and device; does nothing if already closed. The backend can be opened again."""


class FeatureCache(Protocol):
    """Backbone and head of one network, and numbered slots for feature maps between them, on the same device.

    A slot holds the maps of one crop. The caller decides which crop is in which slot, and must not read a slot that it
    has not filled. Used by one thread at a time, but in ``store``, and in ``read``, by ``describe().side_by_side``.
    """

    def open(self) -> None:
        """Load both graphs and allocate all slots; does nothing if already open. Raises :class:`EngineError`."""

    def describe(self) -> Description:
        """The input of the backbone and the outputs of the head. Raises :class:`EngineError` if not open."""

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        """Run the backbone on ``crops`` (n, ...) and store their maps in ``slots`` (n,)."""

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """Run the head on ``windows`` (B, T) of slots, oldest frame first; returns all outputs by name."""

    def close(self) -> None:
        """Release memory and device; does nothing if already closed."""


def check_feeds(model: str, inputs: tuple[Tensor, ...], feeds: Mapping[str, Array]) -> None:
    """Raise :class:`EngineError`, naming both sides, unless names, shapes and dtypes of ``feeds`` fit ``inputs``."""
    names = {tensor.name for tensor in inputs}
    if names != feeds.keys():
        raise EngineError(f"{model}: its inputs are {sorted(names)}, but it was fed {sorted(feeds)}")
    for tensor in inputs:
        given = feeds[tensor.name]
        if not tensor.accepts(given.shape) or _name_dtype(given.dtype) != tensor.dtype:
            raise EngineError(
                f"{model}: its input {tensor.name!r} is {tensor}, but it was fed {given.shape} {given.dtype}"
            )


@cache
def _name_dtype(dtype: np.dtype[Any]) -> str:
    """``str(dtype)``, which NumPy builds anew on each call."""
    return str(dtype)


def check_slots(slots: NDArray[np.intp], crops: Array, total: int) -> None:
    """Raise :class:`EngineError` unless ``slots`` (n,) are indices below ``total``, one for each of ``crops``."""
    if slots.shape != (len(crops),):
        raise EngineError(
            f"feature cache of {total} slots: {len(crops)} crops need slots of shape ({len(crops)},), "
            f"but it was given {slots.shape}"
        )
    _check_range(slots, total)


def check_windows(windows: NDArray[np.intp], frames: int | None, total: int) -> None:
    """Raise :class:`EngineError` unless ``windows`` are valid indices below ``total`` of shape (B, ``frames``)."""
    if windows.ndim != 2 or frames not in (None, windows.shape[1]):
        raise EngineError(
            f"feature cache of {total} slots: its head takes windows (B, {frames or 'any'}), but it was given "
            f"{windows.shape}"
        )
    _check_range(windows, total)


def _check_range(slots: NDArray[np.intp], total: int) -> None:
    wrong = slots[(slots < 0) | (slots >= total)]
    if wrong.size:
        raise EngineError(f"feature cache of {total} slots: there is no slot {wrong[0]}; give 0 to {total - 1}")


def check_split(outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
    """Raise :class:`EngineError` unless the backbone's ``outputs`` (N, ...) fit the head's ``inputs`` (N, T, ...)."""
    fits = len(outputs) == len(inputs) and all(
        output.dtype == taken.dtype and None not in output.shape[1:] and output.shape[1:] == taken.shape[2:]
        for output, taken in zip(outputs, inputs, strict=True)
    )
    if not fits:
        raise EngineError(
            f"the backbone returns {', '.join(map(str, outputs))}, but the head takes {', '.join(map(str, inputs))}; "
            "they must be of the same export"
        )
