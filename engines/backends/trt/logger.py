"""TensorRT's log, and the errors made from what TensorRT and CUDA say: what failed, their words, and the remedy.

Import this module after ``requirements.import_tensorrt()`` only.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import NoReturn

import tensorrt as trt

from engines.errors import EngineError

_KEPT_ERRORS = 200
_SHOWN_ERRORS = 4

_LEVELS = {
    trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.Severity.ERROR: logging.ERROR,
    trt.ILogger.Severity.WARNING: logging.WARNING,
    trt.ILogger.Severity.INFO: logging.DEBUG,
}
"""TensorRT's INFO counts memory and names plugins; VERBOSE is left out."""

_FREE_MEMORY = (
    "free GPU memory (nvidia-smi lists who uses it), keep fewer slots, or build with a smaller max_batch or "
    "workspace_mib"
)

_LOST_GPU = (
    r"launch fail|illegal memory access|illegal instruction|misaligned address|launch timed out|device-side assert|"
    r"ecc error|device (is )?lost|unknown error"
)
_OTHER_PLUGINS = (
    "use the plugin library libnvinfer_plugin of this TensorRT; lean and dispatch runtimes and TensorRT-RTX have none"
)

REMEDIES = {
    re.compile(words, re.IGNORECASE): remedy
    for words, remedy in {
        # First, since a layer for which there was no memory is reported as one without an implementation too.
        r"out ?of ?memory|insufficient memory|memory allocation|cudaErrorMemoryAllocation": _FREE_MEMORY,
        _LOST_GPU: "this process cannot use the GPU any more: restart it, and look at dmesg (Xid) if it happens again",
        r"no cuda-capable device|busy or unavailable|initialization failure": (
            "look at nvidia-smi and at CUDA_VISIBLE_DEVICES"
        ),
        r"driver version is insufficient|unsupported display driver": "update the NVIDIA driver",
        r"plugin not found|could not find plugin|getPluginCreator|creator (was )?not found": _OTHER_PLUGINS,
        r"ptx|cuModuleLoad|cuLinkAddData|no kernel image": (
            "a plugin's kernel does not load: update the driver, or export with --plugin nvidia"
        ),
        r"could not find any implementation for node": (
            "build with a larger workspace_mib, or export with --plugin nvidia"
        ),
    }.items()
}
"""Words of an error, and what to do about it; the first that matches counts."""

_OTHERWISE = "run posestream doctor --gpu; backend=onnxrt:cuda runs the same file"


class Logger(trt.ILogger):
    """TensorRT's messages: the last errors are kept for our own, and all go to ``logging`` unless ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._quiet = quiet
        self._logger = logging.getLogger(__name__)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any of its threads."""
        level, line = _LEVELS.get(severity), " ".join(msg.split())
        if level is None:
            return
        if level == logging.ERROR:
            self._errors.append(line)
        if not self._quiet:
            self._logger.log(level, "%s", line)

    @property
    def is_out_of_memory(self) -> bool:
        """True if an error since the last :meth:`take_errors` says so."""
        return find_remedy(*self._errors) == _FREE_MEMORY

    def take_errors(self) -> list[str]:
        """The errors since the previous call, oldest first."""
        errors = list(self._errors)
        self._errors.clear()
        return errors


def quote_errors(errors: list[str]) -> str:
    """The last of TensorRT's ``errors``, for a message."""
    return f"TensorRT says {'; '.join(errors[-_SHOWN_ERRORS:])!r}" if errors else "TensorRT gives no reason"


def find_remedy(*errors: str) -> str:
    """What to do about errors of TensorRT or CUDA."""
    text = "; ".join(errors)
    return next((remedy for words, remedy in REMEDIES.items() if words.search(text)), _OTHERWISE)


def raise_failure(subject: str, failed: str, log: Logger) -> NoReturn:
    """Raise :class:`EngineError` for a call of TensorRT that returned None or False."""
    errors = log.take_errors()
    raise EngineError(f"{subject}: {failed} failed; {quote_errors(errors)}; {find_remedy(*errors)}")
