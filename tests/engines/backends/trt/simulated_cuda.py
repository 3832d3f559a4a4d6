"""A simulation of what is used of ``pycuda.driver`` and of ``cuda.bindings.driver``. Nothing of it is a GPU.

It is stricter than CUDA where that uncovers mistakes. Device memory is bytes of the host behind invented addresses,
full of rubbish until it is written. A stream is a list that is worked off only at a synchronization: an output that is
read without a wait, or page-locked memory that is filled again before it was copied, shows as stale or wrong data. The
default stream, copies from memory that is not page-locked, and anything done without a current context are refused.
"""

from __future__ import annotations

import enum
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Operation = Callable[[], None]
Bytes = NDArray[np.uint8]

RUBBISH, GONE = 0xCD, 0xDD
FIRST_ADDRESS, GAP = 0x7F00_0000_0000, 4096


class Error(Exception):
    """As PyCUDA: the parent of all."""


class OutOfMemory(Error):  # noqa: N818 - called as PyCUDA calls it
    """Out of memory."""


class LogicError(Error):
    """A call that makes no sense."""


class LaunchError(Error):
    """A kernel failed."""


class NoDevice(Error):  # noqa: N818
    """No device."""


@dataclass
class Recording:
    """What a stream was given between the begin and the end of a capture."""

    operations: list[Operation] = field(default_factory=list)
    broken: bool = False


class Gpu:
    """One simulated GPU: its memory, what is queued on it, and what is alive."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.capacity = capacity
        self.taken: dict[int, Bytes] = {}
        self.pinned: dict[int, Bytes] = {}
        self.streams: dict[int, list[Operation]] = {}
        self.recordings: dict[int, Recording] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.alive = {"streams": 0, "events": 0, "contexts": 0, "executables": 0}
        self.counts = {"waits": 0, "captures": 0, "launches": 0, "executions": 0, "copies": 0}
        self.strays: list[str] = []
        self.sabotage: list[str] = []
        self.missing = ""
        self.lost = ""
        self._address = itertools.count(FIRST_ADDRESS, 1 << 28)
        self._handle = itertools.count(1)
        self._stacks = threading.local()

    @property
    def stack(self) -> list[Context]:
        """Contexts that are current on this thread, the last on top."""
        if not hasattr(self._stacks, "contexts"):
            self._stacks.contexts = []
        stack: list[Context] = self._stacks.contexts
        return stack

    @property
    def bytes_taken(self) -> int:
        return sum(memory.size for memory in self.taken.values())

    @property
    def leftovers(self) -> dict[str, int]:
        """All that is held, nothing of which outlives the last close."""
        held = {"buffers": len(self.taken), "pinned": len(self.pinned), "graphs": len(self.graphs), **self.alive}
        return {name: count for name, count in held.items() if count}

    def new_handle(self) -> int:
        return next(self._handle)

    def need_context(self, call: str) -> None:
        if not self.stack:
            raise LogicError(f"{call} failed: no currently active context?")

    def need_no_capture(self, call: str) -> None:
        """What waits or takes memory breaks every capture that runs."""
        for recording in self.recordings.values():
            recording.broken = True
        if self.recordings:
            raise LogicError(f"{call} failed: operation not permitted when stream is capturing")

    def take(self, size: int) -> int:
        self.need_context("cuMemAlloc")
        self.need_no_capture("cuMemAlloc")
        if self.bytes_taken + size > self.capacity:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        address = next(self._address)
        self.taken[address] = np.full(size, RUBBISH, np.uint8)
        return address

    def memory(self, address: int, size: int) -> Bytes:
        """The bytes at an address; beyond what was taken is an illegal access."""
        for base, memory in self.taken.items():
            if base <= address and address + size <= base + memory.size:
                return memory[address - base : address - base + size]
        raise LaunchError("an illegal memory access was encountered")

    def queue(self, stream: int, operation: Operation) -> None:
        if stream in self.recordings:
            self.recordings[stream].operations.append(operation)
        else:
            self.streams[stream].append(operation)

    def work_off(self, stream: int, count: int, call: str) -> None:
        """Do the first ``count`` operations; a failure is reported here and at every later wait."""
        self.need_context(call)
        self.need_no_capture(call)
        queued = self.streams[stream]
        self.counts["waits"] += bool(queued[:count])
        try:
            for _ in range(count):
                self._work(queued.pop(0))
        except LaunchError as error:
            self.lost = str(error)
        if self.lost:
            raise LaunchError(f"{call} failed: {self.lost}")

    def _work(self, operation: Operation) -> None:
        if self.sabotage:
            raise LaunchError(self.sabotage.pop(0))
        operation()


class Context:
    """The primary context."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def push(self) -> None:
        self.gpu.stack.append(self)


