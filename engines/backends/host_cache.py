"""A feature cache in host memory, for any backend: feature maps are stored in numpy arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend, check_slots, check_split, check_windows
from engines.spec.tensors import Array, Description, Tensor


class HostFeatureCache:
    """A :class:`engines.backends.base.FeatureCache` of two backends.

    The head's inputs are the backbone's outputs in the same order, each with a time axis after the batch.
    """

    def __init__(self, backbone: Backend, head: Backend, slots: int) -> None:
        self.slots = slots
        self._backbone, self._head = backbone, head
        self._maps: tuple[Array, ...] = ()

    def open(self) -> None:
        """Load both and check that they fit each other."""
        self._backbone.open()
        self._head.open()
        check_split(self._outputs, self._head.describe().inputs)
        if not self._maps:
            self._maps = tuple(map(self._allocate, self._outputs))

    def describe(self) -> Description:
        head = self._head.describe()
        return replace(head, inputs=self._backbone.describe().inputs, frames=head.inputs[0].shape[1])

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        (name,) = (tensor.name for tensor in self._backbone.describe().inputs)
        check_slots(slots, crops, self.slots)
        maps = self._backbone.run({name: crops})
        for stored, tensor in zip(self._maps, self._outputs, strict=True):
            stored[slots] = maps[tensor.name]

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        inputs = self._head.describe().inputs
        check_windows(windows, inputs[0].shape[1], self.slots)
        return self._head.run({tensor.name: maps[windows] for tensor, maps in zip(inputs, self._maps, strict=True)})

    def close(self) -> None:
        self._backbone.close()
        self._head.close()
        self._maps = ()

    @property
    def _outputs(self) -> tuple[Tensor, ...]:
        return self._backbone.describe().outputs

    def _allocate(self, tensor: Tensor) -> Array:
        sizes = [size for size in tensor.shape[1:] if size is not None]
        return np.zeros((self.slots, *sizes), tensor.dtype)
