"""The GPU's context, streams, events, and memory of device and host, each taken once and given back once.

Everything is made and closed while the primary context is current, that is inside :func:`on_gpu`. It is the one context
of a GPU and process, which TensorRT's own CUDA runtime uses too. PyCUDA (2026.1) makes that necessary: a thread that
ends while a context is current on it aborts the process, so every call pushes and pops; memory freed while the context
is not current is leaked by every thread but the one that took it; and only that thread could give the context back, so
it is kept until the process ends, as the CUDA runtime keeps it too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
import pycuda.driver as cuda

from engines.backends.trt.logger import Logger, find_remedy, quote_errors
from engines.errors import EngineError
from engines.spec.tensors import Array, Tensor

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the default one, on which other libraries may work."""

ALIGNMENT = 256
"""What TensorRT requires of every address, in bytes; ``cuMemAlloc`` keeps it."""

_contexts: dict[int, cuda.Context] = {}
_lock = threading.Lock()


class DriverError(Exception):
    """A function of the driver that PyCUDA lacks failed; worded as PyCUDA words its own errors."""


@contextmanager
def primary_context(ordinal: int = 0) -> Iterator[None]:
    """Make the primary context of a GPU current on this thread until the end of the block. Nests."""
    _retain_context(ordinal).push()
    try:
        yield
    finally:
        cuda.Context.pop()


def _retain_context(ordinal: int) -> cuda.Context:
    """Taken at the first use, so that a process may still fork after it imported this module."""
    with _lock:
        if ordinal not in _contexts:
            cuda.init()
            _contexts[ordinal] = cuda.Device(ordinal).retain_primary_context()
        return _contexts[ordinal]


@contextmanager
def on_gpu(subject: str, log: Logger | None = None) -> Iterator[None]:
    """Run the block in the primary context. Its CUDA errors become :class:`EngineError`, beginning with ``subject``."""
    try:
        with primary_context():
            yield
    except (cuda.Error, DriverError) as error:
        errors = log.take_errors() if log else []
        reason = f"CUDA says {str(error).strip()!r}" + (f" and {quote_errors(errors)}" if errors else "")
        raise EngineError(f"{subject}: {reason}; {find_remedy(str(error), *errors)}") from error


class Event:
    """A point in a stream that the host can wait for.

    The host sleeps meanwhile: by default it would spin, and a pipeline has other processes that need the core.
    """

    def __init__(self) -> None:
        self._event: Any = cuda.Event(cuda.event_flags.BLOCKING_SYNC | cuda.event_flags.DISABLE_TIMING)

    def record(self, stream: Stream) -> None:
        """Put it behind everything queued on ``stream``."""
        self._event.record(stream.cuda_stream)

    def synchronize(self) -> None:
        """Return when everything before it is done, at once if it was never recorded."""
        self._event.synchronize()

    def close(self) -> None:
        """Give it back; idempotent."""
        self._event = None


class Stream:
    """One CUDA stream, on which all work of one backend is queued."""

    def __init__(self) -> None:
        self.cuda_stream: Any = cuda.Stream(NON_BLOCKING)
        self._end = Event()

    @property
    def handle(self) -> int:
        """The ``CUstream``, for TensorRT and the driver."""
        return int(self.cuda_stream.handle)

    def synchronize(self) -> None:
        """Return when everything queued so far is done. Errors of that work on the GPU are raised here."""
        self._end.record(self)
        self._end.synchronize()

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
    """``size`` bytes of page-locked host memory, which the GPU copies from and to by itself."""

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


class InputBuffer:
    """One input on the GPU, page-locked memory to copy it from, and an event after which that may be written again."""

    def __init__(self, tensor: Tensor, pinned: PinnedBuffer, device: DeviceBuffer, copied: Event) -> None:
        self.tensor, self.device = tensor, device
        self._pinned, self._copied = pinned, copied

    def upload(self, array: Array, stream: Stream) -> None:
        """Queue the copy of ``array``; the caller may write to it at once. Waits only for this input's last copy."""
        self._copied.synchronize()
        staged = self._pinned.view(array.shape, self.tensor.dtype)
        staged[...] = array
        cuda.memcpy_htod_async(self.device.address, staged, stream.cuda_stream)
        self._copied.record(stream)


class OutputBuffer:
    """One output on the GPU, and page-locked memory to copy it to."""

    def __init__(self, tensor: Tensor, pinned: PinnedBuffer, device: DeviceBuffer) -> None:
        self.tensor, self.device = tensor, device
        self._pinned = pinned

    def download(self, batch: int, stream: Stream) -> None:
        """Queue the copy of the first ``batch`` rows."""
        cuda.memcpy_dtoh_async(self._staged(batch), self.device.address, stream.cuda_stream)

    def to_array(self, batch: int) -> Array:
        """What was downloaded, as the caller's own array. Synchronize the stream first."""
        return self._staged(batch).copy()

    def _staged(self, batch: int) -> Array:
        return self._pinned.view((batch, *fixed_sizes(self.tensor)), self.tensor.dtype)


class Closeable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closeable)


class Resources:
    """A stream, and buffers, executors and graphs that are closed together, last first."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.stream = self.add(Stream())

    def add(self, resource: C) -> C:
        """``resource``, which :meth:`close` closes."""
        return self._stack.enter_context(closing(resource))

    def input_buffers(self, tensors: tuple[Tensor, ...], batch: int) -> dict[str, InputBuffer]:
        """Buffers for inputs of up to ``batch`` rows, by name."""
        return {tensor.name: InputBuffer(tensor, *self._pair(tensor, batch), self.add(Event())) for tensor in tensors}

    def output_buffers(self, tensors: tuple[Tensor, ...], batch: int) -> dict[str, OutputBuffer]:
        """Buffers for outputs of up to ``batch`` rows, by name."""
        return {tensor.name: OutputBuffer(tensor, *self._pair(tensor, batch)) for tensor in tensors}

    def _pair(self, tensor: Tensor, batch: int) -> tuple[PinnedBuffer, DeviceBuffer]:
        size = row_bytes(tensor) * batch
        return self.add(PinnedBuffer(size)), self.add(DeviceBuffer(size))

    def close(self) -> None:
        """Wait for what is queued and give everything back; idempotent.

        If the GPU has failed, waiting and freeing fail too, and there is nothing more to do.
        """
        with suppress(cuda.Error, DriverError), primary_context():
            with suppress(cuda.Error):
                self.stream.synchronize()
            self._stack.close()


@contextmanager
def take_resources() -> Iterator[Resources]:
    """New resources, which stay open after the block and are closed if it fails."""
    resources = Resources()
    try:
        yield resources
    except BaseException:
        resources.close()
        raise


def device_addresses(buffers: Mapping[str, InputBuffer] | Mapping[str, OutputBuffer]) -> dict[str, int]:
    """Where each tensor lies on the GPU, by name."""
    return {name: buffer.device.address for name, buffer in buffers.items()}


def fixed_sizes(tensor: Tensor) -> tuple[int, ...]:
    """The sizes after the batch, all of which are known."""
    return tuple(size for size in tensor.shape[1:] if size is not None)


def row_bytes(tensor: Tensor) -> int:
    """Bytes of one row of the batch."""
    return nbytes(fixed_sizes(tensor), tensor.dtype)


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array of ``shape``."""
    return prod(shape) * np.dtype(dtype).itemsize
