"""What CUDA and TensorRT say when they fail, told in one line: what was tried, what they said, and the remedy.

CUDA reports most failures of a kernel late, at the next wait, and a GPU that has failed so serves this process no more.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pycuda.driver as cuda
import tensorrt as trt

from engines.backends.trt.graphs import DriverError
from engines.errors import EngineError

KEPT = 4
"""Errors of TensorRT that are remembered; the first says what failed, later ones who noticed."""

_LEVELS = {
    trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.Severity.ERROR: logging.ERROR,
    trt.ILogger.Severity.WARNING: logging.WARNING,
    trt.ILogger.Severity.INFO: logging.DEBUG,
}
"""TensorRT's INFO counts memory and names plugins; VERBOSE is left out."""

_FREE_MEMORY = "free GPU memory (nvidia-smi shows who holds it), keep fewer slots, or build for a smaller batch"

_BY_WORDS = (
    (("out of memory", "outofmemory", "cudaerrormemoryallocation"), _FREE_MEMORY),
    (
        (
            "launch fail",
            "illegal memory access",
            "illegal instruction",
            "misaligned address",
            "launch timed out",
            "device-side assert",
            "ecc error",
            "device lost",
            "device is lost",
            "unknown error",
        ),
        "the GPU serves this process no more: start it again, and look at dmesg (Xid) if it comes back",
    ),
    (("no cuda-capable device", "busy or unavailable"), "look at nvidia-smi and at CUDA_VISIBLE_DEVICES"),
    (("driver version is insufficient", "unsupported display driver"), "update the NVIDIA driver"),
)
"""What is said, in small letters, and what to do about it; the first that fits is told."""

_OTHERWISE = "run posestream doctor --gpu and see what it finds; backend=onnxrt:cuda runs the same file"


class TrtLog(trt.ILogger):
    """TensorRT's log: passed on to ``logging``, its last errors remembered."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=KEPT)
        self._logger = logging.getLogger(__name__)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any of its threads."""
        level = _LEVELS.get(severity)
        if level is None:
            return
        if level == logging.ERROR:
            self._errors.append(_one_line(msg))
        self._logger.log(level, "%s", _one_line(msg))

    @property
    def out_of_memory(self) -> bool:
        """True where an error that was not yet taken says so."""
        return remedy("; ".join(self._errors)) == _FREE_MEMORY

    def taken(self) -> str:
        """The errors since they were last taken, oldest first, '' where TensorRT said nothing."""
        told = "; ".join(self._errors)
        self._errors.clear()
        return told


@contextmanager
def translated(what: str, log: TrtLog | None = None) -> Iterator[None]:
    """Tell what fails in the block as :class:`EngineError`: "<what>: <who> says …; <remedy>"."""
    try:
        yield
    except (cuda.Error, DriverError) as error:
        said = " and ".join(filter(None, (f"CUDA says {str(error).strip()!r}", _from(log))))
        raise EngineError(f"{what}: {said}; {remedy(said)}") from error


def refuse(what: str, failed: str, log: TrtLog) -> NoReturn:
    """Raise :class:`EngineError` for a call of TensorRT that gave None or False."""
    said = _from(log) or "TensorRT says nothing"
    raise EngineError(f"{what}: {failed} failed; {said}; {remedy(said)}")


def remedy(said: str) -> str:
    """What to do about a failure that is told so."""
    small = said.lower()
    return next((advice for words, advice in _BY_WORDS if any(word in small for word in words)), _OTHERWISE)


def _from(log: TrtLog | None) -> str:
    told = log.taken() if log else ""
    return f"TensorRT says {told!r}" if told else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