class Stream:
    gpu: Gpu

    def __init__(self, flags: int = 0) -> None:
        self.gpu.need_context("cuStreamCreate")
        assert flags == 1, "a stream that waits for the default one is not wanted"
        self.handle = self.gpu.new_handle()
        self.gpu.streams[self.handle] = []
        self.gpu.alive["streams"] += 1

    def __del__(self) -> None:
        given_back(self.gpu, "streams", hasattr(self, "handle"))


class Event:
    gpu: Gpu

    def __init__(self, flags: int = 0) -> None:
        self.gpu.need_context("cuEventCreate")
        assert flags == 3, "an event that spins, or that takes times, is not wanted"
        self._behind: list[Operation] | None = None
        self._stream = 0
        self.gpu.alive["events"] += 1

    def record(self, stream: Stream | None = None) -> Event:
        assert stream is not None, "the default stream is not wanted"
        self._mark: Operation = lambda: None
        self._stream = stream.handle
        self.gpu.queue(stream.handle, self._mark)
        return self

    def synchronize(self) -> Event:
        if self._stream:
            queued = self.gpu.streams[self._stream]
            count = queued.index(self._mark) + 1 if self._mark in queued else 0
            self.gpu.work_off(self._stream, count, "cuEventSynchronize")
        return self

    def __del__(self) -> None:
        given_back(self.gpu, "events", hasattr(self, "_behind"))


class DeviceAllocation:
    def __init__(self, gpu: Gpu, size: int) -> None:
        self._gpu, self._address = gpu, gpu.take(size)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._gpu.need_context("cuMemFree")
        self._gpu.taken.pop(self._address)[:] = GONE


