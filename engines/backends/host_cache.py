"""A feature ring in the host's memory, for any backend: what the backbone gives is kept in numpy arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend, check_slots, check_split, check_windows
from engines.spec.tensors import Array, Description, Tensor


class HostFeatureCache:
    """Backbone and head of one network on any backend, and ``slots`` frames' maps between them.

    The head's inputs are the backbone's outputs in the same order, each with a window axis after the batch.
    """

    def __init__(self, backbone: Backend, head: Backend, slots: int) -> None:
        self.slots = slots
        self._backbone, self._head = backbone, head
        self._maps: tuple[Array, ...] = ()

    def open(self) -> None:
        """Load both and check that what one gives is what the other takes."""
        self._backbone.open()
        self._head.open()
        check_split(self._outputs, self._head.describe().inputs)
        if not self._maps:
            self._maps = tuple(map(self._empty, self._outputs))

    def describe(self) -> Description:
        head = self._head.describe()
        inputs = self._backbone.describe().inputs
        return Description(inputs, head.outputs, head.device, frames=head.inputs[0].shape[1])

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        (name,) = (tensor.name for tensor in self._backbone.describe().inputs)
        check_slots(slots, crops, self.slots)
        maps = self._backbone.run({name: crops})
        for kept, tensor in zip(self._maps, self._outputs, strict=True):
            kept[slots] = maps[tensor.name]

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        inputs = self._head.describe().inputs
        check_windows(windows, inputs[0].shape[1], self.slots)
        return self._head.run({tensor.name: kept[windows] for tensor, kept in zip(inputs, self._maps, strict=True)})

    def close(self) -> None:
        self._backbone.close()
        self._head.close()
        self._maps = ()

    @property
    def _outputs(self) -> tuple[Tensor, ...]:
        return self._backbone.describe().outputs

    def _empty(self, tensor: Tensor) -> Array:
        sizes = [size for size in tensor.shape[1:] if size is not None]
        return np.zeros((self.slots, *sizes), tensor.dtype)
