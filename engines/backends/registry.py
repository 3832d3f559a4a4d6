"""Backends by name: the name of a module in this package, which is imported on first use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

from engines.backends.auto import choose
from engines.backends.base import Backend, FeatureCache
from engines.backends.cores import Threads
from engines.backends.host_cache import HostFeatureCache
from engines.errors import EngineError, install_hint
from engines.spec.model_files import IR, MODEL_SUFFIXES, ONNX, TFLITE

MODULES = {"torch": "pytorch.backend", "tensorrt": "trt"}
"""Modules whose name differs from the backend's, since a library has that name."""

EXTRAS = {"openvino": "openvino", "pytorch.backend": "torch", "trt": "tensorrt"}
"""The extra that each module needs."""

DEFAULT_SUFFIXES = (ONNX,)
"""The files that a backend reads whose module has no ``SUFFIXES``."""

NOT_BACKENDS = ("auto", "base", "cores", "host_cache", "registry")
"""Modules of this package that are not backends."""


def make_backend(path: Path, name: str = "auto", threads: Threads = "auto") -> Backend:
    """A backend for the graph at ``path``, not yet open.

    ``name`` is ``<backend>`` or ``<backend>:<mode>``, such as ``onnxrt:cuda`` or ``torch:compiled``; ``auto`` chooses
    one, see :mod:`engines.backends.auto`. ``threads`` is the number of CPU threads; ``auto`` leaves it to the backend.
    Raises :class:`EngineError` for an unknown name or mode, and if a package is not installed.
    """
    module, options = _import_backend(_resolve(name, path))
    _check_suffix(module, name, path)
    return cast(Callable[..., Backend], module.create)(path, threads=threads, **options)


def check_installed(path: Path, name: str = "auto") -> None:
    """Raise :class:`EngineError` with the remedy if ``path`` needs OpenVINO and that is not installed.

    It imports nothing, so that a line can be checked before it fetches networks and starts.
    """
    needs_openvino = name.partition(":")[0] == "openvino" or (name == "auto" and path.suffix in (IR, TFLITE))
    if needs_openvino and importlib.util.find_spec("openvino") is None:
        raise EngineError(f"model {path.name} runs in OpenVINO, which is not installed; {install_hint('openvino')}")


def make_feature_cache(
    backbone: Path, head: Path, slots: int, name: str = "auto", threads: Threads = "auto"
) -> FeatureCache:
    """A feature cache of ``slots`` crops for a network's backbone and head, not yet open.

    ``name`` and ``threads`` are as in :func:`make_backend`. It is in host memory if the backend's module has no
    ``create_feature_cache``.
    """
    module, options = _import_backend(_resolve(name, backbone, head))
    if hasattr(module, "create_feature_cache"):
        return cast(Callable[..., FeatureCache], module.create_feature_cache)(
            backbone, head, slots=slots, threads=threads, **options
        )
    create = cast(Callable[..., Backend], module.create)
    first, second = (create(part, threads=threads, **options) for part in (backbone, head))
    return HostFeatureCache(first, second, slots)


def _check_suffix(module: ModuleType, name: str, path: Path) -> None:
    read = getattr(module, "SUFFIXES", DEFAULT_SUFFIXES)
    if path.suffix in MODEL_SUFFIXES and path.suffix not in read:
        raise EngineError(
            f"backend {name!r} reads {', '.join(read)}, not {path.name}; use backend=openvino, or leave backend out"
        )


def _resolve(name: str, *graphs: Path) -> str:
    if name != "auto":
        return name
    return choose(*graphs).name


def _import_backend(name: str) -> tuple[ModuleType, dict[str, str]]:
    """The module of a backend, and the options in its name."""
    backend, _, mode = name.partition(":")
    module_name = MODULES.get(backend, backend)
    try:
        module = importlib.import_module(f"engines.backends.{module_name}")
    except ModuleNotFoundError as error:
        raise EngineError(f"backend {name!r}: {_explain_missing(module_name, error)}") from error
    return module, {"mode": mode} if mode else {}


def _explain_missing(module_name: str, error: ModuleNotFoundError) -> str:
    if error.name == f"engines.backends.{module_name}":
        known = sorted(list_backends())
        return f"there is no such backend; choose auto or one of {', '.join(known)}"
    remedy = f"; {install_hint(EXTRAS[module_name])}" if module_name in EXTRAS else ""
    return f"it needs the Python package {error.name!r}, which is not installed{remedy}"


def list_backends() -> tuple[str, ...]:
    """The names of all backends, whether or not their packages are installed."""
    renamed = {module.partition(".")[0]: name for name, module in MODULES.items()}
    stems = (entry.stem for entry in Path(__file__).parent.iterdir() if not entry.name.startswith(("_", ".")))
    return tuple(sorted(renamed.get(stem, stem) for stem in stems if stem not in NOT_BACKENDS))