class PagelockedHostAllocation:
    """Memory of the host; numpy keeps it as the base of the array that lies in it, as PyCUDA's arrays do."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        gpu.need_context("cuMemHostAlloc")
        gpu.need_no_capture("cuMemHostAlloc")
        self._gpu, self._memory = gpu, np.full(size, RUBBISH, np.uint8)
        self.__array_interface__ = self._memory.__array_interface__
        gpu.pinned[self._memory.ctypes.data] = self._memory

    def free(self) -> None:
        self._gpu.need_context("cuMemFreeHost")
        self._gpu.pinned.pop(self._memory.ctypes.data)[:] = GONE


class Device:
    gpu: Gpu

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal

    @staticmethod
    def count() -> int:
        return 1

    def name(self) -> str:
        return "Simulated GPU"

    def compute_capability(self) -> tuple[int, int]:
        return 9, 0

    def total_memory(self) -> int:
        return self.gpu.capacity

    def retain_primary_context(self) -> Context:
        return Context(self.gpu)


def given_back(gpu: Gpu, kind: str, made: bool) -> None:
    """Called by destructors: PyCUDA leaks what dies while its context is not current on the thread."""
    if made:
        gpu.alive[kind] -= 1
        # What failed is held by the traceback of its failure here; PyCUDA's own frames are C++ and hold nothing.
        if not gpu.stack and not gpu.lost:
            gpu.strays.append(kind)


def pycuda_driver(gpu: Gpu) -> ModuleType:
    """``pycuda.driver`` of one GPU."""
    module: Any = ModuleType("pycuda.driver")
    module.event_flags = event_flags()
    module.Error, module.MemoryError, module.LogicError = Error, OutOfMemory, LogicError
    module.LaunchError, module.RuntimeError, module.DeviceAllocation = LaunchError, NoDevice, DeviceAllocation
    for kind in (Stream, Event, Device):
        setattr(module, kind.__name__, type(kind.__name__, (kind,), {"gpu": gpu}))
    module.Context = type("Context", (Context,), {"pop": staticmethod(lambda: gpu.stack.pop())})
    module.mem_alloc = lambda size: DeviceAllocation(gpu, size)
    module.pagelocked_empty = lambda shape, dtype: _pagelocked(gpu, shape, dtype)
    module.init, module.get_driver_version = lambda: _init(gpu), lambda: 13000
    module.memcpy_htod_async = lambda dest, src, stream: _copy(gpu, stream, lambda: _written(gpu, dest, src), src)
    module.memcpy_dtoh_async = lambda dest, src, stream: _copy(gpu, stream, lambda: _read(gpu, dest, src), dest)
    module.memcpy_dtod_async = lambda dest, src, size, stream: _copy(gpu, stream, lambda: _moved(gpu, dest, src, size))
    return module


def event_flags() -> Any:
    """``event_flags``."""
    return type("event_flags", (), {"DEFAULT": 0, "BLOCKING_SYNC": 1, "DISABLE_TIMING": 2})


def _init(gpu: Gpu) -> None:
    if gpu.missing:
        raise NoDevice(f"cuInit failed: {gpu.missing}")


def _pagelocked(gpu: Gpu, size: int, dtype: type[np.uint8]) -> Bytes:
    assert dtype is np.uint8
    return np.asarray(PagelockedHostAllocation(gpu, size))


def _copy(gpu: Gpu, stream: Stream | None, operation: Operation, host: NDArray[Any] | None = None) -> None:
    assert stream is not None, "the default stream is not wanted"
    gpu.need_context("cuMemcpyAsync")
    if host is not None:
        _need_pinned(gpu, host)
    gpu.counts["copies"] += 1
    gpu.queue(stream.handle, operation)


def _need_pinned(gpu: Gpu, host: NDArray[Any]) -> None:
    first, last = host.ctypes.data, host.ctypes.data + host.nbytes
    inside = any(base <= first and last <= base + memory.size for base, memory in gpu.pinned.items())
    assert inside, "a copy to or from memory that is not page-locked is not asynchronous"


def _written(gpu: Gpu, dest: int, src: NDArray[Any]) -> None:
    gpu.memory(int(dest), src.nbytes)[:] = np.ascontiguousarray(src).view(np.uint8).ravel()


def _read(gpu: Gpu, dest: NDArray[Any], src: int) -> None:
    dest.reshape(-1).view(np.uint8)[:] = gpu.memory(int(src), dest.nbytes)


def _moved(gpu: Gpu, dest: int, src: int, size: int) -> None:
    gpu.memory(int(dest), size)[:] = gpu.memory(int(src), size).copy()


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


class CUstreamCaptureMode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class CUgraph(int):
    """The handle of a recorded graph."""


class CUgraphExec(int):
    """The handle of a graph that can be launched."""


OK = CUresult.CUDA_SUCCESS
INVALID = CUresult.CUDA_ERROR_INVALID_VALUE
CAPTURE_LOST = CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED

# In the class its attributes hide the types of the same names.
Result = CUresult
Mode = CUstreamCaptureMode


class GraphDriver:
    """The functions for graphs of ``cuda.bindings.driver``, with its names, arguments and tuples as results."""

    CUresult, CUstreamCaptureMode = CUresult, CUstreamCaptureMode

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._executables: dict[CUgraphExec, list[Operation]] = {}

    def cuStreamBeginCapture(self, hStream: int, mode: Mode) -> tuple[Result]:
        self._gpu.need_context("cuStreamBeginCapture")
        assert hStream in self._gpu.streams, "the default stream cannot be captured"
        assert mode is CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._gpu.recordings[hStream] = Recording()
        self._gpu.counts["captures"] += 1
        return (OK,)

    def cuStreamEndCapture(self, hStream: int) -> tuple[Result, CUgraph | None]:
        recording = self._gpu.recordings.pop(hStream, None)
        if recording is None or recording.broken:
            return CAPTURE_LOST, None
        graph = CUgraph(self._gpu.new_handle())
        self._gpu.graphs[graph] = recording.operations
        return OK, graph

    def cuGraphInstantiate(self, hGraph: CUgraph, flags: int) -> tuple[Result, CUgraphExec | None]:
        assert isinstance(hGraph, CUgraph)
        if flags or hGraph not in self._gpu.graphs:
            return INVALID, None
        executable = CUgraphExec(self._gpu.new_handle())
        self._executables[executable] = self._gpu.graphs[hGraph]
        self._gpu.alive["executables"] += 1
        return OK, executable

    def cuGraphLaunch(self, hGraphExec: CUgraphExec, hStream: int) -> tuple[Result]:
        assert hStream in self._gpu.streams, "neither the default stream nor one that is gone is wanted"
        if hGraphExec not in self._executables:
            return (INVALID,)
        self._gpu.counts["launches"] += 1
        for operation in self._executables[hGraphExec]:
            self._gpu.queue(hStream, operation)
        return (OK,)

    def cuGraphExecDestroy(self, hGraphExec: CUgraphExec) -> tuple[Result]:
        assert isinstance(hGraphExec, CUgraphExec)
        self._executables.pop(hGraphExec)
        self._gpu.alive["executables"] -= 1
        return (OK,)

    def cuGraphDestroy(self, hGraph: CUgraph) -> tuple[Result]:
        assert isinstance(hGraph, CUgraph)
        return (OK if self._gpu.graphs.pop(hGraph, None) is not None else INVALID,)

    def cuGetErrorString(self, error: Result) -> tuple[Result, bytes | None]:
        words = {
            INVALID: b"invalid argument",
            CAPTURE_LOST: b"operation failed due to a previous error during capture",
        }
        return OK, words[error]


def cuda_bindings_driver(gpu: Gpu) -> ModuleType:
    """``cuda.bindings.driver`` of one GPU."""
    module: Any = ModuleType("cuda.bindings.driver")
    driver = GraphDriver(gpu)
    vars(module).update({name: getattr(driver, name) for name in dir(driver) if name.lower().startswith("cu")})
    return module
