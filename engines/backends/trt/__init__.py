"""TensorRT as the backend ``tensorrt``: engines built for this GPU, run by PyCUDA; features kept on the device.

Nothing of TensorRT or PyCUDA is imported until a backend is made, and then first by what can say that it is missing.
Written against the real Python API of TensorRT 10.13 and 11.4 and of PyCUDA 2026.1, and tried on a simulation of both;
it has not run on a GPU.
"""

from __future__ import annotations

from pathlib import Path

from engines.backends.base import Backend, FeatureCache
from engines.backends.trt import device, versions
from engines.backends.trt.modes import parse_mode


def create(path: Path, *, threads: int = 1, mode: str = "") -> Backend:  # noqa: ARG001 - the GPU counts no threads
    """What ``make_backend`` calls. ``mode``: ``nograph``, ``nobuild``, or both with a ``+`` between.

    Raises :class:`EngineError` where TensorRT or PyCUDA is missing; whether there is a GPU shows when it is opened.
    """
    told = parse_mode(mode)
    _require()
    from engines.backends.trt.running import TensorRT

    return TensorRT(path, told)


def create_feature_cache(
    backbone: Path,
    head: Path,
    *,
    slots: int,
    threads: int = 1,  # noqa: ARG001
    mode: str = "",
) -> FeatureCache:
    """What ``make_feature_cache`` calls: maps stay on the device. ``mode`` and errors as in :func:`create`."""
    told = parse_mode(mode)
    _require()
    from engines.backends.trt.ring import DeviceFeatureCache

    return DeviceFeatureCache(backbone, head, slots, told)


def _require() -> None:
    versions.require()
    device.cuda_driver()
