"""CUDA graphs: what an engine queues, recorded once and launched as one.

PyCUDA (2026.1) knows no graphs, so the driver's own functions are called, by the names and types of CUDA's ``cuda.h``
(12.0 to 13.0 agree). They are in the library that PyCUDA has already loaded.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Protocol

Handle = ctypes.c_void_p
THIS_THREAD_ONLY = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile, such as taking memory, spoils no capture."""

PROTOTYPES: dict[str, tuple[object, ...]] = {
    "cuStreamBeginCapture_v2": (Handle, ctypes.c_int),
    "cuStreamEndCapture": (Handle, ctypes.POINTER(Handle)),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(Handle), Handle, ctypes.c_ulonglong),
    "cuGraphLaunch": (Handle, Handle),
    "cuGraphExecDestroy": (Handle,),
    "cuGraphDestroy": (Handle,),
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
}
"""Arguments of each function; all give a CUresult. Names are those of the library, behind cuda.h's macros."""


class DriverError(Exception):
    """A function of the driver failed; worded as PyCUDA words its own."""


class GraphLibrary(Protocol):
    """Functions of the driver by name, as ctypes gives them."""

    def __getattr__(self, name: str) -> Callable[..., int]: ...


@cache
def library() -> GraphLibrary:
    """The driver."""
    loaded = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    for name, arguments in PROTOTYPES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return loaded


class CapturedGraph:
    """Recorded work, ready to be queued as one. It reads and writes the addresses that it was recorded with."""

    def __init__(self, executable: Handle) -> None:
        self._executable: Handle | None = executable

    def launch(self, stream_handle: int) -> None:
        """Queue it. Raises :class:`DriverError`."""
        _call("cuGraphLaunch", self._executable, Handle(stream_handle))

    def close(self) -> None:
        """Give it back; idempotent. No launch of it may still run."""
        executable, self._executable = self._executable, None
        if executable is not None:
            _call("cuGraphExecDestroy", executable)


def capture(stream_handle: int, queue: Callable[[], None]) -> CapturedGraph:
    """Record what ``queue`` queues on a stream, without running it. Raises what it raises, or :class:`DriverError`."""
    graph = _recorded(stream_handle, queue)
    try:
        executable = Handle()
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _call("cuGraphDestroy", graph)
    return CapturedGraph(executable)


def _recorded(stream_handle: int, queue: Callable[[], None]) -> Handle:
    graph = Handle()
    _call("cuStreamBeginCapture_v2", Handle(stream_handle), ctypes.c_int(THIS_THREAD_ONLY))
    try:
        queue()
    except Exception:
        # The stream must leave its capture before anything else can be queued; that this says why it failed once more
        # is no news.
        library().cuStreamEndCapture(Handle(stream_handle), ctypes.byref(graph))
        _drop(graph)
        raise
    _call("cuStreamEndCapture", Handle(stream_handle), ctypes.byref(graph))
    return graph


def _drop(graph: Handle) -> None:
    if graph.value:
        library().cuGraphDestroy(graph)


def _call(name: str, *arguments: object) -> None:
    code = getattr(library(), name)(*arguments)
    if code:
        raise DriverError(f"{name} failed: {_told(code)}")


def _told(code: int) -> str:
    words = ctypes.c_char_p()
    library().cuGetErrorString(ctypes.c_int(code), ctypes.byref(words))
    return (words.value or b"error %d" % code).decode()
