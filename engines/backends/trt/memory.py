"""Memory of the GPU and of its host, taken once and given back once, and the stream that all work is queued on.

Everything here is made and closed inside :func:`engines.backends.trt.contexts.current`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pycuda.driver as cuda

from engines.spec.tensors import Array, Tensor

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the default one, on which other libraries may work."""

ALIGNMENT = 256
"""TensorRT's demand on every address that it is given, in bytes; ``cuMemAlloc`` keeps it."""


class Mark:
    """A place in a stream that the host can wait for.

    The host sleeps meanwhile: by default it would spin, and a line has other processes that want the core.
    """

    def __init__(self) -> None:
        self._event: Any = cuda.Event(cuda.event_flags.BLOCKING_SYNC | cuda.event_flags.DISABLE_TIMING)

    def set(self, lane: Lane) -> None:
        """Put it behind all that is queued."""
        self._event.record(lane.cuda_stream)

    def wait(self) -> None:
        """Return when all before it is done, at once where it was never set."""
        self._event.synchronize()

    def close(self) -> None:
        """Give it back; idempotent."""
        self._event = None


class Lane:
    """One CUDA stream, on which everything of one backend is queued."""

    def __init__(self) -> None:
        self.cuda_stream: Any = cuda.Stream(NON_BLOCKING)
        self._end = Mark()

    @property
    def handle(self) -> int:
        """What TensorRT and the driver know the stream by."""
        return int(self.cuda_stream.handle)

    def wait(self) -> None:
        """Return when everything queued so far is done; what failed on the GPU is raised here."""
        self._end.set(self)
        self._end.wait()

    def close(self) -> None:
        """Give the stream back. Nothing may be queued on it any more."""
        self._end.close()
        self.cuda_stream = None

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy of ``size`` bytes from one device address to another."""
        cuda.memcpy_dtod_async(target, source, size, self.cuda_stream)


class DeviceBuffer:
    """``size`` bytes on the GPU."""

    def __init__(self, size: int) -> None:
        self.size = max(size, ALIGNMENT)
        self._allocation: cuda.DeviceAllocation | None = cuda.mem_alloc(self.size)
        self.address = int(self._allocation)

    def close(self) -> None:
        """Give it back; idempotent. Nothing queued may still use it."""
        if self._allocation is not None:
            self._allocation.free()
            self._allocation = None


class PinnedBuffer:
    """``size`` bytes of the host that the system never moves, so that the GPU copies by itself."""

    def __init__(self, size: int) -> None:
        self._bytes: Any = cuda.pagelocked_empty(max(size, 1), np.uint8)

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The first bytes as an array."""
        array: Array = self._bytes[: nbytes(shape, dtype)].view(dtype).reshape(shape)
        return array

    def close(self) -> None:
        """Give it back; idempotent. Nothing queued may still use it, and no view of it may be left."""
        if self._bytes is not None:
            # The array's own memory, which PyCUDA would give back with the last view, on whatever thread that is.
            self._bytes.base.free()
            self._bytes = None


class Inbound:
    """One input on its way to the GPU: where the host puts it, where it goes, and when the former is free again."""

    def __init__(self, tensor: Tensor, pinned: PinnedBuffer, device: DeviceBuffer, left: Mark) -> None:
        self.tensor, self.device = tensor, device
        self._pinned, self._left = pinned, left

    def send(self, array: Array, lane: Lane) -> None:
        """Queue the copy of ``array``; the caller may write to it at once. Waits only for this input's last copy."""
        self._left.wait()
        staged = self._pinned.view(array.shape, self.tensor.dtype)
        staged[...] = array
        cuda.memcpy_htod_async(self.device.address, staged, lane.cuda_stream)
        self._left.set(lane)


class Outbound:
    """One output on its way from the GPU."""

    def __init__(self, tensor: Tensor, pinned: PinnedBuffer, device: DeviceBuffer) -> None:
        self.tensor, self.device = tensor, device
        self._pinned = pinned

    def fetch(self, batch: int, lane: Lane) -> None:
        """Queue the copy of the first ``batch`` rows."""
        cuda.memcpy_dtoh_async(self._staged(batch), self.device.address, lane.cuda_stream)

    def taken(self, batch: int) -> Array:
        """What was fetched, the caller's own. The lane must have been waited for."""
        return self._staged(batch).copy()

    def _staged(self, batch: int) -> Array:
        return self._pinned.view((batch, *fixed_sizes(self.tensor)), self.tensor.dtype)


def fixed_sizes(tensor: Tensor) -> tuple[int, ...]:
    """The sizes after the batch, all of which are known."""
    return tuple(size for size in tensor.shape[1:] if size is not None)


def row_bytes(tensor: Tensor) -> int:
    """Of one row of the batch."""
    return nbytes(fixed_sizes(tensor), tensor.dtype)


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Of an array of ``shape``."""
    return prod(shape) * np.dtype(dtype).itemsize
