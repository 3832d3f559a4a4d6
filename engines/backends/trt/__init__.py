"""TensorRT as the backend ``tensorrt``: engines built for this GPU and run with PyCUDA; features stay on the device.

TensorRT and PyCUDA are imported when a backend is made, and checked first. The code is written against the Python API
of TensorRT 10.13 and 11.4 and of PyCUDA 2026.1 and tested on a simulation of both. It has not been tested on a GPU.
"""

from __future__ import annotations

from pathlib import Path

from engines.backends.base import Backend, FeatureCache
from engines.backends.cores import Threads
from engines.backends.trt import requirements
from engines.backends.trt.options import parse_mode


def create(path: Path, *, threads: Threads = "auto", mode: str = "") -> Backend:  # noqa: ARG001 - a GPU has its own
    """What ``make_backend`` calls. ``mode``: ``nograph``, ``nobuild``, or both joined by ``+``.

    Raises :class:`EngineError` if TensorRT or PyCUDA is missing. A missing GPU is an error of ``open()``.
    """
    parsed = parse_mode(mode)
    _require_packages()
    from engines.backends.trt.backend import TensorRT

    return TensorRT(path, parsed)


def create_feature_cache(
    backbone: Path,
    head: Path,
    *,
    slots: int,
    threads: Threads = "auto",  # noqa: ARG001
    mode: str = "",
) -> FeatureCache:
    """What ``make_feature_cache`` calls: maps stay on the device. ``mode`` and errors as in :func:`create`."""
    parsed = parse_mode(mode)
    _require_packages()
    from engines.backends.trt.feature_cache import DeviceFeatureCache

    return DeviceFeatureCache(backbone, head, slots, parsed)


def _require_packages() -> None:
    requirements.import_tensorrt()
    requirements.import_pycuda()
